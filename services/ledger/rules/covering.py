"""What every change of coverage goes through: what it suspends, what it resumes, and whether it may."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from services.ledger.rules.answers import AllocationNames, Consequences
from services.ledger.rules.book import Book, Moment
from services.ledger.rules.consequences import no_longer_fitting, resume, suspend
from services.ledger.rules.encoding import instant_text
from services.ledger.rules.model import Allocation, Figures, Subscription
from services.ledger.rules.refusal import Reason, Refused
from services.ledger.rules.schedule import covered_until, lowers_coverage

WOULD_SUSPEND_NAMES_MAX: Final = 5


def change_coverage(
    book: Book,
    subscriptions: list[Subscription],
    figures: Figures,
    moment: Moment,
    force: bool,
    cause: str,
    post: Callable[[], Any],
) -> Consequences:
    """Suspends what no longer fits, posts the change itself, resumes what fits now: in this order, so that
    `allocated <= coverage` holds at each revision. `subscriptions` and `figures` are those after the change."""
    before = book.state.figures
    leaving = no_longer_fitting(book, figures.coverage)
    if not force:
        _refuse_suspending(book, leaving, subscriptions, figures, moment.effective_time)
    suspend(book, leaving, moment, [cause])
    post()
    resumed = resume(book, moment, [cause]) if _raises_spendable(before, figures) else []
    return _consequences(book, resumed, leaving)


def unchanged_coverage(book: Book) -> Consequences:
    """The consequences of a call that changed nothing: what waits still waits."""
    return _consequences(book)


def _refuse_suspending(
    book: Book,
    leaving: list[Allocation],
    subscriptions: list[Subscription],
    figures: Figures,
    now: datetime,
) -> None:
    """A call suspends nothing, at once or earlier than time would have, unless it is forced."""
    state = book.state
    if leaving:
        listed = [each.name for each in leaving[:WOULD_SUSPEND_NAMES_MAX]]
        more = f" and {len(leaving) - len(listed)} more" if len(leaving) > len(listed) else ""
        raise Refused(
            Reason.WOULD_SUSPEND,
            f"{state.name}: this would suspend {', '.join(listed)}{more}; make room first, or set force",
            {"allocations": ",".join(listed), "allocationCount": str(len(leaving))},
            state.name,
        )
    before = book.live_subscriptions(), state.figures
    until_before, until = covered_until(*before, now), covered_until(subscriptions, figures, now)
    earlier = until is not None and (until_before is None or until < until_before)
    if until and earlier and lowers_coverage(before, (subscriptions, figures), now):
        shown = {"coveredUntil": instant_text(until)}
        if until_before:
            shown["coveredUntilBefore"] = instant_text(until_before)
        raise Refused(
            Reason.WOULD_SUSPEND,
            f"{state.name}: time would suspend allocations already at {instant_text(until)}; buy credits that carry "
            "them beyond that instant, or set force",
            shown,
            state.name,
        )


def _consequences(book: Book, resumed: Sequence[Allocation] = (), suspended: Sequence[Allocation] = ()) -> Consequences:
    return Consequences(
        AllocationNames.of(resumed), AllocationNames.of(suspended), AllocationNames.of(book.suspended())
    )


def _raises_spendable(before: Figures, after: Figures) -> bool:
    if after.spendable is None:
        return before.spendable is not None
    return before.spendable is not None and after.spendable > before.spendable
