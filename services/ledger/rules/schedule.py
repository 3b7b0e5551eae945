"""What time alone will do: the instants of a subscription's life, and coverage over future starts and ends."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import groupby

from services.ledger.rules.limits import REMINDER_DAYS_OF_GRACE, REMINDER_DAYS_OF_TERM
from services.ledger.rules.model import Figures, Subscription, SubscriptionState


def reminder_days(subscription: Subscription, instant: datetime) -> tuple[str, int] | None:
    """The reminder that belongs to this very instant of the subscription's present state.

    ("TERM" or "GRACE", days before its end), or None.
    """
    if subscription.state is SubscriptionState.ACTIVE:
        for days in REMINDER_DAYS_OF_TERM:
            if instant == subscription.end_time - timedelta(days=days):
                return ("TERM", days)
    if subscription.state is SubscriptionState.GRACE:
        for days in REMINDER_DAYS_OF_GRACE:
            if instant == subscription.grace_end_time - timedelta(days=days):
                return ("GRACE", days)
    return None


def instants(subscription: Subscription, after: datetime) -> Iterator[datetime]:
    """Every instant after `after` at which something comes due for the subscription, in no order."""
    if subscription.state.over:
        return
    start, end, grace_end = subscription.start_time, subscription.end_time, subscription.grace_end_time
    candidates = [start, end, grace_end]
    candidates += [instant for days in REMINDER_DAYS_OF_TERM if start <= (instant := end - timedelta(days=days)) < end]
    candidates += [
        instant for days in REMINDER_DAYS_OF_GRACE if end <= (instant := grace_end - timedelta(days=days)) < grace_end
    ]
    yield from (instant for instant in candidates if instant > after)


def next_transition_time(subscriptions: Iterable[Subscription], after: datetime) -> datetime | None:
    """The first instant after `after` at which anything comes due; None if nothing ever will."""
    return min((instant for each in subscriptions for instant in instants(each, after)), default=None)


def coverage_steps(
    subscriptions: Iterable[Subscription], figures: Figures, after: datetime
) -> list[tuple[datetime, int]]:
    """Coverage from each future instant on at which it changes, if nobody calls; overdraft limit included."""
    changes: list[tuple[datetime, int]] = []
    for each in subscriptions:
        if each.state.over:
            continue
        if each.state is SubscriptionState.SCHEDULED:
            changes.append((each.start_time, each.credits))
        changes.append((each.grace_end_time, -each.credits))
    return _accumulate(changes, figures.valid + figures.grace + figures.overdraft_limit, after)


def spendable_steps(
    subscriptions: Iterable[Subscription], figures: Figures, after: datetime
) -> list[tuple[datetime, int]]:
    """Spendable credits from each future instant on at which they change, if nobody calls."""
    changes: list[tuple[datetime, int]] = []
    for each in subscriptions:
        if each.state is SubscriptionState.SCHEDULED:
            changes.append((each.start_time, each.credits))
        if each.state in (SubscriptionState.SCHEDULED, SubscriptionState.ACTIVE):
            changes.append((each.end_time, -each.credits))
    return _accumulate(changes, figures.valid + figures.overdraft_limit, after)


def covered_until(subscriptions: Iterable[Subscription], figures: Figures, now: datetime) -> datetime | None:
    """The first scheduled fall of coverage that leaves it below allocated + suspended; None if there is none."""
    if figures.overdraft_unlimited:
        return None
    level = figures.valid + figures.grace + figures.overdraft_limit
    for instant, coverage in coverage_steps(subscriptions, figures, now):
        if coverage < level and coverage < figures.wanted:
            return instant
        level = coverage
    return None


def lowers_coverage(
    before: tuple[Iterable[Subscription], Figures], after: tuple[Iterable[Subscription], Figures], now: datetime
) -> bool:
    """Whether, at any instant from `now` on, coverage after a change is less than it was to be."""
    if after[1].overdraft_unlimited:
        return False
    if before[1].overdraft_unlimited:
        return True
    old, new = ([(now, each[1].coverage or 0), *coverage_steps(*each, now)] for each in (before, after))
    return any(_at(new, instant) < _at(old, instant) for instant, _ in (*old, *new))


def next_start_with(
    subscriptions: Iterable[Subscription], figures: Figures, needed: int, now: datetime
) -> datetime | None:
    """The next scheduled start at which at least `needed` credits are spendable; None if there is none."""
    live = list(subscriptions)
    starts = {each.start_time for each in live if each.state is SubscriptionState.SCHEDULED}
    for instant, spendable in spendable_steps(live, figures, now):
        if instant in starts and spendable >= needed:
            return instant
    return None


def _accumulate(changes: list[tuple[datetime, int]], level: int, after: datetime) -> list[tuple[datetime, int]]:
    steps: list[tuple[datetime, int]] = []
    for instant, group in groupby(sorted(changes), key=lambda change: change[0]):
        if instant > after:
            level += sum(change for _, change in group)
            steps.append((instant, level))
    return steps


def _at(steps: list[tuple[datetime, int]], instant: datetime) -> int:
    return steps[bisect_right(steps, instant, key=lambda step: step[0]) - 1][1]
