"""From nothing to the newest schema, and which processes may work on which."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from services.admin import embedded
from services.admin.verify import verify
from services.ledger.ledger import Ledger
from services.ledger.rules.commands import DisableAllocation
from services.ledger.rules.summing import OfferingUsage
from services.ledger.store import migrate as migrating
from services.ledger.store.clock import read_clock
from services.ledger.store.database import Connection, connect_pool
from services.ledger.store.migrate import SchemaMismatch, check_schema, migrate
from tests.conftest import Advance
from tests.support.books import DAY, SECONDS, do, enable, make_customer, offer_sensors

NEWEST = migrating._migrations()[-1][0]
NAMES = [name for _, name, _ in migrating._migrations()]


@pytest.fixture
async def empty_database(postgres: embedded.Server) -> AsyncIterator[str]:
    server = await asyncpg.connect(postgres.url)
    await server.execute("CREATE DATABASE empty")
    yield postgres.url.rpartition("/")[0] + "/empty"
    await server.execute("DROP DATABASE empty WITH (FORCE)")
    await server.close()


@pytest.fixture
async def empty(empty_database: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(empty_database)
    yield connection
    await connection.close()


async def test_from_nothing_and_again(empty: Connection) -> None:
    with pytest.raises(SchemaMismatch, match=r"no Earmark schema; run: earmark-admin migrate"):
        await check_schema(empty)
    assert await migrate(empty) == NAMES
    await check_schema(empty)
    assert await migrate(empty) == []
    assert await migrate(empty, movable_clock=False) == []
    assert not (await read_clock(empty)).movable
    assert await empty.fetchval("SELECT version FROM schema_info") == NEWEST
    assert await empty.fetchval("SELECT count(*) FROM schema_migration") == len(NAMES)


async def test_two_at_once_are_one_after_the_other(empty: Connection, empty_database: str) -> None:
    other = await asyncpg.connect(empty_database)
    done = await asyncio.gather(*(migrate(each, movable_clock=True) for each in (empty, other)))
    assert sorted(done) == [[], NAMES]
    assert await empty.fetchval("SELECT count(*) FROM clock") == 1
    await other.close()


async def test_whether_the_clock_is_movable_is_decided_once(empty: Connection) -> None:
    await migrate(empty, movable_clock=True)
    with pytest.raises(SchemaMismatch, match="was decided when this database was created"):
        await migrate(empty, movable_clock=False)
    assert await migrate(empty) == []
    assert (await read_clock(empty)).movable


async def test_a_migration_that_fails_leaves_nothing_and_is_taken_up_again(
    empty: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = migrating._migrations()
    broken = (NEWEST + 1, "broken", "CREATE TABLE half (one integer); SELECT 1 / 0")
    monkeypatch.setattr(migrating, "_migrations", lambda: [*good, broken])
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty)
    assert await empty.fetchval("SELECT version FROM schema_info") == NEWEST
    assert await empty.fetchval("SELECT to_regclass('half')") is None
    await check_schema(empty)

    mended = (NEWEST + 1, "mended", "CREATE TABLE whole (one integer)")
    monkeypatch.setattr(migrating, "_migrations", lambda: [*good, mended])
    assert await migrate(empty) == ["mended"]
    assert await empty.fetchval("SELECT version FROM schema_info") == NEWEST + 1


async def test_a_schema_that_is_too_old_is_refused(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrating, "SCHEMA_VERSION_NEEDED", NEWEST + 1)
    with pytest.raises(SchemaMismatch, match=rf"at version {NEWEST} and this release needs {NEWEST + 1}; run: earm"):
        await check_schema(connection)


async def test_a_schema_that_no_longer_serves_this_release_is_refused(connection: Connection) -> None:
    await connection.execute("UPDATE schema_info SET version = 99, oldest_release = '{0,1,1}'")
    with pytest.raises(SchemaMismatch, match=r"serves releases from 0\.1\.1 on, and this is 0\.1\.0; start a newer"):
        await check_schema(connection)


async def test_a_newer_schema_that_still_serves_this_release_is_welcome(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old and new processes run side by side while a release rolls out."""
    await connection.execute("UPDATE schema_info SET version = 99, oldest_release = '{0,1,0}'")
    await check_schema(connection)
    await connection.execute("UPDATE schema_info SET oldest_release = '{0,9,9}'")
    monkeypatch.setattr(migrating, "RELEASE", (0, 10, 0))
    await check_schema(connection)


