"""Which requests mean the same, so that one is a replay of the other, and which do not."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from earmark.v1.allocation_service_pb2 import (
    AdjustAllocationRequest,
    AdjustOperation,
    ApplyOperationsRequest,
    DisableAllocationRequest,
    DisableOperation,
    EnableAllocationRequest,
    EnableOperation,
    Operation,
    UpdateAllocationRequest,
)
from earmark.v1.catalog_service_pb2 import CreateOfferingRequest, UpdateOfferingRequest
from earmark.v1.organization_service_pb2 import CreateOrganizationRequest, UpdateOrganizationRequest
from earmark.v1.resources_pb2 import Allocation, Offering, Organization, Price, Subscription
from earmark.v1.subscription_service_pb2 import (
    CancelSubscriptionRequest,
    CreateSubscriptionRequest,
    UpdateSubscriptionRequest,
)
from services.ledger.rules.commands import (
    AdjustAllocation,
    ApplyOperations,
    CreateSubscription,
    EnableAllocation,
    meaning,
)
from tests.support.recording_ledger import commands_of

ACME, NAME, FIRST = "organizations/acme", "organizations/acme/allocations/app", "organizations/acme/subscriptions/first"
T = datetime(2027, 1, 31, tzinfo=UTC)
DAY = timedelta(days=1)


def enable(**fields: object) -> EnableAllocationRequest:
    return EnableAllocationRequest(**{"parent": ACME, "offering": "offerings/app", "units": 3, **fields})  # type: ignore[arg-type]


def adjust(delta: int = 1, **fields: object) -> AdjustAllocationRequest:
    return AdjustAllocationRequest(**{"name": NAME, "delta_units": delta, "request_id": "r", **fields})  # type: ignore[arg-type]


def mark(*paths: str, etag: str = "", **fields: object) -> UpdateAllocationRequest:
    allocation = Allocation(**{"name": NAME, "etag": etag, **fields})  # type: ignore[arg-type]
    return UpdateAllocationRequest(allocation=allocation, update_mask=FieldMask(paths=paths))


def buy(subscription_id: str = "first", request_id: str = "r", **fields: object) -> CreateSubscriptionRequest:
    subscription = Subscription(**{"credits": 100, "end_time": T, **fields})  # type: ignore[arg-type]
    return CreateSubscriptionRequest(
        parent=ACME, subscription_id=subscription_id, request_id=request_id, subscription=subscription
    )


def amend(*paths: str, force: bool = False, etag: str = "", **fields: object) -> UpdateSubscriptionRequest:
    subscription = Subscription(**{"name": FIRST, "etag": etag, **fields})  # type: ignore[arg-type]
    return UpdateSubscriptionRequest(subscription=subscription, update_mask=FieldMask(paths=paths), force=force)


def cancel(**fields: object) -> CancelSubscriptionRequest:
    return CancelSubscriptionRequest(**{"name": FIRST, **fields})  # type: ignore[arg-type]


def update(*paths: str, force: bool = False, **fields: object) -> UpdateOrganizationRequest:
    organization = Organization(**{"name": ACME, **fields})  # type: ignore[arg-type]
    return UpdateOrganizationRequest(organization=organization, update_mask=FieldMask(paths=paths), force=force)


def offer(price: str = "20", **fields: object) -> CreateOfferingRequest:
    terms = Price(**{"credits_per_block": price, **fields})  # type: ignore[arg-type]
    return CreateOfferingRequest(offering_id="app", offering=Offering(price=terms))


def apply(*operations: Operation, allow_partial: bool = False) -> ApplyOperationsRequest:
    return ApplyOperationsRequest(
        parent=ACME, operations=operations, allow_partial=allow_partial, request_id="" if allow_partial else "r"
    )


ENABLE = Operation(enable=EnableOperation(offering="offerings/app", units=3))
ADJUST = Operation(adjust=AdjustOperation(name=NAME, delta_units=1))
DISABLE = Operation(disable=DisableOperation(name=NAME))

EQUAL: dict[str, tuple[Message, Message]] = {
    "another request id": (enable(request_id="a"), enable(request_id="b")),
    "only to see what would happen": (enable(), enable(validate_only=True)),
    "the allocation's id, which is the offering's by default": (enable(), enable(allocation_id="app")),
    "labels in another order": (enable(labels={"a": "1", "b": "2"}), enable(labels={"b": "2", "a": "1"})),
    "an empty label map, which keeps what there is": (enable(), enable(labels={})),
    "another etag": (mark("priority", priority=1, etag="4"), mark("priority", priority=1, etag="5")),
    "a field outside the mask": (mark("priority", priority=1), mark("priority", priority=1, labels={"a": "1"})),
    "an order of the mask": (mark("priority", "labels", priority=1), mark("labels", "priority", priority=1)),
    "no mask: what is set": (mark("priority", priority=1), mark(priority=1)),
    "the default grace": (buy(), buy(grace_period=30 * DAY)),
    "a made-up id, however often it is made": (buy(subscription_id=""), buy(subscription_id="")),
    "what only the server sets": (buy(), buy(state=Subscription.ACTIVE, create_time=T)),
    "an amendment's etag": (amend("credits", credits=5, etag="1"), amend("credits", credits=5, etag="2")),
    "a cancellation's etag": (cancel(etag="1"), cancel(etag="2")),
    "all fields by a star": (
        update("*", display_name="A"),
        update("display_name", "overdraft_limit", "overdraft_unlimited", display_name="A"),
    ),
    "an organization without fields": (
        CreateOrganizationRequest(organization_id="acme"),
        CreateOrganizationRequest(organization_id="acme", organization=Organization()),
    ),
    "a price written otherwise": (offer("20"), offer("20.00")),
    "a default block": (offer(), offer(block_units=1)),
    "a single call and an operation on its own: enable": (enable(), apply(ENABLE, allow_partial=True)),
    "a single call and an operation on its own: adjust": (
        adjust(),
        apply(Operation(adjust=ADJUST.adjust, request_id="r"), allow_partial=True),
    ),
    "a single call and an operation on its own: disable": (
        DisableAllocationRequest(name=NAME),
        apply(DISABLE, allow_partial=True),
    ),
}

UNEQUAL: dict[str, tuple[Message, Message]] = {
    "units": (enable(), enable(units=4)),
    "offering": (enable(allocation_id="app"), enable(allocation_id="app", offering="offerings/other")),
    "allocation": (enable(), enable(allocation_id="app~1")),
    "no priority and priority 0": (enable(), enable(priority=0)),
    "labels": (enable(labels={"a": "1"}), enable(labels={"a": "2"})),
    "labels and none": (enable(), enable(labels={"a": "1"})),
    "delta": (adjust(1), adjust(-1)),
    "method": (DisableAllocationRequest(name=NAME), adjust(0)),
    "one operation of a call and the same alone": (enable(), apply(ENABLE)),
    "order of operations": (apply(ENABLE, DISABLE), apply(DISABLE, ENABLE)),
    "number of operations": (apply(ADJUST), apply(ADJUST, ADJUST)),
    "a field in the mask and one that is not": (mark("priority"), mark("priority", "labels")),
    "labels to be removed and labels to be kept": (mark("labels"), mark("priority")),
    "no start and a start": (buy(), buy(start_time=T - DAY)),
    "no grace at all and the default one": (buy(), buy(grace_period=timedelta())),
    "an id and one to be made up": (buy(), buy(subscription_id="")),
    "a renewal and none": (buy(), buy(renews=f"{ACME}/subscriptions/zero")),
    "a microsecond": (buy(), buy(end_time=T + timedelta(microseconds=1))),
    "order reference": (buy(), buy(order_reference="PO 4711")),
    "an amendment's force": (amend("credits", credits=5), amend("credits", credits=5, force=True)),
    "an order reference removed and one kept": (amend("order_reference"), amend("labels")),
    "a cancellation's force": (cancel(), cancel(force=True)),
    "an organization's force": (update("overdraft_limit"), update("overdraft_limit", force=True)),
    "a limit of 0 and none sent": (update("overdraft_limit"), update("display_name")),
    "price": (offer("20"), offer("2")),
    "no maximum and 0": (offer(), offer(max_credits=0)),
    "creating and updating": (
        offer(),
        UpdateOfferingRequest(offering=Offering(name="offerings/app", price=Price(credits_per_block="20"))),
    ),
}


@pytest.mark.parametrize("what", EQUAL)
async def test_these_mean_the_same(what: str) -> None:
    [one], [other] = [await commands_of(request) for request in EQUAL[what]]
    assert meaning(one) == meaning(other)


@pytest.mark.parametrize("what", UNEQUAL)
async def test_these_do_not_mean_the_same(what: str) -> None:
    [one], [other] = [await commands_of(request) for request in UNEQUAL[what]]
    assert meaning(one) != meaning(other)


def test_what_is_remembered_is_recognized_by_later_releases() -> None:
    """These are stored; were they to change, a retry across an upgrade would be refused."""
    enabled = EnableAllocation("app", "app", 3, priority=0, labels={"b": "2", "a": "ü"})
    bought = CreateSubscription(None, 100, T, grace_period=30 * DAY, made_up_id="x")
    several = ApplyOperations((enabled, AdjustAllocation("app", -1)))
    assert [meaning(each).hex()[:16] for each in (enabled, bought, several)] == [
        "627d33ad6b568fb0",
        "e21370f71bc7bf1b",
        "5ec290e078c8e3eb",
    ]
