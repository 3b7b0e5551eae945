"""The sums of usage are what everything comes to, summed up anew: after random lives, and after batches."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

import asyncpg
import pytest

from services.allocator.server import AllocatorServer
from services.ledger.ledger import Ledger
from services.ledger.opening import sum_up_usage
from services.ledger.rules.commands import DisableAllocation
from services.ledger.store.database import Connection
from tests.conftest import Advance
from tests.model.lives import life
from tests.support.books import DAY, adjust, do, enable, make_customer, offer_sensors, together
from tests.support.frozen_clock import FrozenClock
from tests.support.reflected import ReflectedClient
from tests.support.wired_life import WiredLife

LIVES: Final = range(300, 308)
STEPS: Final = 40


@pytest.fixture
async def reflected(allocator: AllocatorServer) -> AsyncIterator[ReflectedClient]:
    async with ReflectedClient(allocator.address) as client:
        yield client


async def test_after_random_lives(reflected: ReflectedClient, connection: Connection) -> None:
    clock = FrozenClock(connection)
    await clock.freeze()
    for seed in LIVES:
        lived = WiredLife(reflected, clock, connection, seed)
        await lived.begin()
        for number, step in enumerate(life(seed, STEPS)):
            await lived.take(step, number)
    await check_sums(connection, [f"life-{seed}" for seed in LIVES])


async def test_after_batches_over_many_hours(ledger: Ledger, connection: Connection, advance: Advance) -> None:
    """Many calls in one transaction, some refused, and then time, which suspends everything."""
    await offer_sensors(connection)
    await make_customer(ledger, connection, credits=20_000, days=2, grace=DAY)
    for _ in range(30):
        calls = [do(ledger, "acme", enable(f"s-{number}", units=number)) for number in range(1, 60)]
        calls += [do(ledger, "acme", adjust(+1, f"s-{number}"), f"r-{number}") for number in range(1, 20)]
        calls += [do(ledger, "acme", DisableAllocation(f"s-{number}")) for number in range(1, 30, 7)]
        await together(calls)
        await advance(timedelta(minutes=40))
    await check_sums(connection, ["acme"])
    await advance(5 * DAY)
    await ledger.settle("acme", 20)
    rows = await check_sums(connection, ["acme"])
    assert [row["enabled_allocations"] for row in rows if "offering" in row] == [0]
    assert sum("hour" in row for row in rows) > 20


async def check_sums(connection: Connection, organizations: list[str]) -> list[asyncpg.Record]:
    """Those that are kept, which making them anew does not change."""
    kept = await _sums(connection, organizations)
    async with connection.transaction():
        await connection.execute("DELETE FROM usage_hour WHERE organization = ANY ($1)", organizations)
        await connection.execute("UPDATE organization SET usage_revision = 0")
        for each in organizations:
            await sum_up_usage(connection, each)
    assert await _sums(connection, organizations) == kept
    assert {row["organization"] for row in kept} == set(organizations)
    return kept


async def _sums(connection: Connection, organizations: list[str]) -> list[asyncpg.Record]:
    """What says nothing is as good as absent."""
    offerings = await connection.fetch(
        """
        SELECT organization, offering, enabled_allocations, enabled_units, enabled_credits, free_units,
               suspended_allocations, suspended_units, suspended_credits
        FROM offering_usage WHERE organization = ANY ($1) ORDER BY organization, offering
        """,
        organizations,
    )
    hours = await connection.fetch(
        """
        SELECT organization, hour, valid_credits, allocated_credits, peak_allocated_credits, begins_at_start,
               first_revision, last_revision
        FROM usage_hour WHERE organization = ANY ($1) ORDER BY organization, hour
        """,
        organizations,
    )
    return [*offerings, *hours]
