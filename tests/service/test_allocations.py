"""Switching on, off, up and down: every call of AllocationService, as its callers live with it."""

from datetime import datetime, timedelta

import pytest
from grpc.aio import Channel

import earmark
from earmark import Adjust, Disable, EarmarkError, Enable, Step
from earmark.messages import MessageClient, price
from earmark.v1 import allocation_service_pb2 as pb
from earmark.v1.allocation_service_pb2_grpc import AllocationServiceStub
from earmark.v1.resources_pb2 import Allocation
from services.ledger.store.database import Connection
from tests.conftest import Advance
from tests.support.service_stories import DAY, YEAR, buy, consequences, everything, figures, kinds, now, refused

pytestmark = pytest.mark.usefixtures("sensors")


async def test_the_worked_story(client: MessageClient, organization: str, connection: Connection) -> None:
    await buy(client, organization, 40_000)
    endpoint = await client.enable_allocation(organization, offering="endpoint-sensor", units=400)
    email = await client.enable_allocation(organization, offering="email-sensor", units=300)
    network = await client.enable_allocation(organization, offering="network-sensor", units=1)
    held = [answer.allocation.credits for answer in (endpoint, email, network)]
    assert held == [8_000, 1_500, 25_000]
    assert figures(network.balance) == (40_000, 0, 34_500, 0)
    assert network.balance.available_credits == 5_500

    error = await refused(
        client.enable_allocation(organization, offering="network-sensor", units=1, allocation="network-sensor~2"),
        "INSUFFICIENT_CREDITS",
    )
    assert error.metadata["shortfall"] == "19500"
    returned = await client.disable_allocation(organization, "network-sensor")
    assert (returned.allocation.state, returned.allocation.credits) == (Allocation.DISABLED, 0)
    assert returned.balance.available_credits == 30_500
    assert await kinds(connection, organization) == [
        "ORGANIZATION_CREATED",
        "SUBSCRIPTION_CREATED",
        *("ALLOCATION_ENABLED",) * 3,
        "THRESHOLD_CROSSED",
        "ALLOCATION_DISABLED",
    ]


async def test_enabling_what_is_enabled_changes_nothing(client: MessageClient, organization: str) -> None:
    await buy(client, organization, 100)
    first = await client.enable_allocation(organization, offering="email-sensor", units=3, labels={"site": "north"})
    again = await client.enable_allocation(organization, offering="email-sensor", units=3)
    assert again.balance.revision == first.balance.revision
    assert (again.allocation.etag, dict(again.allocation.labels)) == (first.allocation.etag, {"site": "north"})

    marked = await client.enable_allocation(organization, offering="email-sensor", units=3, priority=5)
    assert marked.balance.revision == first.balance.revision + 1
    assert (marked.allocation.priority, dict(marked.allocation.labels)) == (5, {"site": "north"})
    fewer = await client.enable_allocation(organization, offering="email-sensor", units=1)
    assert (fewer.allocation.units, fewer.allocation.priority, fewer.balance.allocated_credits) == (1, 5, 5)

    await client.disable_allocation(organization, "email-sensor")
    off = await client.disable_allocation(organization, "email-sensor")
    assert off.balance.revision == fewer.balance.revision + 1
    await refused(client.disable_allocation(organization, "never-was"), "ALLOCATION_NOT_FOUND")


async def test_a_counter_goes_up_down_to_zero_and_up_again(client: MessageClient, organization: str) -> None:
    await buy(client, organization, 100)
    await client.enable_allocation(organization, offering="email-sensor", units=1)
    up = await client.adjust_allocation(organization, "email-sensor", delta_units=4)
    assert (up.allocation.units, up.allocation.credits) == (5, 25)
    still = await client.adjust_allocation(organization, "email-sensor", delta_units=0)
    assert still.balance.revision == up.balance.revision
    await refused(client.adjust_allocation(organization, "email-sensor", delta_units=-6), "UNITS_BELOW_ZERO")

    off = await client.adjust_allocation(organization, "email-sensor", delta_units=-5)
    assert (off.allocation.state, off.allocation.units) == (Allocation.DISABLED, 0)
    await client.update_offering("email-sensor", price=price("7"))
    on = await client.adjust_allocation(organization, "email-sensor", delta_units=1)
    assert (on.allocation.state, on.allocation.credits) == (Allocation.ENABLED, 7)
    assert on.allocation.price_version == 2


