"""What a ledger adds up to, kept so that looking at usage need not read it: sums by offering, and figures by hour."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
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


_COUNTS: Final = tuple(each for each in OfferingUsage.__dataclass_fields__ if each != "offering")


def offering_changes(book: Book) -> list[OfferingUsage]:
    """By how much the book's closed calls and instants changed the sums of each offering, by its id."""
    changes: dict[str, dict[str, int]] = {}
    for key, before in book.changed_allocations.items():
        after = book.allocations[key]
        counts = changes.setdefault(after.offering, dict.fromkeys(_COUNTS, 0))
        for sign, allocation in ((-1, before), (1, after)):
            for count, value in _counts(allocation).items() if allocation else ():
                counts[count] += sign * value
    return [OfferingUsage(offering, **counts) for offering, counts in sorted(changes.items()) if any(counts.values())]


def usage_hours(entries: Iterable[Entry]) -> list[UsageHour]:
    """The hours of consecutive entries, the first and the last of which begin and end a call or settled instant."""
    hours: dict[datetime, UsageHour] = {}
    for entry in entries:
        hour = entry.effective_time.replace(minute=0, second=0, microsecond=0)
        known = hours.get(hour)
        hours[hour] = UsageHour(
            hour=hour,
            valid=entry.figures.valid,
            allocated=entry.figures.allocated,
            peak_allocated=max(
                known.peak_allocated if known else 0,
                entry.figures.allocated if entry.last else 0,
            ),
            begins_at_start=known.begins_at_start if known else entry.effective_time == hour,
            first_revision=known.first_revision if known else entry.revision,
            last_revision=entry.revision,
        )
    return list(hours.values())


def _counts(allocation: Allocation) -> dict[str, int]:
    match allocation.state:
        case AllocationState.ENABLED:
            return {
                "enabled_allocations": 1,
                "enabled_units": allocation.units,
                "enabled_credits": allocation.credits,
                "free_units": 0 if allocation.credits else allocation.units,
            }
        case AllocationState.SUSPENDED:
            return {
                "suspended_allocations": 1,
                "suspended_units": allocation.units,
                "suspended_credits": allocation.suspended_credits,
            }
        case AllocationState.DISABLED:
            return {}
