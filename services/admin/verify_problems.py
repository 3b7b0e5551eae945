"""What verifying finds, and the forms in which it compares."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from json import JSONDecoder
from typing import Any, Final

Row = Mapping[str, Any]

PROBLEMS_NAMED_MAX: Final = 50
"""Of one organization: a single altered entry can make all that follow look wrong."""
NONSENSE: Final = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
"""What reading JSON raises that is not what it should be."""
_DECODE: Final = JSONDecoder().raw_decode


@dataclass
class Problems:
    organization: str
    first: list[str] = field(default_factory=list)
    total: int = 0

    def add(self, where: str, what: str) -> None:
        self.total += 1
        if self.total <= PROBLEMS_NAMED_MAX:
            self.first.append(f"organizations/{self.organization} {where}: {what}")

    def differs(self, where: str, what: str, present: object, expected: object) -> None:
        if present != expected:
            self.add(where, f"{what} is {_shown(present)}, should be {_shown(expected)}")

    def named(self) -> list[str]:
        more = self.total - len(self.first)
        return [*self.first, *([f"organizations/{self.organization}: {more} more problems"] if more else [])]


@lru_cache(maxsize=1_024)
def parsed(text: str) -> Any:
    """A value of JSON, as the database writes it; not to be changed, for the same text is often asked for again.

    Raises one of NONSENSE for what cannot be taken in.
    """
    return _DECODE(text)[0]


@lru_cache(maxsize=256)
def instant_text(instant: datetime) -> str:
    """`2027-01-31T00:00:00.000000Z`; the database gives instants in UTC."""
    return f"{instant.isoformat(timespec='microseconds')[:26]}Z"


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
