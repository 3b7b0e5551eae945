"""From what the histories hold, messages and columns alike, to values that can be compared."""

import re
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from tests.chaos.history import Entry, Message

Figures = tuple[int, int, int, int, int, int, bool, int | None, int | None]
"""(valid, grace, allocated, suspended, available, overdraft limit, overdraft unlimited, spendable, coverage)"""

FIGURE_NAMES: Final = (
    "valid_credits",
    "grace_credits",
    "allocated_credits",
    "suspended_credits",
    "available_credits",
    "overdraft_limit",
    "overdraft_unlimited",
    "spendable_credits",
    "coverage_credits",
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CAPITAL: Final = re.compile("([A-Z])")


def micros(text: str) -> int:
    """Microseconds since 1970 of an instant in ISO 8601."""
    since = datetime.fromisoformat(text) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def duration_micros(text: str) -> int:
    """Of a Duration: `1.500s`."""
    return int(Decimal(text.removesuffix("s")) * 1_000_000)


def id_of(name: str) -> str:
    """The last part of a resource's name."""
    return name.rpartition("/")[2]


def digest_of(message: Message) -> str:
    """Of an entry of the API, in hexadecimal digits."""
    return b64decode(message.get("digest", "")).hex()


def snake(path: str) -> str:
    """A field's name in the contract, of `endTime`."""
    return _CAPITAL.sub(r"_\1", path).lower()


def spendable_of(entry: Entry) -> int | None:
    """None: without bound."""
    return None if entry.overdraft_unlimited else entry.valid_credits + entry.overdraft_limit


def coverage_of(entry: Entry) -> int | None:
    """None: without bound."""
    return None if entry.overdraft_unlimited else entry.valid_credits + entry.grace_credits + entry.overdraft_limit


def entry_figures(entry: Entry) -> Figures:
    return (
        entry.valid_credits,
        entry.grace_credits,
        entry.allocated_credits,
        entry.suspended_credits,
        entry.valid_credits - entry.allocated_credits,
        entry.overdraft_limit,
        entry.overdraft_unlimited,
        spendable_of(entry),
        coverage_of(entry),
    )


def balance_figures(balance: Message) -> Figures:
    """Of a Balance."""
    numbers = [int(balance[name]) for name in FIGURE_NAMES[:6]]
    bounds = [int(balance[name]) if name in balance else None for name in FIGURE_NAMES[7:]]
    return (*numbers[:6], bool(balance["overdraft_unlimited"]), *bounds[:2])  # type: ignore[return-value]


def unlike(shown: Figures, true: Figures) -> str:
    """What differs, in words; empty where nothing does."""
    if shown == true:
        return ""
    differing = zip(FIGURE_NAMES, shown, true, strict=True)
    return ", ".join(f"{name} {one} and not {other}" for name, one, other in differing if one != other)


def balances_in(message: Any) -> Iterator[Message]:
    """Every Balance in it, at any depth."""
    if isinstance(message, dict):
        if "available_credits" in message and "as_of" in message:
            yield message
            return
        for value in message.values():
            yield from balances_in(value)
    elif isinstance(message, list):
        for value in message:
            yield from balances_in(value)
