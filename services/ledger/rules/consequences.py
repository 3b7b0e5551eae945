"""What a change of the credits does to allocations: suspending, resuming, thresholds."""

from collections.abc import Sequence

from msgspec.structs import replace

from services.ledger.rules.book import Book, Moment
from services.ledger.rules.encoding import organization_json
from services.ledger.rules.limits import THRESHOLD_PERCENTS, THRESHOLD_SLACK_PERCENT
from services.ledger.rules.model import Allocation, AllocationState, EntryKind, Figures


def no_longer_fitting(book: Book, coverage: int | None) -> list[Allocation]:
    """What `coverage` credits cannot carry, in the order in which it is suspended: lowest first.

    Kept is the highest priority first, then the one enabled first, then by name, each if it fits whole, going on past
    those that do not. What holds no credits always stays.
    """
    if coverage is None or book.state.figures.allocated <= coverage:
        return []
    kept = 0
    leaving: list[Allocation] = []
    for allocation in book.holding():
        if kept + allocation.credits <= coverage:
            kept += allocation.credits
        else:
            leaving.append(allocation)
    return leaving[::-1]


def suspend(book: Book, allocations: Sequence[Allocation], moment: Moment, causes: Sequence[str]) -> None:
    for allocation in allocations:
        suspended = replace(
            allocation,
            state=AllocationState.SUSPENDED,
            credits=0,
            suspended_credits=allocation.credits,
        )
        book.post_allocation(EntryKind.ALLOCATION_SUSPENDED, moment, suspended, causes)


def resume(book: Book, moment: Moment, causes: Sequence[str]) -> list[Allocation]:
    """Brings back every suspended allocation that fits whole into the spendable credits, in keeping order."""
    figures = book.state.figures
    spendable, allocated = figures.spendable, figures.allocated
    resumed: list[Allocation] = []
    for allocation in book.suspended():
        if spendable is None or allocated + allocation.suspended_credits <= spendable:
            back = replace(
                allocation,
                state=AllocationState.ENABLED,
                credits=allocation.suspended_credits,
                suspended_credits=0,
            )
            resumed.append(book.post_allocation(EntryKind.ALLOCATION_RESUMED, moment, back, causes))
            allocated += back.credits
    return resumed


def judge_threshold(book: Book, moment: Moment) -> None:
    """Once, at the end of a call or a settled instant: one entry for the highest percentage newly reached."""
    state = book.state
    crossed, level = threshold(state.figures, state.threshold_percent)
    if level != state.threshold_percent:
        book.organization = replace(state, threshold_percent=level)
    if crossed:
        own = organization_json(state)
        book.post(EntryKind.THRESHOLD_CROSSED, moment, "", own, state.figures, detail={"percent": crossed})


def threshold(figures: Figures, level: int) -> tuple[int, int]:
    """(The percentage newly crossed or 0, the level from now on), by the highest percentage not yet armed again.

    While nothing is valid no percentage means anything, and the level stays as it was.
    """
    if figures.valid == 0:
        return 0, level
    hundredfold = figures.allocated * 100
    armed_below = [0, *THRESHOLD_PERCENTS]
    while level and hundredfold <= (level - THRESHOLD_SLACK_PERCENT) * figures.valid:
        level = armed_below[armed_below.index(level) - 1]
    reached = max((percent for percent in THRESHOLD_PERCENTS if hundredfold >= percent * figures.valid), default=0)
    return (reached, reached) if reached > level else (0, level)
