"""Bringing a database's schema up to date, and refusing one that does not fit.

Migrations are numbered files that go forward only. The schema records its version and the oldest release that it
still serves, so that old and new processes can run side by side while a release rolls out.
"""

import asyncio
from importlib import resources
from typing import Final

from services.ledger.store.database import Connection

RELEASE: Final = (0, 1, 0)
"""This code's own release."""
SCHEMA_VERSION_NEEDED: Final = 2
"""The oldest schema that this release can work on."""
OLDEST_RELEASE_SERVED: Final = (0, 1, 0)
"""The oldest release that can work on the newest schema."""

CONCURRENTLY: Final = ".concurrently"
"""How the name of a migration ends that goes on beside calls for as long as it takes."""
LOCK_TIMEOUT_SECONDS: Final = 5
RETRY_SECONDS: Final = 0.1

ADVISORY_LOCK: Final = 0x6561726D61726B
"""Held while migrating, so that two migrations at once are one after the other."""


class SchemaMismatch(Exception):
    """The database's schema and this release do not fit together."""


async def migrate(connection: Connection, *, movable_clock: bool | None = None) -> list[str]:
    """Applies every migration that is missing, each in a transaction; returns the names of those applied.

    `movable_clock` decides, for a database that is created now, whether its clock can be moved. For one that exists
    it must be None or what was decided then; otherwise SchemaMismatch is raised and nothing is changed.
    """
    # Asked again and again: a statement that waits would be one more that an index built concurrently waits for.
    while not await connection.fetchval(  # noqa: ASYNC110 - nobody else can tell us
        "SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK
    ):
        await asyncio.sleep(RETRY_SECONDS)
    try:
        applied = await _applied(connection)
        if applied and movable_clock is not None:
            await _check_movable(connection, movable_clock)
        done = []
        for version, name, sql in _migrations():
            if version not in applied:
                await _apply(connection, version, name, sql, bool(movable_clock))
                done.append(name)
        return done
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", ADVISORY_LOCK)


async def check_schema(connection: Connection) -> None:
    """Raises SchemaMismatch if this release cannot work on the database as it is."""
    if not await connection.fetchval("SELECT to_regclass('schema_info') IS NOT NULL"):
        raise SchemaMismatch("the database holds no Earmark schema; run: earmark-admin migrate")
    row = await connection.fetchrow("SELECT version, oldest_release FROM schema_info")
    assert row is not None
    if row["version"] < SCHEMA_VERSION_NEEDED:
        raise SchemaMismatch(
            f"the schema is at version {row['version']} and this release needs {SCHEMA_VERSION_NEEDED}; "
            "run: earmark-admin migrate"
        )
    if tuple(row["oldest_release"]) > RELEASE:
        raise SchemaMismatch(
            f"the schema serves releases from {_dotted(row['oldest_release'])} on, and this is {_dotted(RELEASE)}; "
            "start a newer release"
        )


async def _applied(connection: Connection) -> set[int]:
    await connection.execute(
        """
        CREATE TABLE IF NOT EXISTS schema_migration (
            version integer PRIMARY KEY, name text NOT NULL, applied_time timestamptz NOT NULL DEFAULT now()
        );
        CREATE TABLE IF NOT EXISTS schema_info (
            one boolean PRIMARY KEY DEFAULT true CHECK (one),
            version integer NOT NULL,
            oldest_release integer[] NOT NULL
        )
        """
    )
    return {row["version"] for row in await connection.fetch("SELECT version FROM schema_migration")}


async def _check_movable(connection: Connection, movable_clock: bool) -> None:
    if await connection.fetchval("SELECT movable FROM clock") != movable_clock:
        raise SchemaMismatch("whether the clock can be moved was decided when this database was created")


async def _apply(connection: Connection, version: int, name: str, sql: str, movable_clock: bool) -> None:
    """In one transaction, which waits for no lock for long: whoever comes after it would wait as well.

    What is done concurrently cannot be in a transaction. It is done statement by statement, and may be done again.
    """
    if name.endswith(CONCURRENTLY):
        for statement in filter(None, map(str.strip, sql.split(";"))):
            await connection.execute(statement)
    async with connection.transaction():
        await connection.execute("SELECT set_config('lock_timeout', $1, true)", f"{LOCK_TIMEOUT_SECONDS}s")
        if not name.endswith(CONCURRENTLY):
            await connection.execute(sql)
        if version == 1:
            await connection.execute("INSERT INTO clock (movable) VALUES ($1)", movable_clock)
            await connection.execute(
                "CREATE TRIGGER clock_is_guarded BEFORE INSERT OR UPDATE OR DELETE ON clock "
                "FOR EACH ROW EXECUTE FUNCTION guard_clock()"
            )
        await connection.execute("INSERT INTO schema_migration (version, name) VALUES ($1, $2)", version, name)
        await connection.execute(
            "INSERT INTO schema_info (version, oldest_release) VALUES ($1, $2) "
            "ON CONFLICT (one) DO UPDATE SET version = $1, oldest_release = $2",
            version,
            list(OLDEST_RELEASE_SERVED),
        )


def _migrations() -> list[tuple[int, str, str]]:
    """(version, name, SQL) of every migration, in order."""
    folder = resources.files("services.ledger.store") / "migrations"
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name)
    return [(int(each.name[:4]), each.name.removesuffix(".sql"), each.read_text()) for each in files]


def _dotted(release: tuple[int, ...] | list[int]) -> str:
    return ".".join(str(part) for part in release)