async def test_many_allocations_of_one_offering(client: MessageClient, organization: str) -> None:
    await buy(client, organization, 100)
    for key in ("email-sensor~north", "email-sensor~south"):
        await client.enable_allocation(organization, offering="email-sensor", units=1, allocation=key)
    error = await refused(
        client.enable_allocation(organization, offering="endpoint-sensor", units=1, allocation="email-sensor~north"),
        "ALLOCATION_ALREADY_EXISTS",
    )
    assert "endpoint-sensor~email-sensor~north" in error.message
    listed = await everything(client.list_allocations(organization, offering="email-sensor"))
    assert [each.name.rpartition("~")[2] for each in listed] == ["north", "south"]


async def test_in_grace_credits_are_given_back_and_taken_anew_in_one_call(
    client: MessageClient, organization: str, advance: Advance
) -> None:
    await buy(client, organization, 100, lasting=DAY)
    await client.enable_allocation(organization, offering="endpoint-sensor", units=5)
    await advance(2 * DAY)

    await refused(
        client.enable_allocation(organization, offering="email-sensor", units=1),
        "INSUFFICIENT_CREDITS",
    )
    swapped = await client.apply_operations(
        organization, [Disable(allocation="endpoint-sensor"), Enable(offering="email-sensor", units=20)]
    )
    assert figures(swapped.balance) == (0, 100, 100, 0)

    error = await refused(
        client.apply_operations(
            organization,
            [Adjust(allocation="email-sensor", delta_units=-10), Enable(offering="endpoint-sensor", units=3)],
        ),
        "INSUFFICIENT_CREDITS",
    )
    assert (error.metadata["operationIndex"], error.metadata["required"]) == ("1", "10")
    kept = await client.get_allocation(organization, "email-sensor")
    assert (kept.units, kept.credits) == (20, 100)


async def test_each_operation_of_a_partial_call_is_a_call_of_its_own(client: MessageClient, organization: str) -> None:
    await buy(client, organization, 100)
    operations: list[Step] = [
        Enable(offering="email-sensor", units=2, labels={"site": "north"}, request_id="r-0"),
        Enable(offering="network-sensor", units=1, request_id="r-1"),
        Adjust(allocation="email-sensor", delta_units=3, request_id="r-2"),
        Adjust(allocation="endpoint-sensor", delta_units=3, request_id="r-3"),
    ]
    answer = await client.apply_operations(organization, operations, allow_partial=True)
    errors = [EarmarkError.from_status(result.status).reason for result in answer.results]
    assert errors == ["", "INSUFFICIENT_CREDITS", "", "ALLOCATION_NOT_FOUND"]
    assert [result.allocation.units for result in answer.results] == [2, 0, 5, 0]
    assert not answer.results[0].allocation.labels
    assert [result.balance.allocated_credits for result in answer.results] == [10, 0, 25, 0]
    assert figures(answer.balance) == (100, 0, 25, 0)

    again = await client.apply_operations(organization, operations, allow_partial=True)
    assert [result.allocation.units for result in again.results] == [2, 0, 5, 0]
    assert again.balance.revision == answer.balance.revision
    alone = await client.adjust_allocation(organization, "email-sensor", delta_units=3, request_id="r-2")
    assert alone.allocation.units == 5
    await refused(
        client.adjust_allocation(organization, "email-sensor", delta_units=4, request_id="r-2"), "REQUEST_ID_REUSED"
    )


