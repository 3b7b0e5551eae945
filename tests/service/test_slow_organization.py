"""An organization that stands still holds up nobody but its own callers, and those no longer than they wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from earmark import EarmarkError
from earmark.messages import MessageClient
from services.allocator import calling
from services.ledger import lane
from services.ledger.store.database import Connection, connect_pool
from services.runtime.settings import Settings
from tests.support.service_stories import buy, kinds, offer, serving, waits_for_the_lock

CONNECTIONS = 4
CALLERS = 5 * CONNECTIONS
SLOW = "slow"
OTHERS = [f"other-{number}" for number in range(CALLERS)]
SENSOR = "sensor"
BEFORE = ["ORGANIZATION_CREATED", "SUBSCRIPTION_CREATED"]
PATIENT_SECONDS = 30.0
HURRIED_SECONDS = 2.0


@pytest.fixture
async def address(database: str, sound: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Of an allocator with few connections, that waits as long as its callers; a quarter of that is for the answer."""
    monkeypatch.setattr(lane, "PATIENCE_SECONDS", PATIENT_SECONDS)
    monkeypatch.setattr(calling, "ANSWER_SECONDS", HURRIED_SECONDS)
    async with (
        await connect_pool(database, name="narrow", size=CONNECTIONS) as pool,
        serving(Settings(listen_address="127.0.0.1:0"), pool) as address,
    ):
        yield address


async def enable(client: MessageClient, organization: str, allocation: str) -> int:
    """The revision at which it was enabled."""
    answer = await client.enable_allocation(organization, offering=SENSOR, units=1, allocation=allocation)
    return answer.balance.revision


async def test_a_locked_organization_holds_up_no_other(address: str, connection: Connection) -> None:
    async with AsyncExitStack() as stack:
        patient = await stack.enter_async_context(MessageClient(address, timeout_seconds=PATIENT_SECONDS))
        hurried = await stack.enter_async_context(MessageClient(address, timeout_seconds=HURRIED_SECONDS))
        await offer(patient, **{SENSOR: "1"})
        for each in (SLOW, *OTHERS):
            await patient.create_organization(each)
            await buy(patient, each, credits=1_000)
        async with connection.transaction():
            await connection.execute("SELECT FROM organization WHERE organization = $1 FOR UPDATE", SLOW)
            waiting = [asyncio.create_task(enable(patient, SLOW, f"patient-{each}")) for each in range(CALLERS)]
            await waits_for_the_lock(connection)
            # A look takes no lock. It came over the same connection after the calls, so all of those are waiting now.
            assert (await patient.get_organization(SLOW)).name == f"organizations/{SLOW}"
            assert await asyncio.gather(*(enable(patient, each, "host") for each in OTHERS)) == [3] * len(OTHERS)

            in_vain = (enable(hurried, SLOW, f"hurried-{each}") for each in range(CALLERS))
            errors = await asyncio.gather(*in_vain, return_exceptions=True)
            assert {isinstance(each, EarmarkError) and (each.code.name, each.reason) for each in errors} == {
                ("UNAVAILABLE", "LOCK_TIMEOUT")
            }
            assert not any(each.done() for each in waiting)
            assert await kinds(connection, SLOW) == BEFORE
        assert sorted(await asyncio.gather(*waiting)) == list(range(3, 3 + CALLERS))
        await enable(patient, SLOW, "hurried-0")
    assert await kinds(connection, SLOW) == BEFORE + ["ALLOCATION_ENABLED"] * (CALLERS + 1)
