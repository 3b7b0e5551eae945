"""From nothing to the newest schema, and which processes may work on which."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.admin import embedded
from services.ledger.store import migrate as migrating
from services.ledger.store.clock import read_clock
from services.ledger.store.database import Connection
from services.ledger.store.migrate import SchemaMismatch, check_schema, migrate

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
