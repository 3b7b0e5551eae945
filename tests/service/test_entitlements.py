"""CheckEntitlement and CheckEntitlements: whether something may be used now, and until when."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from earmark.messages import MessageClient
from earmark.v1.allocation_service_pb2 import Entitlement
from services.allocator.server import AllocatorServer
from services.ledger.rules.limits import ANSWER_BYTES_MAX
from services.ledger.store.database import Connection
from tests.conftest import Advance
from tests.support.reflected import ReflectedClient, Refusal, refusal_of
from tests.support.service_stories import DAY, buy, now, offer

ACME: Final = "organizations/acme"
SENSOR, FREE, NEVER = ("offerings/sensor", "offerings/free", "offerings/never")
ENTITLED, IN_GRACE, SUSPENDED, NOT_ENABLED = ("ENTITLED", "IN_GRACE", "SUSPENDED", "NOT_ENABLED")


@pytest.fixture
async def reflected(allocator: AllocatorServer) -> AsyncIterator[ReflectedClient]:
    async with ReflectedClient(allocator.address) as client:
        yield client


@pytest.fixture
async def acme(client: MessageClient) -> None:
    """Ten days of 100 credits with ten days of grace. `low`, `high` and `free` are enabled, `off` was disabled."""
    await offer(client, sensor="1", free="0", never="1")
    for organization in ("acme", "witness"):
        await client.create_organization(organization)
        await buy(client, organization, 100, subscription="first", lasting=10 * DAY, grace=10 * DAY)
    await client.enable_allocation("acme", offering="sensor", units=30, allocation="low")
    await client.enable_allocation("acme", offering="sensor", units=50, allocation="high", priority=1)
    await client.enable_allocation("acme", offering="free", units=7)
    await client.enable_allocation("acme", offering="sensor", units=1, allocation="off")
    await client.disable_allocation("acme", "off")
    await client.enable_allocation("witness", offering="sensor", units=99, allocation="theirs")


async def check(client: ReflectedClient, **target: str) -> tuple[str, int, datetime | None]:
    """(state, units, covered until)"""
    found = await client.call("CheckEntitlement", parent=ACME, **target)
    until = found.covered_until.ToDatetime(tzinfo=UTC) if found.HasField("covered_until") else None
    return Entitlement.State.Name(found.state), found.units, until


async def of_allocation(client: ReflectedClient, allocation: str) -> tuple[str, int, datetime | None]:
    return await check(client, allocation=f"{ACME}/allocations/{allocation}")


@pytest.mark.usefixtures("acme")
async def test_from_a_purchase_to_its_end(
    client: MessageClient, reflected: ReflectedClient, advance: Advance, connection: Connection
) -> None:
    end: datetime = await connection.fetchval("SELECT end_time FROM subscription WHERE organization = 'acme'")
    grace_end = end + 10 * DAY
    assert await check(reflected, offering=SENSOR) == (ENTITLED, 80, grace_end)
    assert await of_allocation(reflected, "low") == (ENTITLED, 30, grace_end)
    assert await check(reflected, offering=FREE) == (ENTITLED, 7, None), "it holds no credits"
    for nothing in ({"offering": NEVER}, {"allocation": f"{ACME}/allocations/never"}):
        assert await check(reflected, **nothing) == (NOT_ENABLED, 0, None)
    assert await of_allocation(reflected, "off") == (NOT_ENABLED, 0, None)
    assert await of_allocation(reflected, "theirs") == (NOT_ENABLED, 0, None), "ids are an organization's own"

    await advance(11 * DAY)
    assert await check(reflected, offering=SENSOR) == (IN_GRACE, 80, grace_end)
    assert await of_allocation(reflected, "high") == (IN_GRACE, 50, grace_end)
    assert await check(reflected, offering=FREE) == (ENTITLED, 7, None)

    await advance(10 * DAY)
    assert await check(reflected, offering=SENSOR) == (SUSPENDED, 80, None)
    await buy(client, "acme", 60, subscription="second", lasting=30 * DAY, grace=DAY, since=await now(connection))
    second: datetime = await connection.fetchval("SELECT end_time FROM subscription WHERE subscription = 'second'")
    # What is suspended waits for credits too: the purchase carries the one, and its end would leave both.
    assert await of_allocation(reflected, "high") == (ENTITLED, 50, second + DAY)
    assert await of_allocation(reflected, "low") == (SUSPENDED, 30, None)
    assert await check(reflected, offering=SENSOR) == (ENTITLED, 50, second + DAY), (
        "the best state, and the units in it"
    )


@pytest.mark.usefixtures("acme")
async def test_what_is_renewed_is_covered_for_longer(
    client: MessageClient, reflected: ReflectedClient, connection: Connection
) -> None:
    await buy(client, "acme", 80, renews="first", lasting=50 * DAY, grace=DAY)
    end: datetime = await connection.fetchval("SELECT end_time FROM subscription WHERE renews = 'first'")
    assert await check(reflected, offering=SENSOR) == (ENTITLED, 80, end + DAY)
    await client.update_organization("acme", overdraft_unlimited=True)
    assert await check(reflected, offering=SENSOR) == (ENTITLED, 80, None)


@pytest.mark.usefixtures("acme")
async def test_a_thousand_targets_each_with_its_own_status(reflected: ReflectedClient) -> None:
    good: list[dict[str, str]] = [{"offering": SENSOR}, {"allocation": f"{ACME}/allocations/low"}]
    bad: dict[str, dict[str, str]] = {
        "OFFERING_NOT_FOUND": {"offering": "offerings/" + "x" * 128},
        "INVALID_FIELD": {"allocation": "organizations/witness/allocations/theirs"},
    }
    targets = [good[0], bad["OFFERING_NOT_FOUND"], good[1], bad["INVALID_FIELD"], {}] * 200
    answer = await reflected.call("CheckEntitlements", parent=ACME, targets=targets)
    assert answer.ByteSize() <= ANSWER_BYTES_MAX
    reasons = [refusal_of(each.status).reason for each in answer.results]
    assert reasons == ["", "OFFERING_NOT_FOUND", "", "INVALID_FIELD", "INVALID_FIELD"] * 200
    shown = [(each.HasField("status"), each.HasField("entitlement")) for each in answer.results[:5]]
    assert shown == [(True, True), (True, False), (True, True), (True, False), (True, False)]
    assert [each.entitlement.units for each in answer.results[:5]] == [80, 0, 30, 0, 0]
    assert len({each.entitlement.as_of.ToNanoseconds() for each in answer.results[::5]}) == 1, "of one instant"
    fields = [refusal_of(each.status).fields for each in answer.results[3:5]]
    assert fields == [("allocation",), ("target",)]

    worst = [{"allocation": "\n" * 1_000}] * 1_000
    answer = await reflected.call("CheckEntitlements", parent=ACME, targets=worst)
    assert answer.ByteSize() <= ANSWER_BYTES_MAX
    assert all(0 < each.status.ByteSize() <= 2_048 for each in answer.results)


@pytest.mark.usefixtures("acme")
async def test_what_cannot_be_checked(reflected: ReflectedClient) -> None:
    async def refused(method: str, **fields: Any) -> Refusal:
        with pytest.raises(Refusal) as found:
            await reflected.call(method, **{"parent": ACME, **fields})
        return found.value

    one, many = "CheckEntitlement", "CheckEntitlements"
    for fields, bad in (
        ({}, ["target"]),
        ({"offering": "sensor"}, ["offering"]),
        ({"allocation": "low"}, ["allocation"]),
        ({"allocation": "organizations/witness/allocations/theirs"}, ["allocation"]),
        ({"parent": "acme"}, ["parent", "target"]),
        ({"parent": "organizations/-", "offering": SENSOR}, ["parent"]),
    ):
        error = await refused(one, **fields)
        assert (error.reason, list(error.fields)) == ("INVALID_FIELD", bad), fields
    for targets in ([], [{"offering": SENSOR}] * 1_001):
        assert (await refused(many, targets=targets)).fields == ("targets",)
    nobody = {"parent": "organizations/nobody"}
    assert (await refused(one, **nobody, offering=SENSOR)).reason == "ORGANIZATION_NOT_FOUND"
    theirs = {"allocation": "organizations/nobody/allocations/low"}
    assert (await refused(one, **nobody, **theirs)).reason == "ORGANIZATION_NOT_FOUND"
    assert (await refused(many, **nobody, targets=[{"offering": SENSOR}])).reason == "ORGANIZATION_NOT_FOUND"
    error = await refused(one, offering="offerings/nothing")
    assert (error.code, error.reason) == ("NOT_FOUND", "OFFERING_NOT_FOUND")
