"""What the story expects, held against what the servers answered."""

from dataclasses import asdict, dataclass

from earmark import names
from earmark.v1.resources_pb2 import Balance, Entry


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


def entry_words(entry: Entry) -> str:
    """A ledger entry as the story speaks of it: `allocation enabled: email-sensor`."""
    words = Entry.Kind.Name(entry.kind).lower().replace("_", " ")
    if entry.kind == Entry.THRESHOLD_CROSSED:
        return f"{words}: {entry.threshold_percent} %"
    if entry.kind == Entry.SUBSCRIPTION_ENDING_SOON:
        soon = entry.ending_soon
        days = "1 day" if soon.days == 1 else f"{soon.days} days"
        ending = type(soon).Ending.Name(soon.ending).lower()
        renewed = "renewed" if soon.renewed else "not renewed"
        return f"ending soon: {names.id_of(entry.resource)}, {days} to the end of its {ending}, {renewed}"
    return words if entry.HasField("organization") else f"{words}: {names.id_of(entry.resource)}"