async def test_asking_what_would_happen_changes_nothing(
    client: MessageClient, organization: str, connection: Connection
) -> None:
    await buy(client, organization, 100)
    await client.enable_allocation(organization, offering="email-sensor", units=2)
    before = await kinds(connection, organization)

    enabled = await client.enable_allocation(
        organization, offering="endpoint-sensor", units=3, request_id="r-1", validate_only=True
    )
    assert (enabled.allocation.credits, enabled.balance.allocated_credits) == (60, 70)
    adjusted = await client.adjust_allocation(organization, "email-sensor", delta_units=1, validate_only=True)
    assert adjusted.balance.allocated_credits == 15
    disabled = await client.disable_allocation(organization, "email-sensor", validate_only=True)
    assert disabled.allocation.state == Allocation.DISABLED
    updated = await client.update_allocation(organization, "email-sensor", priority=3, validate_only=True)
    assert updated.allocation.priority == 3
    steps: list[Step] = [Adjust(allocation="email-sensor", delta_units=1), Enable(offering="endpoint-sensor", units=1)]
    for allow_partial in (False, True):
        applied = await client.apply_operations(organization, steps, allow_partial=allow_partial, validate_only=True)
        assert [result.allocation.credits for result in applied.results] == [15, 20]
        assert applied.balance.allocated_credits == 35
    await refused(
        client.enable_allocation(organization, offering="network-sensor", units=1, validate_only=True),
        "INSUFFICIENT_CREDITS",
    )

    assert await kinds(connection, organization) == before
    later = await client.enable_allocation(organization, offering="email-sensor", units=4, request_id="r-1")
    assert later.allocation.units == 4
    would = await client.enable_allocation(
        organization, offering="email-sensor", units=5, request_id="r-1", validate_only=True
    )
    assert would.allocation.units == 5


async def test_what_leaves_first_and_what_comes_back_first(
    client: MessageClient, organization: str, advance: Advance, connection: Connection
) -> None:
    await buy(client, organization, 100, lasting=DAY, grace=DAY)
    await buy(client, organization, 45, lasting=YEAR)
    for key, units, priority in (("old", 5, 0), ("vital", 6, 9), ("young", 5, 0), ("small", 1, -1), ("big", 8, 0)):
        await client.enable_allocation(
            organization, offering="email-sensor", units=units, allocation=key, priority=priority
        )
    await advance(2 * DAY)

    listed = await everything(client.list_allocations(organization))
    assert {earmark.names.id_of(each.name) for each in listed if each.state == Allocation.ENABLED} == {"vital", "small"}
    suspended = await connection.fetch(
        "SELECT resource, causes FROM entry WHERE kind = 'ALLOCATION_SUSPENDED' ORDER BY revision"
    )
    assert [row["resource"] for row in suspended] == ["big", "young", "old"]
    assert figures((await client.get_organization(organization)).balance) == (45, 0, 35, 90)

    bought = await buy(client, organization, 45, since=await now(connection))
    assert consequences(bought.consequences) == (["old", "young"], [], ["big"])
    assert figures(bought.balance) == (90, 0, 85, 40)
    bought = await buy(client, organization, 35, since=await now(connection))
    assert consequences(bought.consequences) == (["big"], [], [])


async def test_a_suspended_allocation_shrinks_but_does_not_grow(
    client: MessageClient, organization: str, advance: Advance
) -> None:
    await buy(client, organization, 100, lasting=DAY, grace=timedelta())
    await client.enable_allocation(organization, offering="email-sensor", units=10)
    await advance(DAY)
    await client.update_organization(organization, overdraft_limit=20)
    waiting = await client.get_allocation(organization, "email-sensor")
    assert (waiting.state, waiting.credits, waiting.suspended_credits) == (Allocation.SUSPENDED, 0, 50)

    await refused(client.adjust_allocation(organization, "email-sensor", delta_units=1), "SUSPENDED")
    shrunk = await client.adjust_allocation(organization, "email-sensor", delta_units=-7)
    assert (shrunk.allocation.state, shrunk.allocation.suspended_credits) == (Allocation.SUSPENDED, 15)
    error = await refused(
        client.enable_allocation(organization, offering="email-sensor", units=5), "INSUFFICIENT_CREDITS"
    )
    assert (error.metadata["required"], error.metadata["shortfall"]) == ("25", "5")
    resumed = await client.enable_allocation(organization, offering="email-sensor", units=4)
    assert (resumed.allocation.state, resumed.allocation.credits) == (Allocation.ENABLED, 20)
    assert figures(resumed.balance) == (0, 0, 20, 0)


