"""What time alone will do: settling carried on into the future, in a book that nobody writes. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from services.ledger.rules.answers import AllocationNames
from services.ledger.rules.book import Book
from services.ledger.rules.limits import NAMES_LISTED_MAX
from services.ledger.rules.model import Entry, EntryKind, Figures
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


def forecast(book: Book, until: datetime, wanted: Callable[[], bool] = lambda: True) -> Forecast:
    """What settling would write up to `until`, inclusive. The book is settled up to now.

    Raises GivenUp once it is no longer wanted, NotLoaded where the book lacks a shelf. It keeps one instant's entries
    at a time.
    """
    found = Forecast()
    before = book.state.figures
    for instant in settling(book, until):
        if not wanted():
            raise GivenUp
        _look_at(found, instant, book.hand_over(), before)
        before = book.state.figures
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
