"""The clock that can be moved: forwards, for everybody, and only where that was decided at the beginning."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from services.admin import embedded
from services.ledger.store.clock import ClockNotMovable, advance_clock, announce_clock, read_clock
from services.ledger.store.database import Connection, Pool
from services.ledger.store.migrate import migrate
from services.ledger.store.reads import read_now
from tests.support.books import DAY


@pytest.fixture
async def unmovable(postgres: embedded.Server) -> AsyncIterator[Connection]:
    """A database as customers have it."""
    server = await asyncpg.connect(postgres.url)
    await server.execute("CREATE DATABASE unmovable")
    connection = await asyncpg.connect(postgres.url.rpartition("/")[0] + "/unmovable")
    await migrate(connection)
    yield connection
    await connection.close()
    await server.execute("DROP DATABASE unmovable")
    await server.close()


async def _lead(connection: Connection) -> timedelta:
    """How far the clock is ahead of the server's own."""
    lead: timedelta = await connection.fetchval("SELECT earmark_now() - clock_timestamp()")
    return lead


def _about(lead: timedelta, expected: timedelta) -> bool:
    """The two clocks are read one after the other."""
    return abs(lead - expected) < timedelta(seconds=5)


async def test_a_clock_that_is_not_movable_is_the_servers_own(unmovable: Connection) -> None:
    clock = await read_clock(unmovable)
    assert (clock.movable, clock.ahead) == (False, timedelta())
    assert _about(await _lead(unmovable), timedelta())
    with pytest.raises(ClockNotMovable, match="not created as movable"):
        await advance_clock(unmovable, DAY)
    with pytest.raises(ClockNotMovable):
        await advance_clock(unmovable, timedelta())
    for attempt in ATTEMPTS:
        with pytest.raises(asyncpg.PostgresError):
            await unmovable.execute(attempt)
    with pytest.raises(asyncpg.CheckViolationError):
        await unmovable.execute("UPDATE clock SET ahead = interval '1 day'")
    assert (await read_clock(unmovable)).ahead == timedelta()
    assert _about(await _lead(unmovable), timedelta())


ATTEMPTS = (
    "UPDATE clock SET movable = NOT movable",
    "UPDATE clock SET ahead = ahead - interval '1 microsecond'",
    "UPDATE clock SET ahead = interval '-1 day'",
    "DELETE FROM clock",
    "TRUNCATE clock",
    "INSERT INTO clock (one, movable) VALUES (false, true)",
    "INSERT INTO clock (movable) VALUES (true) ON CONFLICT (one) DO UPDATE SET ahead = interval '0'",
)


async def test_a_movable_clock_goes_forwards_only(connection: Connection) -> None:
    await advance_clock(connection, 30 * DAY)
    clock = await advance_clock(connection, timedelta(hours=1, microseconds=1))
    assert clock.ahead == 30 * DAY + timedelta(hours=1, microseconds=1)
    with pytest.raises(ValueError, match="forwards only"):
        await advance_clock(connection, -timedelta(microseconds=1))
    for attempt in ATTEMPTS:
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute(attempt)
    assert (await read_clock(connection)).ahead == clock.ahead
    assert _about(await _lead(connection), clock.ahead)


async def test_a_month_by_raw_sql_moves_no_clock_backwards(connection: Connection) -> None:
    """A month counts as 30 days when intervals are compared, and as 28 when added to the first of February."""
    await advance_clock(connection, 31 * DAY)
    for attempt in ("interval '1 month 1 day'", "interval '1 month 1 day 1 hour'", "interval '12 months'"):
        before = await _lead(connection)
        await connection.execute(f"UPDATE clock SET ahead = {attempt}")
        lead = await _lead(connection)
        assert lead >= before - timedelta(seconds=1)
        assert _about(lead, (await read_clock(connection)).ahead)


async def test_it_is_the_same_time_for_every_process(connection: Connection, pool: Pool, database: str) -> None:
    """Whatever time zone its session has; a day in it may have 23 or 25 hours."""
    sessions = [
        await asyncpg.connect(database, server_settings={"timezone": zone})
        for zone in ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia")
    ]
    for days in (1, 90, 90, 90, 90):
        clock = await advance_clock(connection, days * DAY)
        for session in sessions:
            assert _about(await _lead(session), clock.ahead)
        async with pool.acquire() as pooled:
            assert _about(await read_now(pooled) - clock.now, timedelta())
    for session in sessions:
        await session.close()


async def test_a_movable_clock_is_announced_loudly(
    connection: Connection, unmovable: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await announce_clock(unmovable)
    assert caplog.records == []
    await advance_clock(connection, 3 * DAY)
    await announce_clock(connection)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "CLOCK OF THIS DATABASE CAN BE MOVED" in record.message
    assert "3 days, 0:00:00 ahead" in record.message


async def test_it_stays_within_its_years(connection: Connection) -> None:
    """Beyond them no instant could be shown any more, and there would be no way back."""
    for far in (timedelta(days=200 * 366), timedelta(days=999_999_999)):
        with pytest.raises(ValueError, match="too far"):
            await advance_clock(connection, far)
    with pytest.raises(asyncpg.RaiseError, match="2000 to 2200"):
        await connection.execute("UPDATE clock SET ahead = interval '8000 years'")
    assert (await read_clock(connection)).ahead == timedelta()
