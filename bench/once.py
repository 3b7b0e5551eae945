"""The rows that are measured once: what is left behind, what is removed, what time does, how much memory it takes."""

import asyncio
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Final

from bench.bench import Bench, Row
from bench.capacity import IN_FLIGHT
from bench.crew import BenchError
from bench.ending import create_ending_organizations
from bench.figures import percentile
from bench.load import OK
from bench.prepare import HOT, settle_down
from services.ledger.store.clock import advance_clock, read_clock
from services.ledger.store.database import Connection

EXPIRY_CONNECTIONS: Final = 2
TRICKLE: Final = "trickle-"
TRICKLE_PER_SECOND: Final = 100
TRICKLE_SECONDS: Final = 5.0
FLOOD: Final = "flood-"
FLOOD_ORGANIZATIONS: Final = 20_000
FLOOD_SUBSCRIPTIONS_EACH: Final = 5
FLOOD_SECONDS_MAX: Final = 40.0
"""Then what was settled until then is what counts."""
AHEAD: Final = timedelta(hours=1)
OLD_REQUESTS: Final = 100_000
REMOVING_SECONDS_MAX: Final = 60.0
POLL_SECONDS: Final = 0.1
BEYOND_EVERY_ID: Final = "\x7f"


async def left_behind(bench: Bench) -> Mapping[str, float]:
    """By how much the tables grew, divided by the calls that were made: indexes, dead rows and room left free too."""
    connection = bench.stage.connection
    before, wal_before = await _sizes(connection), await _wal_position(connection)
    answers = await bench.run(bench.job("enable", HOT, in_flight=bench.scaled(IN_FLIGHT)))
    after, wal_after = await _sizes(connection), await _wal_position(connection)
    calls = answers.codes[OK]
    grown = {
        table: {"rows": round((rows - before[table][0]) / calls, 3), "bytes": round((size - before[table][1]) / calls)}
        for table, (rows, size) in after.items()
        if (rows, size) != before[table]
    }
    bench.figures.details["bytes_per_call"] |= {
        "calls": calls,
        "tables": grown,
        "wal_bytes": round((wal_after - wal_before) / calls),
    }
    return {"bytes_per_call": sum(each["bytes"] for each in grown.values())}


async def requests_removed(bench: Bench) -> Mapping[str, float]:
    """Copies of a real one that are past their time, removed by a real worker beside its other work."""
    connection, count = bench.stage.connection, bench.scaled(OLD_REQUESTS)
    await bench.run(replace(bench.job("enable", HOT, in_flight=1), warm_up_seconds=0.0))
    with bench.stage.expiry_worker(EXPIRY_CONNECTIONS):
        past = (await read_clock(connection)).now - timedelta(days=30)
        await _insert_old_requests(connection, count, past)
        begun = monotonic()
        while left := await connection.fetchval("SELECT count(*) FROM request WHERE recorded_time <= $1", past):
            if monotonic() - begun > REMOVING_SECONDS_MAX:
                break
            await asyncio.sleep(POLL_SECONDS)
        return {"requests_removed_per_s": (count - left) / (monotonic() - begun)}


async def expiry(bench: Bench) -> Mapping[str, float]:
    """First a trickle, then very many at one instant, before the same worker."""
    with bench.stage.expiry_worker(EXPIRY_CONNECTIONS) as worker:
        lag = await _trickle(bench)
        per_second = await _flood(bench)
        bench.figures.details["rss_mb"]["expiry"] = round(resident_mb(worker.pid), 1)
    return {"expire_per_s": per_second, "expire_lag_p99_ms": lag}


async def memory(bench: Bench) -> Mapping[str, float]:
    mb = resident_mb(bench.stage.allocator.pid)
    bench.figures.details["rss_mb"]["allocator"] = round(mb, 1)
    return {"rss_mb": mb}


def resident_mb(pid: int) -> float:
    """The memory of one process that is in use now."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024
    found = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(found.stdout) / 1024


async def _trickle(bench: Bench) -> float:
    """How late each is settled, by the database's own clock: 99 of 100 no later than what is returned, in ms."""
    connection = bench.stage.connection
    apart = timedelta(seconds=1 / TRICKLE_PER_SECOND)
    organizations = bench.scaled(round(TRICKLE_PER_SECOND * TRICKLE_SECONDS))
    first = (await read_clock(connection)).now + timedelta(seconds=1)
    last = first + organizations * apart
    await create_ending_organizations(connection, TRICKLE, organizations, 1, first, apart)
    await _settled(connection, TRICKLE, last, TRICKLE_SECONDS + 30)
    rows = await connection.fetch(
        """
        SELECT 1000 * extract(epoch FROM recorded_time - effective_time)::float8 AS late_ms FROM entry
        WHERE organization > $1 AND organization < $2 AND kind = 'SUBSCRIPTION_ENDED'
        """,
        TRICKLE,
        TRICKLE + BEYOND_EVERY_ID,
    )
    return percentile([row["late_ms"] for row in rows], 99)


async def _flood(bench: Bench) -> float:
    """Subscriptions settled a second, from the instant at which all of them end."""
    connection, organizations = bench.stage.connection, bench.scaled(FLOOD_ORGANIZATIONS)
    end = (await read_clock(connection)).now + AHEAD
    await create_ending_organizations(connection, FLOOD, organizations, FLOOD_SUBSCRIPTIONS_EACH, end)
    await settle_down(connection)
    await advance_clock(connection, AHEAD)
    begun = monotonic()
    left = await _settled(connection, FLOOD, end, FLOOD_SECONDS_MAX)
    if left == organizations:
        raise BenchError("the expiry worker settled nothing")
    return FLOOD_SUBSCRIPTIONS_EACH * (organizations - left) / (monotonic() - begun)


async def _settled(connection: Connection, prefix: str, end: datetime, seconds_max: float) -> int:
    """Waits until everything up to `end` is settled, or for so long; how many organizations are left."""
    until = monotonic() + seconds_max
    while True:
        left: int = await connection.fetchval(
            """
            SELECT count(*) FROM organization
            WHERE organization > $1 AND organization < $2 AND next_transition_time <= $3
            """,
            prefix,
            prefix + BEYOND_EVERY_ID,
            end,
        )
        if not left or monotonic() > until:
            return left
        await asyncio.sleep(POLL_SECONDS)


async def _insert_old_requests(connection: Connection, count: int, past: datetime) -> None:
    """Whatever columns a request has, those of the copies are the same but for the id and the time."""
    await connection.execute(
        """
        INSERT INTO request
        SELECT (jsonb_populate_record(
            one, jsonb_build_object('request_id', 'old-' || number, 'recorded_time', $3::timestamptz))).*
        FROM (SELECT request AS one FROM request WHERE organization = $1 LIMIT 1) AS sample,
             generate_series(1, $2::integer) AS number
        """,
        HOT,
        count,
        past,
    )


async def _sizes(connection: Connection) -> dict[str, tuple[int, int]]:
    """(rows, bytes with indexes) of every table."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        tables = await connection.fetch("SELECT relid::regclass::text AS name, relid FROM pg_stat_user_tables")
        return {
            each["name"]: (
                await connection.fetchval("SELECT count(*) FROM " + each["name"]),
                await connection.fetchval("SELECT pg_total_relation_size($1::oid)", each["relid"]),
            )
            for each in tables
        }


async def _wal_position(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


ONCE: Final = (
    Row(("bytes_per_call",), left_behind, once=True),
    Row(("requests_removed_per_s",), requests_removed, once=True),
    Row(("expire_per_s", "expire_lag_p99_ms"), expiry, once=True),
    Row(("rss_mb",), memory, once=True),
)
