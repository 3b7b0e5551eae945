"""SubscriptionService: wire to ledger and back."""

from datetime import datetime
from typing import NamedTuple
from uuid import uuid4

from earmark.v1 import resources_pb2
from earmark.v1 import subscription_service_pb2 as pb
from earmark.v1.subscription_service_pb2_grpc import SubscriptionServiceServicer
from services.allocator.calling import Context, caller, change
from services.allocator.form import EVERYTHING, Form
from services.allocator.paging import key_from, page, page_size
from services.ledger.ledger import Ledger
from services.ledger.rules import limits, names
from services.ledger.rules.answers import Answer
from services.ledger.rules.commands import CancelSubscription, CreateSubscription, UpdateSubscription
from services.ledger.rules.model import SubscriptionState
from services.ledger.rules.refusal import subscription_not_found
from services.wire import EPOCH, balance_message, consequences_message, subscription_message

SETTABLE = ("credits", "start_time", "end_time", "grace_period", "order_reference", "labels")


class SubscriptionHandler(SubscriptionServiceServicer):
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def CreateSubscription(
        self, request: pb.CreateSubscriptionRequest, context: Context
    ) -> pb.CreateSubscriptionResponse:
        form = Form()
        organization = form.organization("parent", request.parent)
        request_id = form.request_id(
            "request_id",
            request.request_id,
            required=not request.subscription_id and not request.validate_only,
            why="for a purchase without a subscription_id",
        )
        command = _purchase(form, organization, request)
        who = caller(form, context)
        form.check()
        answer = await change(self._ledger, organization, command, request_id, request.validate_only, who)
        parts = _parts(answer)
        return pb.CreateSubscriptionResponse(
            subscription=parts.subscription, balance=parts.balance, consequences=parts.consequences
        )

    async def UpdateSubscription(
        self, request: pb.UpdateSubscriptionRequest, context: Context
    ) -> pb.UpdateSubscriptionResponse:
        form = Form()
        organization, command = _amendment(form, request)
        request_id = form.request_id("request_id", request.request_id)
        who = caller(form, context)
        form.check()
        answer = await change(self._ledger, organization, command, request_id, request.validate_only, who)
        parts = _parts(answer)
        return pb.UpdateSubscriptionResponse(
            subscription=parts.subscription, balance=parts.balance, consequences=parts.consequences
        )

    async def CancelSubscription(
        self, request: pb.CancelSubscriptionRequest, context: Context
    ) -> pb.CancelSubscriptionResponse:
        form = Form()
        organization, subscription = form.subscription("name", request.name)
        request_id = form.request_id("request_id", request.request_id)
        command = CancelSubscription(subscription, request.force, form.etag("etag", request.etag))
        who = caller(form, context)
        form.check()
        answer = await change(self._ledger, organization, command, request_id, request.validate_only, who)
        parts = _parts(answer)
        return pb.CancelSubscriptionResponse(
            subscription=parts.subscription, balance=parts.balance, consequences=parts.consequences
        )

    async def GetSubscription(self, request: pb.GetSubscriptionRequest, context: Context) -> resources_pb2.Subscription:
        form = Form()
        organization, subscription = form.subscription("name", request.name)
        who = caller(form, context)
        form.check()
        async with self._ledger.snapshot(organization, who.seconds) as snapshot:
            found = await snapshot.subscription(subscription)
        if found is None:
            raise subscription_not_found(organization, subscription)
        return subscription_message(*found)

    async def ListSubscriptions(
        self, request: pb.ListSubscriptionsRequest, context: Context
    ) -> pb.ListSubscriptionsResponse:
        form = Form()
        organization = form.organization("parent", request.parent, or_all=True)
        state = _state(form, request.state)
        size = page_size(form, request.page_size)
        who = caller(form, context)
        form.check()
        key = key_from(request.page_token, request)
        one = None if organization == EVERYTHING else organization
        async with self._ledger.snapshot(one, who.seconds) as snapshot:
            found = await snapshot.subscriptions(state, (key[0], key[-1]) if key else None, size + 1)
        shown, token = page(
            found,
            size,
            request,
            lambda item: subscription_message(*item),
            lambda item: (item[0].organization, item[0].subscription),
        )
        return pb.ListSubscriptionsResponse(subscriptions=shown, next_page_token=token)


