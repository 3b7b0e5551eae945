"""What the story expects, held against what the servers answered."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from earmark.v1.resources_pb2 import Balance
from services.ledger.rules.model import EntryKind


class Mismatch(Exception):
    """Something is not as the story works it out; the message says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Figures:
    """An organization's figures, all five worked out by hand: credits."""

    valid: int
    grace: int
    allocated: int
    available: int
    suspended: int

    @classmethod
    def of(cls, balance: Balance) -> "Figures":
        return cls(
            valid=balance.valid_credits,
            grace=balance.grace_credits,
            allocated=balance.allocated_credits,
            available=balance.available_credits,
            suspended=balance.suspended_credits,
        )

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:,}" for name, value in asdict(self).items())


def same(what: str, expected: object, came: object) -> None:
    """Raises Mismatch unless they are equal."""
    if expected != came:
        raise Mismatch(f"{what}\n  expected: {_shown(expected)}\n  came:     {_shown(came)}")


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def entry_words(kind: str, resource: str, detail: Mapping[str, Any]) -> str:
    """A ledger entry as the story speaks of it: `allocation enabled: email-sensor`."""
    match EntryKind(kind):
        case EntryKind.THRESHOLD_CROSSED:
            return f"threshold crossed: {detail['percent']} %"
        case EntryKind.SUBSCRIPTION_ENDING_SOON:
            days = "1 day" if detail["days"] == 1 else f"{detail['days']} days"
            renewed = "renewed" if detail["renewed"] else "not renewed"
            return f"ending soon: {resource}, {days} to the end of its {detail['ending'].lower()}, {renewed}"
        case other:
            words = other.lower().replace("_", " ")
            return f"{words}: {resource}" if resource else words
