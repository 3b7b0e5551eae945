"""A history that is over never changes: not by a call that read the clock before a step ended and commits after."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from services.ledger.ledger import Ledger
from services.ledger.rules.looking import Interval, Step, UsageStep
from services.ledger.store.database import Connection, Pool, connect_pool
from tests.support.books import (
    MICROSECOND,
    SECONDS,
    SENSOR_CREDITS,
    do,
    enable,
    lock_is_wanted,
    make_customer,
    offer_sensors,
)
from tests.support.frozen_clock import FrozenClock
from tests.support.proxy import Fate, relayed

HOUR: Final = timedelta(hours=1)
MIDNIGHT: Final = datetime(2030, 1, 1, tzinfo=UTC)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
async def clock(ledger: Ledger, connection: Connection) -> FrozenClock:
    """At midnight, when `acme` buys credits and enables one sensor."""
    clock = FrozenClock(connection)
    await clock.freeze()
    await at(clock, MIDNIGHT)
    await offer_sensors(connection)
    await make_customer(ledger, connection)
    await do(ledger, "acme", enable(units=1))
    return clock


async def at(clock: FrozenClock, instant: datetime) -> None:
    await clock.set((instant - EPOCH) // MICROSECOND)


async def hours(ledger: Ledger, number: int) -> list[UsageStep]:
    steps, _ = await ledger.history("acme", Interval(MIDNIGHT, MIDNIGHT + number * HOUR, Step.HOUR), SECONDS)
    return steps


async def test_a_history_waits_for_a_call_that_read_the_clock_before_a_step_ended(
    ledger: Ledger, clock: FrozenClock, connection: Connection, database: str
) -> None:
    async with relayed(database) as proxy:
        slow_pool = await connect_pool(proxy.url, name="slow", size=1)
        slow = Ledger(slow_pool)
        await at(clock, MIDNIGHT + HOUR - MICROSECOND)
        trap = proxy.at("COMMIT", Fate.HOLD_BEFORE)
        call = asyncio.create_task(do(slow, "acme", enable(units=9)))
        await asyncio.wait_for(trap.sprung.wait(), 10)

        await at(clock, MIDNIGHT + HOUR)
        asked = asyncio.create_task(hours(ledger, 2))
        await lock_is_wanted(connection)
        assert not asked.done()
        trap.release()
        await call
        shown = await asked
        assert [(each.allocated, each.in_progress) for each in shown] == [
            (9 * SENSOR_CREDITS, False),
            (9 * SENSOR_CREDITS, True),
        ]
        assert await hours(ledger, 2) == shown
        await slow.drained()
        await slow_pool.close()


async def test_it_waits_for_nobody_where_something_was_written_since_the_last_step_ended(
    ledger: Ledger, clock: FrozenClock, database: str
) -> None:
    """Whoever has the row now reads a later clock, or read it after what is there was committed."""
    await at(clock, MIDNIGHT + HOUR)
    await do(ledger, "acme", enable(units=2))
    async with relayed(database) as proxy:
        slow_pool = await connect_pool(proxy.url, name="slow", size=1)
        slow = Ledger(slow_pool)
        trap = proxy.at("COMMIT", Fate.HOLD_BEFORE)
        call = asyncio.create_task(do(slow, "acme", enable(units=9)))
        await asyncio.wait_for(trap.sprung.wait(), 10)
        shown = await asyncio.wait_for(hours(ledger, 1), 5)
        assert [(each.allocated, each.in_progress) for each in shown] == [(SENSOR_CREDITS, False)]
        trap.release()
        await call
        assert await hours(ledger, 1) == shown
        await slow.drained()
        await slow_pool.close()


async def test_nothing_that_was_over_ever_changes(
    ledger: Ledger, clock: FrozenClock, connection: Connection, pool: Pool
) -> None:
    """Four callers in two processes, while the hours fly by and a history is asked again and again."""
    ledgers = (ledger, Ledger(pool))
    over: dict[datetime, UsageStep] = {}
    done = asyncio.Event()

    async def call(number: int) -> None:
        units = number
        while not done.is_set():
            units += 5
            await do(ledgers[number % 2], "acme", enable(units=units))

    async def look() -> None:
        while not done.is_set():
            for each in await hours(ledger, 60):
                if not each.in_progress:
                    assert over.setdefault(each.start, each) == each

    async with asyncio.TaskGroup() as group:
        for number in range(1, 5):
            group.create_task(call(number))
        for _ in range(3):
            group.create_task(look())
        for move in range(1, 121):
            await at(clock, MIDNIGHT + move * timedelta(minutes=20))
            await do(ledger, "acme", enable(units=5 * move))
        done.set()
    for each in await hours(ledger, 60):
        assert over.setdefault(each.start, each) == each
    assert len({each.allocated for each in over.values()}) > 15
    await ledgers[1].drained()
