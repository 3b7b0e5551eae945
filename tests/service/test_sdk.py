"""The client in the words of the domain, and its blocking twin, against a real allocator."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.message import Message

import earmark
from earmark import Adjust, Client, Disable, Enable, Price, errors, sync
from earmark.messages import MessageClient
from earmark.types import (
    AllocationState,
    EntitlementState,
    EntryKind,
    HistoryStep,
    Subscription,
    SubscriptionState,
)
from services.allocator.server import AllocatorServer
from tests.conftest import Advance

YEAR = timedelta(days=365)


@pytest.fixture
async def sdk(allocator: AllocatorServer) -> AsyncIterator[Client]:
    async with Client(allocator.address, actor="desk") as client:
        yield client


@pytest.fixture
async def customer(sdk: Client) -> str:
    """10,000 credits for a year, and a sensor at 20."""
    await sdk.create_offering("sensor", price=Price(credits_per_block=Decimal(20)), unit="deployment")
    await sdk.create_organization("o-1", display_name="First")
    await sdk.create_subscription("o-1", subscription="s-1", credits=10_000, end_time=datetime.now(UTC) + YEAR)
    return "o-1"


def words(value: object) -> set[type]:
    """The types that a value is made of."""
    if is_dataclass(value):
        return {type(value)}.union(*(words(getattr(value, each.name)) for each in fields(value)))
    if isinstance(value, tuple | list):
        return set().union(*map(words, value))
    return {type(value)}


async def test_a_customers_life(sdk: Client, customer: str, advance: Advance) -> None:
    enabled = await sdk.enable(customer, offering="sensor", units=400, labels={"site": "north"}, priority=7)
    assert (enabled.allocation.state, enabled.allocation.credits) == (AllocationState.ENABLED, 8_000)
    assert (enabled.allocation.organization, enabled.allocation.id, enabled.allocation.offering) == (
        "o-1",
        "sensor",
        "sensor",
    )
    assert enabled.balance.available_credits == 2_000
    assert (await sdk.adjust(customer, "sensor", delta_units=-100)).balance.allocated_credits == 6_000
    checked = await sdk.check(customer, offering="sensor")
    assert (checked.state, checked.units, checked.may_use) == (EntitlementState.ENTITLED, 300, True)

    applied = await sdk.apply(
        customer,
        [
            Disable(allocation="sensor"),
            Enable(offering="sensor", units=10, allocation="sensor~2"),
            Adjust(allocation="sensor~2", delta_units=5),
        ],
    )
    assert [each.allocation.units for each in applied.results if each.allocation] == [0, 10, 15]
    assert applied.balance
    assert applied.balance.allocated_credits == 300
    listed = [each async for each in sdk.list_allocations(customer, state=AllocationState.ENABLED)]
    assert [each.id for each in listed] == ["sensor~2"]

    estimate = await sdk.estimate_credits([("sensor", 1_000)], organization=customer)
    assert estimate.purchase
    assert (estimate.required_credits, estimate.purchase.recommended_credits) == (20_000, 10_300)
    usage = await sdk.get_usage(customer)
    assert [(each.offering, each.enabled_units) for each in usage.offerings] == [("sensor", 15)]
    forecast = await sdk.forecast_usage(customer, until=datetime.now(UTC) + 2 * YEAR)
    assert forecast.suspended.ids == ("sensor~2",)

    await advance(YEAR + timedelta(days=31))
    assert (await sdk.check(customer, offering="sensor")).state is EntitlementState.SUSPENDED
    assert (await sdk.get_subscription(customer, "s-1")).state is SubscriptionState.EXPIRED
    bought = await sdk.create_subscription(
        customer, credits=500, end_time=datetime.now(UTC) + 3 * YEAR, renews="s-1", grace_period=timedelta(0)
    )
    assert (bought.subscription.renews, bought.subscription.grace_period) == ("s-1", timedelta(0))
    assert bought.consequences.resumed.ids == ("sensor~2",)


async def test_the_ledger_reads_as_it_was_written(sdk: Client, customer: str) -> None:
    change = await sdk.enable(customer, offering="sensor", units=2, request_id="r-1")
    await sdk.using(actor="night shift").adjust(customer, "sensor", delta_units=1)
    entries = [each async for each in sdk.list_entries(customer)]
    assert [each.revision for each in entries] == [1, 2, 3, 4]
    created, bought, enabled, adjusted = entries
    assert (created.kind, bought.kind) == (EntryKind.ORGANIZATION_CREATED, EntryKind.SUBSCRIPTION_CREATED)
    assert (enabled.request_id, enabled.actor, enabled.allocated_delta) == ("r-1", "desk", 40)
    assert enabled.balance == change.balance
    assert (adjusted.actor, adjusted.resource) == ("night shift", "organizations/o-1/allocations/sensor")
    assert isinstance(bought.after, Subscription)
    assert bought.after.credits == 10_000
    only = [each async for each in sdk.list_entries(customer, kinds=[EntryKind.ALLOCATION_ADJUSTED])]
    assert only == [adjusted]
    history = await sdk.query_usage_history(
        customer, start=_midnight(), end=_midnight() + timedelta(days=1), step=HistoryStep.HOUR
    )
    assert history.steps[-1].allocated_credits == 60
    assert history.steps[-1].in_progress


async def test_nothing_that_is_answered_is_protobuf(sdk: Client, customer: str) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    answers: list[object] = [
        await sdk.update_organization(customer, overdraft_limit=5),
        await sdk.get_organization(customer),
        await sdk.update_subscription(customer, "s-1", credits=10_001),
        await sdk.cancel_subscription(customer, "s-1", validate_only=True),
        await sdk.enable(customer, offering="sensor", units=1),
        await sdk.update_allocation(customer, "sensor", labels={"a": "b"}),
        await sdk.disable(customer, "sensor", validate_only=True),
        await sdk.apply(customer, [Enable(offering="nothing", units=1)], allow_partial=True),
        await sdk.check_all(customer, offerings=["sensor", "nothing"], allocations=["never"]),
        await sdk.get_allocation(customer, "sensor"),
        await sdk.update_offering("sensor", price="21.5", retired=True),
        await sdk.get_offering("sensor"),
        await sdk.get_usage(customer),
        await sdk.forecast_usage(customer, until=tomorrow),
        await sdk.query_usage_history(customer, start=_midnight(), end=_midnight() + timedelta(days=1)),
        await sdk.estimate_credits([("sensor", 1)], organization=customer),
        [each async for each in sdk.list_organizations()],
        [each async for each in sdk.list_subscriptions(customer, state=SubscriptionState.ACTIVE)],
        [each async for each in sdk.list_offerings()],
        [each async for each in sdk.list_entries()],
    ]
    async with aclosing(sdk.watch_usage(customer)) as events, aclosing(sdk.watch_balances()) as balances:
        answers += [await anext(events), await anext(balances)]
    for answer in answers:
        made_of = words(answer)
        assert not any(issubclass(each, Message) for each in made_of), made_of
        assert any(each.__module__.startswith("earmark.types") for each in made_of)


async def test_an_exception_for_each_reason_with_its_figures(sdk: Client, customer: str) -> None:
    start = datetime.now(UTC) + timedelta(days=1)
    later = await sdk.create_subscription(customer, credits=10_000, start_time=start, end_time=start + YEAR)
    with pytest.raises(errors.InsufficientCredits) as short:
        await sdk.enable(customer, offering="sensor", units=501)
    error = short.value
    assert (error.required, error.available, error.shortfall, error.suspended) == (10_020, 10_000, 20, 0)
    assert error.next_start_time == later.subscription.start_time
    assert error.request_id
    assert not error.is_outcome_open

    await sdk.enable(customer, offering="sensor", units=500)
    with pytest.raises(errors.WouldSuspend) as would:
        await sdk.cancel_subscription(customer, "s-1")
    assert (would.value.allocations, would.value.allocation_count) == (["organizations/o-1/allocations/sensor"], 1)
    assert would.value.covered_until is None
    with pytest.raises(errors.NotFound) as nobody:
        await sdk.get_organization("o-2")
    assert (type(nobody.value), nobody.value.resource) == (errors.OrganizationNotFound, "organizations/o-2")
    with pytest.raises(errors.InvalidArgument) as bad:
        await sdk.enable(customer, offering="sensor", units=0)
    [violation] = bad.value.violations
    assert violation.field == "units"
    with pytest.raises(errors.AllocationNotFound) as second:
        await sdk.apply(customer, [Disable(allocation="sensor"), Disable(allocation="never")])
    assert second.value.operation_index == 1
    with pytest.raises(errors.OfferingNotFound) as line:
        await sdk.estimate_credits([("sensor", 1), ("nothing", 1)])
    assert line.value.line_index == 1


async def test_each_of_several_has_its_own_error(sdk: Client, customer: str) -> None:
    applied = await sdk.apply(
        customer,
        [Enable(offering="sensor", units=1), Adjust(allocation="never", delta_units=1, request_id="mine")],
        allow_partial=True,
        request_id="call",
    )
    good, bad = applied.results
    assert (good.error, bad.allocation) == (None, None)
    assert isinstance(bad.error, errors.AllocationNotFound)
    assert bad.error.request_id == "mine"
    checked = await sdk.check_all(customer, offerings=["sensor", "nothing"], allocations=["never"])
    assert [(each.offering, each.allocation) for each in checked] == [("sensor", ""), ("nothing", ""), ("", "never")]
    assert [each.entitlement.state if each.entitlement else type(each.error) for each in checked] == [
        EntitlementState.ENTITLED,
        errors.OfferingNotFound,
        EntitlementState.NOT_ENABLED,
    ]


async def test_a_watch_in_the_words_of_the_domain(sdk: Client, customer: str) -> None:
    async with aclosing(sdk.watch_usage(customer)) as events:
        first = await anext(events)
        assert first.snapshot
        assert first.snapshot.balance.available_credits == 10_000
        change = await sdk.enable(customer, offering="sensor", units=1)
        then = await anext(events)
        assert [each.revision for each in then.entries] == [change.balance.revision]
    async with aclosing(sdk.watch_usage(customer, resume_token=first.resume_token)) as events:
        assert (await anext(events)).entries == then.entries
    with pytest.raises(errors.RevisionNotReached) as ahead:
        await anext(sdk.watch_usage(customer, after_revision=1_000))
    assert (ahead.value.revision, ahead.value.newest_revision) == (1_000, change.balance.revision)


async def test_what_could_not_be_meant_is_not_sent(sdk: Client) -> None:
    price: Any = 0.1
    with pytest.raises(TypeError, match=r"give '0\.1'"):
        await sdk.create_offering("data", price=price)
    amount: Any = 0.1
    with pytest.raises(TypeError, match="a price is exact"):
        Price(credits_per_block=amount)
    with pytest.raises(ValueError, match="no time zone"):
        await sdk.forecast_usage("o-1", until=datetime(2027, 1, 1))
    with pytest.raises(ValueError, match="several are separated by commas"):
        Client("127.0.0.1:1,,127.0.0.1:2")
    with pytest.raises(ValueError, match="needs some time"):
        sdk.using(timeout_seconds=0)
    with pytest.raises(ValueError, match="needs some time"):
        sdk.using(timeout_seconds=float("inf"))
    with pytest.raises(RuntimeError, match="not open"):
        await Client("127.0.0.1:1").get_organization("o-1")


async def test_the_messages_are_there_for_who_asks(sdk: Client, customer: str) -> None:
    assert isinstance(sdk.messages, MessageClient)
    assert (await sdk.messages.get_organization(customer)).display_name == "First"


async def test_the_blocking_client_does_the_same(allocator: AllocatorServer, customer: str) -> None:
    def story() -> list[Any]:
        with sync.Client(allocator.address, actor="script") as client:
            told: list[Any] = [client.enable(customer, offering="sensor", units=3).balance.allocated_credits]
            told.append([each.id for each in client.list_allocations(customer)])
            with pytest.raises(errors.InsufficientCredits) as short:
                client.enable(customer, offering="sensor", units=1_000)
            told.append(short.value.shortfall)
            events = client.watch_usage(customer, after_revision=0)
            told.append([next(events).entries[0].kind])
            events.close()
            told.append(client.using(actor="other").disable(customer, "sensor").balance.revision)
            return told

    assert await asyncio.to_thread(story) == [60, ["sensor"], 10_000, [EntryKind.ORGANIZATION_CREATED], 4]
    with pytest.raises(RuntimeError, match="not open"):
        await asyncio.to_thread(sync.Client(allocator.address).get_organization, customer)


async def test_many_threads_share_a_blocking_client(allocator: AllocatorServer, customer: str) -> None:
    def story() -> None:
        with sync.Client(allocator.address, coalesce=True) as client, sync.Client(allocator.address) as another:
            with ThreadPoolExecutor(20) as pool:
                list(
                    pool.map(
                        lambda number: client.enable(
                            customer, offering="sensor", units=1, allocation=f"sensor~{number}"
                        ),
                        range(100),
                    )
                )
            assert another.get_usage(customer).offerings[0].enabled_allocations == 100

    await asyncio.to_thread(story)


def test_the_blocking_client_has_every_method_of_the_async_one() -> None:
    def signatures(kind: type) -> dict[str, list[inspect.Parameter]]:
        return {
            name: list(inspect.signature(method).parameters.values())
            for name, method in inspect.getmembers(kind, callable)
            if not name.startswith("_")
        }

    assert signatures(sync.Client) == signatures(earmark.Client)


def _midnight() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
