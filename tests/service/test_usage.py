"""GetUsage: what an organization has and what holds it, at one revision; and how large that may be."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from earmark.messages import MessageClient
from services.allocator.server import AllocatorServer
from services.ledger.rules.limits import ANSWER_BYTES_MAX, LIVE_SUBSCRIPTIONS_MAX, OFFERINGS_MAX
from services.ledger.store.database import Connection, Pool
from services.runtime.settings import Settings
from tests.conftest import Advance
from tests.support.frozen_clock import FrozenClock
from tests.support.reflected import ReflectedClient, Refusal
from tests.support.service_stories import DAY, buy, now, offer, serving

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
async def reflected(allocator: AllocatorServer) -> AsyncIterator[ReflectedClient]:
    async with ReflectedClient(allocator.address) as client:
        yield client


async def test_nothing_yet(client: MessageClient, reflected: ReflectedClient) -> None:
    await client.create_organization("o-1")
    usage = await reflected.call("GetUsage", name="organizations/o-1")
    assert usage.balance.revision == 1
    assert [(each.within_days, each.credits) for each in usage.ending] == [(30, 0), (60, 0), (90, 0)]
    assert (list(usage.offerings), list(usage.subscriptions)) == ([], [])


async def test_what_is_enabled_and_what_is_suspended(
    client: MessageClient, reflected: ReflectedClient, connection: Connection, advance: Advance
) -> None:
    await offer(client, alpha="2", beta="1", free="0", gone="1")
    await client.create_organization("o-1")
    await buy(client, "o-1", 100, subscription="old", lasting=10 * DAY, grace=timedelta())
    for allocation, offering, units in (("a-1", "alpha", 5), ("a-2", "alpha", 10), ("b", "beta", 4), ("f", "free", 9)):
        await client.enable_allocation("o-1", offering=offering, units=units, allocation=allocation)
    await client.enable_allocation("o-1", offering="gone", units=1)
    await client.disable_allocation("o-1", "gone")
    await advance(11 * DAY)
    await buy(client, "o-1", 15, subscription="new", lasting=20 * DAY, since=await now(connection))
    usage = await reflected.call("GetUsage", name="organizations/o-1")
    told = {
        each.offering.rpartition("/")[2]: (
            (each.enabled_allocations, each.enabled_units, each.enabled_credits),
            (each.suspended_allocations, each.suspended_units, each.suspended_credits),
        )
        for each in usage.offerings
    }
    assert told == {"alpha": ((1, 5, 10), (1, 10, 20)), "beta": ((1, 4, 4), (0, 0, 0)), "free": ((1, 9, 0), (0, 0, 0))}
    assert usage.balance.allocated_credits == sum(enabled[2] for enabled, _ in told.values())
    assert usage.balance.suspended_credits == sum(suspended[2] for _, suspended in told.values())
    assert [each.name.rpartition("/")[2] for each in usage.subscriptions] == ["new"]


async def test_credits_that_end_soon_to_the_microsecond(
    client: MessageClient, reflected: ReflectedClient, connection: Connection
) -> None:
    clock = FrozenClock(connection)
    await clock.freeze()
    begin = datetime(2030, 1, 1, tzinfo=UTC)
    await clock.set(int(begin.timestamp()) * 1_000_000)
    await client.create_organization("o-1")
    for number, (credits, end) in enumerate(
        (
            (1, 30 * DAY),
            (10, 30 * DAY + MICROSECOND),
            (100, 60 * DAY),
            (1_000, 90 * DAY),
            (10_000, 90 * DAY + MICROSECOND),
        )
    ):
        await buy(client, "o-1", credits, subscription=f"s-{number}", lasting=end, since=begin)
    await buy(client, "o-1", 5, renews="s-2", subscription="later", lasting=900 * DAY, since=begin)
    usage = await reflected.call("GetUsage", name="organizations/o-1")
    told = [(each.within_days, each.credits, each.renewed_credits) for each in usage.ending]
    assert told == [(30, 1, 0), (60, 111, 100), (90, 1_111, 100)]
    renewals = {each.name.rpartition("/")[2]: each.renewal for each in usage.subscriptions if each.renewal}
    assert renewals == {"s-2": "organizations/o-1/subscriptions/later"}


async def test_what_cannot_be_seen(reflected: ReflectedClient) -> None:
    for name, reason in (("", "INVALID_FIELD"), ("organizations/-", "INVALID_FIELD"), ("o-1", "INVALID_FIELD")):
        with pytest.raises(Refusal) as refused:
            await reflected.call("GetUsage", name=name)
        assert (refused.value.reason, refused.value.fields) == (reason, ("name",))
    with pytest.raises(Refusal) as refused:
        await reflected.call("GetUsage", name="organizations/nobody")
    assert refused.value.reason == "ORGANIZATION_NOT_FOUND"


async def test_the_largest_answers_fit(database: str, pool: Pool, connection: Connection) -> None:
    """Every offering in use and as many subscriptions as there may be, all with the longest names and numbers."""
    await _make_largest(connection)
    settings = Settings(database_url=database, listen_address="127.0.0.1:0")
    async with serving(settings, pool) as address, ReflectedClient(address) as reflected:
        name = "organizations/" + "o" * 128
        usage = await reflected.call("GetUsage", name=name)
        assert (len(usage.offerings), len(usage.subscriptions)) == (OFFERINGS_MAX, LIVE_SUBSCRIPTIONS_MAX)
        assert all(each.renewal for each in usage.subscriptions)
        snapshot = await reflected.call("WatchUsage", name=name)
        assert len(snapshot.snapshot.offerings) == OFFERINGS_MAX
        forecast = await reflected.call("ForecastUsage", name=name, until={"seconds": 7_289_654_399})
        assert len(forecast.points) == 3 * LIVE_SUBSCRIPTIONS_MAX
        for answer in (usage, snapshot, forecast):
            assert 100_000 < answer.ByteSize() <= ANSWER_BYTES_MAX


async def _make_largest(connection: Connection) -> None:
    organization: Any = ("o" * 128,)
    await connection.execute(
        """
        INSERT INTO organization
            (organization, display_name, valid_credits, grace_credits, allocated_credits, suspended_credits,
             overdraft_limit, overdraft_unlimited, revision, digest, settled_time, next_transition_time,
             threshold_percent, open_allocations, changed_revision, create_time, update_time, usage_revision)
        VALUES ($1, '', 0, 0, 2251799813685248, 0, 0, true, 1, sha256(''), '2026-01-01Z', '2190-01-01Z', 0, 1000000, 1,
                '2026-01-01Z', '2026-01-01Z', 1)
        """,
        *organization,
    )
    await connection.execute(
        """
        INSERT INTO offering_usage
            (organization, offering, enabled_allocations, enabled_units, enabled_credits, free_units,
             suspended_allocations, suspended_units, suspended_credits)
        SELECT $1, lpad(n::text, 128, '0'), 999999, 999999999999999999, 4503599627370496, 0, 999999,
               999999999999999999, 4503599627370496
        FROM generate_series(1, 10000) AS n
        """,
        *organization,
    )
    await connection.execute(
        """
        INSERT INTO subscription
            (organization, subscription, state, credits, start_time, end_time, grace_period, renews, order_reference,
             labels, changed_revision, create_time, update_time, cancel_time)
        SELECT $1, lpad(n::text, 128, '0'), 'SCHEDULED', 1000000000000,
               '2190-01-01 00:00:00.999999Z'::timestamptz + n * interval '11 minutes 1 microsecond',
               '2195-01-01 00:00:00.999999Z'::timestamptz + n * interval '11 minutes 1 microsecond',
               '359 days 1 second',
               lpad((n % 1000 + 1)::text, 128, '0'), '', '{}', 1, '2026-01-01Z', '2026-01-01Z', NULL
        FROM generate_series(1, 1000) AS n
        """,
        *organization,
    )
