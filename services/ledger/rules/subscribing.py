"""Purchases: creating, amending and cancelling subscriptions."""

from datetime import datetime
from typing import Any

from msgspec.structs import replace

from services.ledger.rules import names
from services.ledger.rules.answers import Consequences
from services.ledger.rules.book import Book, Moment
from services.ledger.rules.commands import CancelSubscription, CreateSubscription, UpdateSubscription
from services.ledger.rules.covering import change_coverage, unchanged_coverage
from services.ledger.rules.encoding import instant_text
from services.ledger.rules.limits import LIVE_SUBSCRIPTIONS_MAX
from services.ledger.rules.model import EntryKind, Subscription, SubscriptionState
from services.ledger.rules.refusal import (
    Reason,
    Refused,
    check_etag,
    invalid_field,
    limit_exceeded,
    subscription_not_found,
)


def create_subscription(book: Book, command: CreateSubscription, moment: Moment) -> tuple[Subscription, Consequences]:
    subscription = command.subscription or command.made_up_id
    renewed = _known(book, command.renews) if command.renews is not None else None
    name = names.subscription_name(book.state.organization, subscription)
    if subscription in book.subscriptions:
        raise Refused(Reason.SUBSCRIPTION_ALREADY_EXISTS, f"{name} exists already; choose another id", {}, name)
    if renewed is not None:
        _check_not_renewed(book, renewed)
    now = moment.effective_time
    start = command.start_time
    if start is None and renewed is not None and not renewed.state.over:
        start = renewed.end_time
    start = max(now, start or now)
    new = Subscription(
        organization=book.state.organization,
        subscription=subscription,
        state=SubscriptionState.SCHEDULED,
        credits=command.credits,
        start_time=start,
        end_time=command.end_time,
        grace_period=command.grace_period,
        renews=command.renews,
        order_reference=command.order_reference,
        labels=command.labels,
        changed_revision=0,
        create_time=now,
        update_time=now,
        cancel_time=None,
    )
    _check_end(new, now)
    if start >= new.end_time:
        raise _empty_term("end_time", new)
    _check_room_for_one_more(book)
    new = _in_its_state(new, now)
    return _replace_subscription(book, EntryKind.SUBSCRIPTION_CREATED, new, moment, False)


def update_subscription(book: Book, command: UpdateSubscription, moment: Moment) -> tuple[Subscription, Consequences]:
    """A value that is sent and equal to the present one is not set."""
    old = _known(book, command.subscription)
    check_etag(command.etag, old.etag, old.name)
    sent: dict[str, Any] = {
        "credits": command.credits,
        "start_time": command.start_time,
        "end_time": command.end_time,
        "grace_period": command.grace_period,
        "order_reference": command.order_reference,
        "labels": command.labels,
    }
    changes = {key: value for key, value in sent.items() if value is not None and value != getattr(old, key)}
    if not changes:
        return old, unchanged_coverage(book)
    _check_state_allows(old, changes)
    now = moment.effective_time
    if "start_time" in changes:
        changes["start_time"] = max(now, changes["start_time"])
    changed: Subscription = replace(old, **changes)
    if "end_time" in changes:
        _check_end(changed, now)
    if changed.start_time >= changed.end_time:
        raise _empty_term("end_time" if "end_time" in changes else "start_time", changed)
    if "grace_period" in changes and changed.grace_end_time <= now:
        raise invalid_field(
            "subscription.grace_period",
            f"the grace period would have ended at {instant_text(changed.grace_end_time)}, and it is "
            f"{instant_text(now)}: choose a longer one",
            {"graceEndTime": instant_text(changed.grace_end_time), "now": instant_text(now)},
        )
    return _replace_subscription(
        book, EntryKind.SUBSCRIPTION_AMENDED, _in_its_state(changed, now), moment, command.force
    )


