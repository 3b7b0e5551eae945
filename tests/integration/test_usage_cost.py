"""What looking at usage costs, by the plans of its statements: it does not grow with allocations or entries."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest

from earmark.v1 import usage_service_pb2 as pb
from services.admin import embedded
from services.allocator.server import AllocatorServer
from services.ledger.rules.limits import ENTRIES_SCANNED_MAX
from services.ledger.store.changes import changed_since, read_horizon
from services.ledger.store.database import Pool, connect_pool
from services.ledger.store.entry_reads import read_entries_from
from services.runtime.settings import Settings
from tests.support.many_rows import (
    ALLOCATIONS,
    BEGIN,
    ENTRIES,
    LARGE,
    LIVE_SUBSCRIPTIONS,
    OFFERINGS,
    make_large_organization,
)
from tests.support.plans import Asked, Touched, recorded, rows_read, touched
from tests.support.reflected import ReflectedClient

Fields = dict[str, Any]

DAY: Final = timedelta(days=1)
MIDDLE: Final = BEGIN + 500 * DAY
PARENT: Final = f"organizations/{LARGE}"
FEW: Final = 10
"""Rows that a call touches besides: the organization's, the clock's, each more than once."""
PAGES_BESIDES: Final = 100
"""Besides two for each row: the ways down the indexes."""
GROWING: Final = frozenset({"allocation", "entry", "offering_usage", "organization", "subscription", "usage_hour"})
"""Tables of which nothing may be read from end to end: they grow with organizations, calls or time."""
OFFERING_NAMES: Final = [f"offerings/offering-{number}" for number in range(1, OFFERINGS + 1)]
TARGETS: Final = [
    *({"offering": name} for name in OFFERING_NAMES),
    *({"allocation": f"{PARENT}/allocations/allocation-{number}"} for number in range(1, 1_001 - OFFERINGS)),
]


@pytest.fixture(scope="module")
async def large(postgres: embedded.Server, template: str) -> AsyncIterator[str]:
    """The URL of a database with the large organization."""
    server = await asyncpg.connect(postgres.url)
    await server.execute(f"CREATE DATABASE large TEMPLATE {template}")
    url = postgres.url.rpartition("/")[0] + "/large"
    connection = await asyncpg.connect(url)
    await make_large_organization(connection)
    await connection.close()
    yield url
    await server.execute("DROP DATABASE large WITH (FORCE)")
    await server.close()


@pytest.fixture(scope="module")
async def pool(large: str) -> AsyncIterator[Pool]:
    """Of one connection, with the settings of every process."""
    pool = await connect_pool(large, name="test", size=1)
    yield pool
    await pool.close()


@pytest.fixture(scope="module")
async def client(large: str, pool: Pool) -> AsyncIterator[ReflectedClient]:
    server = AllocatorServer(Settings(database_url=large, listen_address="127.0.0.1:0"), pool)
    await server.start()
    async with ReflectedClient(server.address) as client:
        yield client
    await server.stop()


def instant(at: datetime) -> Fields:
    return {"seconds": int(at.timestamp())}


def interval(start: datetime, end: datetime) -> Fields:
    return {"start_time": instant(start), "end_time": instant(end)}


def entries(**fields: Any) -> Fields:
    return {"parent": PARENT, **fields}


def history(step: str, steps: int) -> Fields:
    length = {"HOUR": timedelta(hours=1), "DAY": DAY}[step]
    number = pb.QueryUsageHistoryRequest.Step.Value(step)
    return {"name": PARENT, "interval": interval(MIDDLE, MIDDLE + steps * length), "step": number}


SUBSCRIPTIONS: Final = LIVE_SUBSCRIPTIONS
PAGE: Final = 2 * 51
"""Rows for a page of 50: each is found by its key, then read; and one to see whether there is more."""

CALLS: Final[Sequence[tuple[str, str, Fields, int]]] = (
    ("usage", "GetUsage", {"name": PARENT}, OFFERINGS + SUBSCRIPTIONS),
    ("a year by days", "QueryUsageHistory", history("DAY", 365), 365 * 24),
    ("a day by hours", "QueryUsageHistory", history("HOUR", 24), 24),
    ("the most hours", "QueryUsageHistory", history("HOUR", 10_000), 10_000),
    ("an offering", "CheckEntitlement", {"parent": PARENT, **TARGETS[0]}, SUBSCRIPTIONS),
    ("an allocation", "CheckEntitlement", {"parent": PARENT, **TARGETS[-1]}, SUBSCRIPTIONS),
    ("a thousand", "CheckEntitlements", {"parent": PARENT, "targets": TARGETS}, 1_000 + OFFERINGS + SUBSCRIPTIONS),
    (
        "a thousand lines",
        "EstimateCredits",
        {
            "organization": PARENT,
            "lines": [{"offering": OFFERING_NAMES[n % OFFERINGS], "units": 1} for n in range(1_000)],
        },
        OFFERINGS * (1 + 3),
    ),
    ("to the first fall", "ForecastUsage", {"name": PARENT, "until": {"seconds": 4_102_444_800}}, SUBSCRIPTIONS),
    ("the first page", "ListEntries", entries(), PAGE),
    ("the newest", "ListEntries", entries(newest_first=True), PAGE),
    ("from the middle on", "ListEntries", entries(after_revision=ENTRIES // 2), PAGE),
    ("of all", "ListEntries", {"parent": "organizations/-"}, PAGE),
    ("of all, the newest", "ListEntries", {"parent": "organizations/-", "newest_first": True}, PAGE),
    ("an hour", "ListEntries", entries(interval=interval(MIDDLE, MIDDLE + timedelta(hours=1))), 2 * 80),
    (
        "an hour, backwards",
        "ListEntries",
        entries(interval=interval(MIDDLE, MIDDLE + timedelta(hours=1)), newest_first=True),
        2 * 80,
    ),
    ("a time to come", "ListEntries", entries(interval=interval(MIDDLE + 9_999 * DAY, MIDDLE + 10_000 * DAY)), 0),
    ("a rare kind", "ListEntries", entries(kinds=[13]), 2 * ENTRIES_SCANNED_MAX),
    ("a kind that is not there", "ListEntries", entries(kinds=[2], newest_first=True), 2 * ENTRIES_SCANNED_MAX),
    (
        "one allocation",
        "ListEntries",
        entries(resource=f"{PARENT}/allocations/allocation-5", page_size=5),
        2 * ENTRIES_SCANNED_MAX,
    ),
)


@pytest.mark.parametrize(("name", "method", "fields", "most"), CALLS, ids=[f"{call[1]}: {call[0]}" for call in CALLS])
async def test_a_call_touches_few_rows(
    client: ReflectedClient, pool: Pool, name: str, method: str, fields: Fields, most: int
) -> None:
    await client.call(method, **fields)  # The first time the connection asks for types besides.
    async with recorded(pool) as asked:
        await client.call(method, **fields)
    await check_cost(pool, f"{method}: {name}", asked, most + FEW)


async def test_what_watches_read(client: ReflectedClient, pool: Pool) -> None:
    await client.call("WatchUsage", name=PARENT)
    async with recorded(pool) as asked:
        await client.call("WatchUsage", name=PARENT)
    # Who watches also has the process look for what changed lately; see the next test.
    own = [each for each in asked if "written_time" not in each.statement]
    await check_cost(pool, "WatchUsage: a snapshot", own, OFFERINGS + FEW)
    async with recorded(pool) as asked, pool.acquire() as connection:
        assert len((await read_entries_from(connection, [(LARGE, ENTRIES - 300)], 100))[LARGE]) == 100
    await check_cost(pool, "WatchUsage: a run", asked, 100)


async def test_what_changed_lately(pool: Pool) -> None:
    """Of a million entries those that were written last are found by when they were written."""
    async with pool.acquire() as connection:
        horizon = await read_horizon(connection)
        assert await changed_since(connection, horizon) == {}
        written: datetime = await connection.fetchval(
            "SELECT min(written_time) FROM entry WHERE organization <> $1", LARGE
        )
    async with recorded(pool) as asked, pool.acquire() as connection:
        assert len(await changed_since(connection, written)) == 1_000
    rows_in_a_range = 32 * 20
    await check_cost(pool, "what changed lately", asked, 1_000 + 2 * rows_in_a_range)


async def test_a_forecast_that_suspends_reads_what_holds_credits_and_no_entry(
    client: ReflectedClient, pool: Pool
) -> None:
    """It reads in portions, so the tables are asked what was read of them."""
    before = await rows_read(pool)
    answer = await client.call("ForecastUsage", name=PARENT, until={"seconds": 4_133_980_800})
    assert answer.suspended.total_size == 10_000
    read = {table: rows - before[table] for table, rows in (await rows_read(pool)).items()}
    assert read["entry"] == read["usage_hour"] == 0
    assert 0 < read["allocation"] <= 2 * ALLOCATIONS


async def cost(pool: Pool, asked: Asked) -> Touched:
    async with pool.acquire() as connection:
        return await touched(connection, asked)


async def check_cost(pool: Pool, name: str, asked: Sequence[Asked], most: int) -> None:
    assert asked
    found = [await cost(pool, each) for each in asked]
    total, blocks = sum(each.total for each in found), sum(each.blocks for each in found)
    print(f"{name}: {total} rows of at most {most}, {blocks} pages, {len(asked)} statements")
    whole = frozenset[str]().union(*(each.scanned_whole for each in found))
    assert not whole & GROWING
    assert total <= most
    assert blocks <= 2 * most + PAGES_BESIDES