async def test_a_scheduled_start_brings_back_what_waits(
    client: MessageClient, organization: str, advance: Advance, connection: Connection
) -> None:
    await buy(client, organization, 50, lasting=DAY, grace=timedelta())
    await client.enable_allocation(organization, offering="email-sensor", units=10)
    start = await now(connection) + 2 * DAY
    await client.create_subscription(organization, credits=60, start_time=start, end_time=start + YEAR)
    await advance(DAY)
    error = await refused(
        client.enable_allocation(organization, offering="email-sensor", units=2, allocation="more"),
        "INSUFFICIENT_CREDITS",
    )
    assert (error.metadata["suspended"], error.metadata["shortfall"]) == ("50", "60")
    assert datetime.fromisoformat(error.metadata["nextStartTime"]) == start

    await advance(DAY)
    back = await client.get_allocation(organization, "email-sensor")
    assert (back.state, back.credits) == (Allocation.ENABLED, 50)
    assert "ALLOCATION_RESUMED" in await kinds(connection, organization)


async def test_priority_and_labels_by_mask(client: MessageClient, organization: str, channel: Channel) -> None:
    await client.update_organization(organization, overdraft_unlimited=True)
    name = (await client.enable_allocation(organization, offering="email-sensor", units=1)).allocation.name
    service = AllocationServiceStub(channel)

    async def update(*paths: str, **fields: object) -> Allocation:
        request = pb.UpdateAllocationRequest(allocation=Allocation(name=name, **fields))  # type: ignore[arg-type]
        request.update_mask.paths.extend(paths)
        answer: pb.UpdateAllocationResponse = await service.UpdateAllocation(request)
        return answer.allocation

    unmasked = await update(priority=7, labels={"a": "1"})
    assert (unmasked.priority, dict(unmasked.labels)) == (7, {"a": "1"})
    masked = await update("priority", labels={"ignored": "x" * 100})
    assert (masked.priority, dict(masked.labels)) == (0, {"a": "1"})
    assert masked.etag != unmasked.etag
    await refused(
        client.update_allocation(organization, "email-sensor", priority=1, etag=unmasked.etag), "ETAG_MISMATCH"
    )
    current = await client.update_allocation(organization, "email-sensor", priority=1, etag=masked.etag)
    assert current.allocation.priority == 1
    cleared = await update("*")
    assert (cleared.priority, dict(cleared.labels)) == (0, {})


async def test_lists_by_label_state_and_offering(client: MessageClient, organization: str) -> None:
    for other in (organization, "o-2"):
        if other != organization:
            await client.create_organization(other)
        await client.update_organization(other, overdraft_limit=1_000)
        await client.apply_operations(
            other,
            [
                Enable(offering="email-sensor", units=1, labels={"site": "north", "team": "a"}),
                Enable(offering="endpoint-sensor", units=1, labels={"site": "north", "team": "b"}),
                Enable(offering="email-sensor", units=1, allocation="unlabelled"),
                Disable(allocation="unlabelled"),
            ],
        )

    async def found(organization: str = "-", **filters: object) -> list[str]:
        listed = client.list_allocations(organization, **filters)  # type: ignore[arg-type]
        return [each.name.removeprefix("organizations/") for each in await everything(listed)]

    assert await found(organization) == [
        f"o-1/allocations/{x}" for x in ("email-sensor", "endpoint-sensor", "unlabelled")
    ]
    assert len(await found()) == 6
    assert await found(labels={"site": "north", "team": "b"}) == [
        "o-1/allocations/endpoint-sensor",
        "o-2/allocations/endpoint-sensor",
    ]
    assert await found(labels={"site": "south"}) == []
    assert await found("o-2", state=Allocation.DISABLED) == ["o-2/allocations/unlabelled"]
    assert await found("o-2", offering="email-sensor", state=Allocation.ENABLED) == ["o-2/allocations/email-sensor"]
    await refused(everything(client.list_allocations("nowhere")), "ORGANIZATION_NOT_FOUND")