class _Parts(NamedTuple):
    subscription: resources_pb2.Subscription
    balance: resources_pb2.Balance
    consequences: resources_pb2.Consequences


def _parts(answer: Answer) -> _Parts:
    """What each mutation of a subscription answers."""
    subscription, consequences = answer.outcome.subscription, answer.outcome.consequences
    assert subscription is not None
    assert consequences is not None
    return _Parts(
        subscription_message(subscription, answer.balance.as_of),
        balance_message(answer.balance),
        consequences_message(answer.balance.organization, consequences),
    )


def _purchase(form: Form, organization: str, request: pb.CreateSubscriptionRequest) -> CreateSubscription:
    sent = request.subscription
    subscription = form.id("subscription_id", request.subscription_id) if request.subscription_id else None
    renews = None
    if sent.renews:
        found, renews = form.subscription("subscription.renews", sent.renews)
        if found and found != organization:
            form.fail(
                "subscription.renews", f"must be of {names.organization_name(organization)}, but is {sent.renews}"
            )
    if not sent.HasField("end_time"):
        form.fail("subscription.end_time", "is required")
    start = form.instant("subscription.start_time", sent.start_time) if sent.HasField("start_time") else None
    end = form.instant("subscription.end_time", sent.end_time) if sent.HasField("end_time") else None
    _check_order(form, start, end)
    return CreateSubscription(
        subscription=subscription,
        credits=form.whole("subscription.credits", sent.credits, 1, limits.CREDITS_MAX),
        start_time=start,
        end_time=end or limits.INSTANT_MIN,
        grace_period=form.grace_period("subscription.grace_period", sent.grace_period)
        if sent.HasField("grace_period")
        else limits.GRACE_DEFAULT,
        renews=renews,
        order_reference=form.text("subscription.order_reference", sent.order_reference),
        labels=form.labels("subscription.labels", sent.labels),
        made_up_id=uuid4().hex,
    )


def _amendment(form: Form, request: pb.UpdateSubscriptionRequest) -> tuple[str, UpdateSubscription]:
    sent = request.subscription
    organization, subscription = form.subscription("subscription.name", sent.name)
    fields = form.mask("update_mask", request.update_mask, sent, SETTABLE)
    for field in ("start_time", "end_time"):
        if field in fields and not sent.HasField(field):
            form.fail(f"subscription.{field}", "cannot be cleared; send an instant, or leave it out of update_mask")
    start = (
        form.instant("subscription.start_time", sent.start_time)
        if "start_time" in fields and sent.HasField("start_time")
        else None
    )
    end = (
        form.instant("subscription.end_time", sent.end_time)
        if "end_time" in fields and sent.HasField("end_time")
        else None
    )
    _check_order(form, start, end)
    grace = limits.GRACE_DEFAULT if "grace_period" in fields else None
    if "grace_period" in fields and sent.HasField("grace_period"):
        grace = form.grace_period("subscription.grace_period", sent.grace_period)
    command = UpdateSubscription(
        subscription=subscription,
        credits=form.whole("subscription.credits", sent.credits, 1, limits.CREDITS_MAX)
        if "credits" in fields
        else None,
        start_time=start,
        end_time=end,
        grace_period=grace,
        order_reference=form.text("subscription.order_reference", sent.order_reference)
        if "order_reference" in fields
        else None,
        labels=form.labels("subscription.labels", sent.labels) if "labels" in fields else None,
        force=request.force,
        etag=form.etag("subscription.etag", sent.etag),
    )
    return organization, command


def _check_order(form: Form, start: datetime | None, end: datetime | None) -> None:
    """Where both were sent; against what is stored, the ledger checks."""
    if start and end and EPOCH not in (start, end) and start >= end:
        form.fail("subscription.end_time", "must be after subscription.start_time: the term would be empty")


def _state(form: Form, value: int) -> SubscriptionState | None:
    states = resources_pb2.Subscription.State
    if value == resources_pb2.Subscription.STATE_UNSPECIFIED:
        return None
    if value not in states.values():
        form.fail("state", f"must be SCHEDULED, ACTIVE, GRACE, EXPIRED or CANCELLED, but is {value}")
        return None
    return SubscriptionState(states.Name(states.ValueType(value)))
