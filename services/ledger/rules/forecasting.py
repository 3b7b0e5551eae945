"""What time alone will do: settling carried on into the future, in a book that nobody writes. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.ledger.rules.answers import AllocationNames
from services.ledger.rules.book import Book, Moment
from services.ledger.rules.limits import NAMES_LISTED_MAX
from services.ledger.rules.model import Allocation, Entry, EntryKind, Figures
from services.ledger.rules.settle import settling


class GivenUp(Exception):
    """Nobody waits for the forecast any more."""


@dataclass(slots=True)
class Forecast:
    """The figures from each instant on at which they change, and what becomes of the allocations."""

    points: list[tuple[datetime, Figures]] = field(default_factory=list)
    grace_starts: list[datetime] = field(default_factory=list)
    """Each instant from which more is allocated than is spendable, and was not before."""
    coverage_ends: list[datetime] = field(default_factory=list)
    """Each instant at which allocations are suspended."""
    suspended: AllocationNames = field(default_factory=AllocationNames)
    """At the first of these."""


@dataclass
class Draft(Book):
    """A book that nobody writes: what its entries say of an allocation is left out, and they have no digests."""

    wanted: Callable[[], bool] = lambda: True
    """Whether anybody still waits for what is drafted."""

    def __post_init__(self) -> None:
        """Puts the allocations in order once: time changes nothing of it, and may ask for it a thousand times."""
        ordered = super()._in_keeping_order(list(self.allocations.values()))
        self.allocations = {each.allocation: each for each in ordered}

    def post(self, kind: EntryKind, moment: Moment, *content: Any, **rest: Any) -> None:
        """Raises GivenUp once it is no longer wanted."""
        if not self.wanted():
            raise GivenUp
        super().post(kind, moment, *content, **rest)

    def _in_keeping_order(self, allocations: list[Allocation]) -> list[Allocation]:
        return allocations

    def _allocation_content(self, allocation: Allocation) -> Mapping[str, Any]:
        return {}

    def _digest(self, entry: Entry, digest_before: bytes, *, last: bool) -> bytes:
        return digest_before


def forecast(draft: Draft, until: datetime) -> Forecast:
    """What settling would write up to `until`, inclusive. The draft is settled up to now.

    Raises GivenUp, or NotLoaded where the draft lacks a shelf. It keeps one instant's entries at a time.
    """
    found = Forecast()
    before = draft.state.figures
    for instant in settling(draft, until):
        _look_at(found, instant, draft.hand_over(), before)
        before = draft.state.figures
    return found


def _look_at(found: Forecast, instant: datetime, entries: list[Entry], before: Figures) -> None:
    after = entries[-1].figures if entries else before
    if after != before:
        found.points.append((instant, after))
    if _carried_by_grace(after) and not _carried_by_grace(before):
        found.grace_starts.append(instant)
    suspended = [each.resource for each in entries if each.kind is EntryKind.ALLOCATION_SUSPENDED]
    if suspended:
        if not found.coverage_ends:
            found.suspended = AllocationNames(tuple(suspended[:NAMES_LISTED_MAX]), len(suspended))
        found.coverage_ends.append(instant)


def _carried_by_grace(figures: Figures) -> bool:
    return figures.spendable is not None and figures.allocated > figures.spendable
