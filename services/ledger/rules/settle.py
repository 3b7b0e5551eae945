"""What time does to an organization. Pure: the same book and instant give the same entries."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from msgspec.structs import replace

from services.ledger.rules.book import Book, Moment
from services.ledger.rules.consequences import judge_threshold, no_longer_fitting, resume, suspend
from services.ledger.rules.model import EntryKind, Subscription, SubscriptionState
from services.ledger.rules.schedule import instants, reminder_days


def settle(book: Book, now: datetime) -> None:
    """Applies every transition that has come due by `now` (inclusive), in time order.

    What is written, but for the recorded time, is the same whether one settles once or in many steps.
    """
    for _ in settling(book, now):
        pass


def settling(book: Book, now: datetime) -> Iterator[datetime]:
    """As `settle`, handing over after each instant."""
    due: dict[datetime, list[str]] = defaultdict(list)
    for subscription in book.live_subscriptions():
        for instant in set(instants(subscription, book.state.settled_time)):
            if instant <= now:
                due[instant].append(subscription.subscription)
    for instant in sorted(due):
        _settle_instant(book, Moment(instant, now), sorted(due[instant]))
        yield instant
    book.organization = replace(book.state, settled_time=max(now, book.state.settled_time))


def _settle_instant(book: Book, moment: Moment, subscriptions: list[str]) -> None:
    """First what raises credits, then what must make room, then what lowers credits, then what can come back."""
    starting = [each for each in _of(book, subscriptions) if _starts(each, moment.effective_time)]
    for subscription in starting:
        started = replace(subscription, state=SubscriptionState.ACTIVE)
        book.post_subscription(EntryKind.SUBSCRIPTION_STARTED, moment, started)

    lowered = [
        (each, after)
        for each in _of(book, subscriptions)
        if (after := _state_when_lowered(each, moment.effective_time))
    ]
    _make_room(book, moment, [each for each, after in lowered if after is SubscriptionState.EXPIRED])
    for subscription, after in lowered:
        expired = after is SubscriptionState.EXPIRED
        kind = EntryKind.SUBSCRIPTION_EXPIRED if expired else EntryKind.SUBSCRIPTION_ENDED
        book.post_subscription(kind, moment, replace(subscription, state=after))

    if starting:
        resume(book, moment, [each.name for each in starting])
    judge_threshold(book, moment)
    for subscription in _of(book, subscriptions):
        _remind(book, moment, subscription)
    book.close()


def _of(book: Book, subscriptions: list[str]) -> list[Subscription]:
    return [book.subscriptions[each] for each in subscriptions]


def _starts(subscription: Subscription, instant: datetime) -> bool:
    return subscription.state is SubscriptionState.SCHEDULED and subscription.start_time == instant


def _state_when_lowered(subscription: Subscription, instant: datetime) -> SubscriptionState | None:
    if subscription.state is SubscriptionState.ACTIVE and subscription.end_time == instant:
        return SubscriptionState.GRACE if subscription.grace_period else SubscriptionState.EXPIRED
    if subscription.state is SubscriptionState.GRACE and subscription.grace_end_time == instant:
        return SubscriptionState.EXPIRED
    return None


def _make_room(book: Book, moment: Moment, expiring: list[Subscription]) -> None:
    """Suspends what the coverage that is left after this instant cannot carry."""
    coverage = book.state.figures.coverage
    if coverage is not None:
        coverage -= sum(each.credits for each in expiring)
        suspend(book, no_longer_fitting(book, coverage), moment, [each.name for each in expiring])


def _remind(book: Book, moment: Moment, subscription: Subscription) -> None:
    reminder = reminder_days(subscription, moment.effective_time)
    if reminder:
        ending, days = reminder
        renewed = book.renewal_of(subscription.subscription) is not None
        detail = {"ending": ending, "days": days, "renewed": renewed}
        book.post_subscription(EntryKind.SUBSCRIPTION_ENDING_SOON, moment, subscription, detail)