def cancel_subscription(book: Book, command: CancelSubscription, moment: Moment) -> tuple[Subscription, Consequences]:
    old = _known(book, command.subscription)
    check_etag(command.etag, old.etag, old.name)
    if old.state is SubscriptionState.CANCELLED:
        return old, unchanged_coverage(book)
    _check_state_allows(old, {"state": SubscriptionState.CANCELLED})
    cancelled = replace(old, state=SubscriptionState.CANCELLED, cancel_time=moment.effective_time)
    return _replace_subscription(book, EntryKind.SUBSCRIPTION_CANCELLED, cancelled, moment, command.force)


def _replace_subscription(
    book: Book, kind: EntryKind, new: Subscription, moment: Moment, force: bool
) -> tuple[Subscription, Consequences]:
    old = book.subscriptions.get(new.subscription)
    figures = book.figures_with(new, old)
    others = [each for each in book.live_subscriptions() if each.subscription != new.subscription]
    consequences = change_coverage(
        book,
        [*others, new],
        figures,
        moment,
        force,
        new.name,
        lambda: book.post_subscription(kind, moment, new),
    )
    return book.subscriptions[new.subscription], consequences


def _check_not_renewed(book: Book, subscription: Subscription) -> None:
    """At most one renewal of it may be not over."""
    other = book.renewal_of(subscription.subscription)
    if other is not None:
        raise Refused(
            Reason.RENEWAL_ALREADY_EXISTS,
            f"{subscription.name} is renewed by {other.name} already; change or cancel that one first",
            {"renewal": other.name},
            subscription.name,
        )


def _known(book: Book, subscription_id: str) -> Subscription:
    subscription = book.subscriptions.get(subscription_id)
    if subscription is None:
        raise subscription_not_found(book.state.organization, subscription_id)
    return subscription


def _check_state_allows(subscription: Subscription, changes: dict[str, Any]) -> None:
    state = subscription.state
    if state.over:
        raise _forbidden(subscription, f"it is {state}, which is final; buy a new one")
    if "start_time" in changes and state is not SubscriptionState.SCHEDULED:
        raise _forbidden(subscription, f"it is {state}, so its start has passed and stays")


def _forbidden(subscription: Subscription, why: str) -> Refused:
    return Refused(
        Reason.SUBSCRIPTION_STATE,
        f"{subscription.name} cannot be changed so: {why}",
        {"state": str(subscription.state)},
        subscription.name,
    )


def _check_end(subscription: Subscription, now: datetime) -> None:
    if subscription.end_time <= now:
        raise invalid_field(
            "subscription.end_time",
            f"{instant_text(subscription.end_time)} is not after now, which is {instant_text(now)}; to end a "
            "subscription at once, cancel it",
            {"endTime": instant_text(subscription.end_time), "now": instant_text(now)},
        )


def _empty_term(field: str, subscription: Subscription) -> Refused:
    return invalid_field(
        f"subscription.{field}",
        f"the term would be empty: it would start at {instant_text(subscription.start_time)} and end at "
        f"{instant_text(subscription.end_time)}, and its end must be after its start",
        {"startTime": instant_text(subscription.start_time), "endTime": instant_text(subscription.end_time)},
    )


def _check_room_for_one_more(book: Book) -> None:
    live = len(book.live_subscriptions()) + 1
    if live > LIVE_SUBSCRIPTIONS_MAX:
        what = "subscriptions that are neither EXPIRED nor CANCELLED"
        raise limit_exceeded(what, live, LIVE_SUBSCRIPTIONS_MAX, book.state.name)


def _in_its_state(subscription: Subscription, now: datetime) -> Subscription:
    """The state that the term gives it at `now`, which is before the end of its grace."""
    if now < subscription.start_time:
        return replace(subscription, state=SubscriptionState.SCHEDULED)
    in_term = now < subscription.end_time
    return replace(subscription, state=SubscriptionState.ACTIVE if in_term else SubscriptionState.GRACE)
