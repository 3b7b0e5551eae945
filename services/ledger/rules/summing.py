"""What a ledger adds up to, kept so that looking at usage need not read it: sums by offering, and figures by hour."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from services.ledger.rules.book import Book
from services.ledger.rules.model import Allocation, AllocationState, Entry


@dataclass(frozen=True, slots=True)
class OfferingUsage:
    """What the allocations of one offering hold; or by how much that changed."""

    offering: str
    enabled_allocations: int = 0
    enabled_units: int = 0
    enabled_credits: int = 0
    free_units: int = 0
    """Of enabled_units, those of allocations that hold no credits."""
    suspended_allocations: int = 0
    suspended_units: int = 0
    suspended_credits: int = 0


COUNTS: Final = len(OfferingUsage.__dataclass_fields__) - 1
"""Of an OfferingUsage, beside the offering."""


@dataclass(frozen=True, slots=True)
class UsageHour:
    """What one hour of UTC, in which something took effect, came to."""

    hour: datetime
    valid: int
    """After its last entry; so `allocated`."""
    allocated: int
    peak_allocated: int
    """The greatest of allocated after each call or settled instant in it."""
    begins_at_start: bool
    """Whether something took effect at its very start."""
    first_revision: int
    last_revision: int


def offering_changes(book: Book) -> list[OfferingUsage]:
    """By how much the book's closed calls and instants changed the sums of each offering, by its id."""
    changes: dict[str, list[int]] = {}
    for key, before in book.changed_allocations.items():
        after = book.allocations[key]
        counts = changes.setdefault(after.offering, [0] * COUNTS)
        for sign, allocation in ((-1, before), (1, after)):
            if allocation is not None:
                for index, value in enumerate(_counts(allocation)):
                    counts[index] += sign * value
    return [OfferingUsage(offering, *counts) for offering, counts in sorted(changes.items()) if any(counts)]


def usage_hours(entries: Iterable[Entry]) -> list[UsageHour]:
    """The hours of consecutive entries, the first and the last of which begin and end a call or settled instant."""
    return [_usage_hour(hour, list(group)) for hour, group in groupby(entries, _hour)]


def _usage_hour(hour: datetime, entries: Sequence[Entry]) -> UsageHour:
    first, last = entries[0], entries[-1]
    return UsageHour(
        hour=hour,
        valid=last.figures.valid,
        allocated=last.figures.allocated,
        peak_allocated=max((each.figures.allocated for each in entries if each.last), default=0),
        begins_at_start=first.effective_time == hour,
        first_revision=first.revision,
        last_revision=last.revision,
    )


def _hour(entry: Entry) -> datetime:
    return entry.effective_time.replace(minute=0, second=0, microsecond=0)


def _counts(allocation: Allocation) -> tuple[int, ...]:
    """Those of OfferingUsage, in its order."""
    match allocation.state:
        case AllocationState.ENABLED:
            return 1, allocation.units, allocation.credits, 0 if allocation.credits else allocation.units, 0, 0, 0
        case AllocationState.SUSPENDED:
            return 0, 0, 0, 0, 1, allocation.units, allocation.suspended_credits
        case AllocationState.DISABLED:
            return ()
