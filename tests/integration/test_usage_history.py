"""A history that is over never changes: not by a call that read the clock before a step ended and commits after."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from services.ledger import together
from services.ledger.lane import TOGETHER_OPERATIONS_MAX
from services.ledger.ledger import Ledger
from services.ledger.rules.commands import ApplyOperations
from services.ledger.rules.looking import Interval, Step, UsageStep
from services.ledger.store.database import Connection, Pool, connect_pool
from services.ledger.store.statements import Guarded, Shape, write_rows_if
from services.ledger.together import DECIDED_WITHIN
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
LARGE_CALL: Final = ApplyOperations((enable(units=9),) * (TOGETHER_OPERATIONS_MAX + 1))
"""It is carried out alone: under the lock from the first, and with a COMMIT."""


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
        call = asyncio.create_task(do(slow, "acme", LARGE_CALL))
        await asyncio.wait_for(trap.sprung.wait(), 10)

        await at(clock, MIDNIGHT + HOUR + DECIDED_WITHIN)
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
        call = asyncio.create_task(do(slow, "acme", LARGE_CALL))
        await asyncio.wait_for(trap.sprung.wait(), 10)
        shown = await asyncio.wait_for(hours(ledger, 1), 5)
        assert [(each.allocated, each.in_progress) for each in shown] == [(SENSOR_CREDITS, False)]
        trap.release()
        await call
        assert await hours(ledger, 1) == shown
        await slow.drained()
        await slow_pool.close()


class LateWrite:
    """The next call that is decided without a lock waits, neither written nor locked, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(together, "write_rows_if", self._write)
        self.decided = asyncio.Event()
        self.let_go = asyncio.Event()
        self.looks = asyncio.Semaphore(0)
        """How often whoever asks for the history has looked whether somebody has the row."""

    async def _write(
        self, connection: Connection, shape: Shape, guarded: Sequence[Guarded], until: datetime
    ) -> frozenset[str]:
        if shape and not self.decided.is_set():
            self.decided.set()
            await self.let_go.wait()
        done = await write_rows_if(connection, shape, guarded, until)
        if not shape:
            self.looks.release()
        return done


@pytest.fixture
async def late(ledger: Ledger, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LateWrite]:
    """At the last instant of the first hour; `acme` has one sensor."""
    await at(clock, MIDNIGHT + HOUR - MICROSECOND)
    late = LateWrite(monkeypatch)
    yield late
    late.let_go.set()


async def test_a_history_waits_until_nothing_decided_before_a_step_ended_can_be_written(
    ledger: Ledger, clock: FrozenClock, pool: Pool, late: LateWrite
) -> None:
    """Such a call has locked nothing yet, so there is nobody to be waited for: only time helps."""
    other = Ledger(pool)
    call = asyncio.create_task(do(other, "acme", enable(units=9)))
    await asyncio.wait_for(late.decided.wait(), 10)
    await at(clock, MIDNIGHT + HOUR + DECIDED_WITHIN / 2)
    asked = asyncio.create_task(hours(ledger, 1))
    for _ in range(2):
        look = asyncio.create_task(late.looks.acquire())
        await asyncio.wait([asked, look], timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert not asked.done()
        assert look.done()

    await at(clock, MIDNIGHT + HOUR + DECIDED_WITHIN - MICROSECOND)  # The last instant at which it may be written.
    late.let_go.set()
    await call
    await at(clock, MIDNIGHT + HOUR + 2 * DECIDED_WITHIN)
    shown = await asked
    assert [(each.allocated, each.in_progress) for each in shown] == [(9 * SENSOR_CREDITS, False)]
    assert await hours(ledger, 1) == shown
    await other.drained()


async def test_what_was_decided_before_a_step_ended_is_not_written_once_the_step_was_shown(
    ledger: Ledger, clock: FrozenClock, pool: Pool, late: LateWrite
) -> None:
    """It is decided again, later than the step."""
    other = Ledger(pool)
    call = asyncio.create_task(do(other, "acme", enable(units=9)))
    await asyncio.wait_for(late.decided.wait(), 10)
    await at(clock, MIDNIGHT + HOUR + DECIDED_WITHIN)
    shown = await asyncio.wait_for(hours(ledger, 2), 5)
    assert [(each.allocated, each.in_progress) for each in shown] == [(SENSOR_CREDITS, False), (SENSOR_CREDITS, True)]

    late.let_go.set()
    answer = await call
    assert answer.balance.as_of == MIDNIGHT + HOUR + DECIDED_WITHIN
    over, in_progress = await hours(ledger, 2)
    assert over == shown[0]
    assert in_progress.allocated == 9 * SENSOR_CREDITS
    await other.drained()


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