async def test_an_older_release_that_migrates_takes_nothing_back(connection: Connection) -> None:
    await connection.execute("INSERT INTO schema_migration (version, name) VALUES (99, '0099_later')")
    await connection.execute("UPDATE schema_info SET version = 99, oldest_release = '{0,1,1}'")
    assert await migrate(connection) == []
    assert await connection.fetchval("SELECT version FROM schema_info") == 99
    assert await connection.fetchval("SELECT oldest_release FROM schema_info") == [0, 1, 1]


async def test_an_upgrade_with_data_sums_usage_up_when_somebody_looks(
    empty: Connection, empty_database: str, ledger: Ledger, connection: Connection, advance: Advance
) -> None:
    """The first release wrote it all; then both run side by side, and the old one leaves the sums behind."""
    await _migrate_to(empty, 1)
    columns = await _columns(empty)
    await offer_sensors(connection)
    await make_customer(ledger, connection, credits=2_000, days=3, grace=DAY)
    await do(ledger, "acme", enable("a", units=40))
    await advance(timedelta(hours=5))
    await do(ledger, "acme", enable("b", units=60))
    await _copy(connection, empty, columns)
    assert await migrate(empty) == NAMES[1:]

    pool = await connect_pool(empty_database, name="new", size=2)
    upgraded = Ledger(pool)
    await _check_the_same(upgraded, ledger, empty, connection)

    for change in (enable("a", units=10), DisableAllocation("b"), enable("c", units=1)):
        await advance(timedelta(hours=2))
        await do(ledger, "acme", change)
        await _copy(connection, empty, columns)  # As the old release writes: of the newer columns it knows nothing.
        kept, newest = await empty.fetchrow("SELECT usage_revision, revision FROM organization") or pytest.fail("none")
        assert kept == newest - 1
        await _check_the_same(upgraded, ledger, empty, connection)
    await upgraded.drained()
    await pool.close()


async def _migrate_to(connection: Connection, version: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        known = migrating._migrations()
        patch.setattr(migrating, "_migrations", lambda: known[:version])
        await migrate(connection, movable_clock=True)


async def _columns(connection: Connection) -> dict[str, list[str]]:
    """Of the tables with data, as the schema is now."""
    rows = await connection.fetch(
        """
        SELECT table_name, array_agg(column_name::text) AS columns FROM information_schema.columns
        WHERE table_name IN ('offering', 'offering_price', 'organization', 'subscription', 'allocation', 'entry')
        GROUP BY table_name
        """
    )
    return {row["table_name"]: row["columns"] for row in rows}


async def _copy(source: Connection, target: Connection, columns: dict[str, list[str]]) -> None:
    """What is new or has changed, by these columns alone."""
    for table, names in columns.items():
        listed = ", ".join(names)
        rows = await source.fetch(f"SELECT {listed} FROM {table}")
        places = ", ".join(f"${number}" for number in range(1, len(names) + 1))
        changed = ", ".join(f"{name} = excluded.{name}" for name in names)
        on_conflict = "DO NOTHING" if table == "entry" else f"ON CONSTRAINT {table}_pkey DO UPDATE SET {changed}"
        await target.executemany(
            f"INSERT INTO {table} ({listed}) VALUES ({places}) ON CONFLICT {on_conflict}", [tuple(row) for row in rows]
        )


async def _check_the_same(upgraded: Ledger, ledger: Ledger, ours: Connection, theirs: Connection) -> None:
    """Looking at it shows what is shown where the sums were kept all along, and keeps them."""
    shown = [await _usage(each) for each in (upgraded, ledger)]
    assert shown[0] == shown[1]
    hours = [await each.fetch("SELECT * FROM usage_hour ORDER BY hour") for each in (ours, theirs)]
    assert hours[0] == hours[1]
    assert await ours.fetchval("SELECT usage_revision = revision FROM organization")
    report = await verify(ours)
    assert report.problems == []


async def _usage(ledger: Ledger) -> list[OfferingUsage]:
    async with ledger.snapshot("acme", SECONDS) as snapshot:
        return [each for each in await snapshot.offering_usage() if each.enabled_allocations]
