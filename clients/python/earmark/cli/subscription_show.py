"""Subscriptions as text and tables."""

from collections.abc import Mapping, Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import RenderableType
from rich.text import Text

from earmark import names
from earmark.cli import show, words
from earmark.cli.table import Column, Rows, card
from earmark.v1.resources_pb2 import Subscription
from earmark.v1.subscription_service_pb2 import (
    CancelSubscriptionResponse,
    CreateSubscriptionResponse,
    UpdateSubscriptionResponse,
)
from earmark.v1.usage_service_pb2 import SubscriptionUsage

_ENDS = ("ends", "end_time")
# What the next or last event of each state is called, and the field with its instant.
_EVENTS: Mapping[int, tuple[str, str]] = {
    Subscription.SCHEDULED: ("starts", "start_time"),
    Subscription.ACTIVE: _ENDS,
    Subscription.GRACE: ("grace ends", "grace_end_time"),
    Subscription.EXPIRED: ("expired", "grace_end_time"),
    Subscription.CANCELLED: ("cancelled", "cancel_time"),
}


def changed(
    answer: CreateSubscriptionResponse | UpdateSubscriptionResponse | CancelSubscriptionResponse,
) -> list[RenderableType]:
    subscription = answer.subscription
    line = show.Line(
        subscription.name,
        show.subscription_state(subscription),
        words.plural(subscription.credits, "credit"),
        f"{words.date(subscription.start_time)} to {words.date(subscription.end_time)}",
        event(subscription),
    )
    return [line, *show.consequences(answer.consequences), show.balance(answer.balance)]


def details(subscription: Subscription) -> list[RenderableType]:
    as_of = subscription.as_of
    return [
        card(
            ("subscription", names.id_of(subscription.name)),
            ("organization", names.organization_of(subscription.name)),
            ("state", show.subscription_state(subscription)),
            ("credits", words.number(subscription.credits)),
            ("starts", show.stamp(subscription, "start_time", as_of)),
            ("ends", show.stamp(subscription, "end_time", as_of)),
            ("grace", words.length(subscription.grace_period)),
            ("grace ends", show.stamp(subscription, "grace_end_time", as_of)),
            ("cancelled", show.stamp(subscription, "cancel_time", as_of)),
            ("renews", names.id_of(subscription.renews)),
            ("order", subscription.order_reference),
            ("labels", show.labels(subscription.labels)),
            ("bought", show.stamp(subscription, "create_time", as_of)),
            ("updated", show.stamp(subscription, "update_time", as_of)),
            ("etag", subscription.etag),
        )
    ]


_COLUMNS = (
    Column("ID", folds=True),
    Column("STATE"),
    Column("CREDITS", number=True),
    Column("STARTS"),
    Column("ENDS"),
    Column("NEXT", folds=True),
    Column("RENEWS", folds=True, optional=True),
)


def rows(subscriptions: Sequence[Subscription], *, everywhere: bool) -> Rows:
    if not everywhere:
        return Rows(_COLUMNS, [_row(one) for one in subscriptions])
    columns = (Column("ORGANIZATION", folds=True), *_COLUMNS)
    return Rows(columns, [[names.organization_of(one.name), *_row(one)] for one in subscriptions])


def _row(subscription: Subscription) -> list[Text | str]:
    return [
        names.id_of(subscription.name),
        show.subscription_state(subscription),
        words.number(subscription.credits),
        words.date(subscription.start_time),
        words.date(subscription.end_time),
        event(subscription),
        names.id_of(subscription.renews),
    ]


def event(subscription: Subscription) -> str:
    """`ends in 29 days`, `grace ends in 3 h`, `cancelled 2 days ago`."""
    verb, _ = _EVENTS.get(subscription.state, _ENDS)
    return f"{verb} {words.relative(change_time(subscription), subscription.as_of)}"


def change_time(subscription: Subscription | SubscriptionUsage) -> Timestamp:
    """When its state changes next, or changed last."""
    _, field = _EVENTS.get(subscription.state, _ENDS)
    instant: Timestamp = getattr(subscription, field)
    return instant
