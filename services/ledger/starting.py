"""What every process does with the database before it serves, and after."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from services.ledger.store.clock import announce_clock
from services.ledger.store.database import CANNOT_CONNECT, NotPrimary, Pool, StandbyAway, connect_pool
from services.ledger.store.durability import NotDurable, check_durability, read_durability
from services.ledger.store.migrate import SchemaMismatch, check_schema

LOOK_SECONDS: Final = 5.0
"""For finding out which standby is waited for."""
CLOSE_SECONDS: Final = 0.5

log = logging.getLogger(__name__)


class CannotStart(Exception):
    """The database is away, its schema does not fit, or it may lose what it acknowledges; the message says which."""


async def open_pool(url: str, *, name: str, size: int, durability: str) -> Pool:
    """A pool of connections to a database that this release can work on, and that keeps what `durability` asks.

    Says loudly if its clock can be moved, and what it may lose. Raises CannotStart, also if the database's standby is
    away for 30 s.
    """
    try:
        pool = await connect_pool(url, name=name, size=size)
    except NotPrimary as error:
        raise CannotStart(
            "the database of EARMARK_DATABASE_URL is a standby, which takes no writes; name its primary"
        ) from error
    except StandbyAway as error:
        raise CannotStart(await _why_commits_wait(url)) from error
    except CANNOT_CONNECT as error:
        why = str(error) or "it does not answer"
        raise CannotStart(f"the database of EARMARK_DATABASE_URL cannot be reached: {why}") from error
    try:
        async with pool.acquire() as connection:
            await check_schema(connection)
            await check_durability(connection, durability)
            await announce_clock(connection)
    except (SchemaMismatch, NotDurable) as error:
        await pool.close()
        raise CannotStart(str(error)) from error
    except CANNOT_CONNECT as error:
        pool.terminate()
        raise CannotStart(f"the database of EARMARK_DATABASE_URL went away: {error}") from error
    return pool


@asynccontextmanager
async def closing(pool: Pool) -> AsyncIterator[None]:
    """Closes it after the block; whoever has not given a connection back soon after is cut off from it.

    A commit whose standby is gone may wait for ever, and must not be cancelled. Cut off, it goes on waiting by itself.
    """
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await pool.close()  # Given up, it terminates its connections.
        except TimeoutError:
            log.warning("stopped while the database had not answered yet")


async def _why_commits_wait(url: str) -> str:
    """Asked over a connection of its own, which reads nothing of the ledger and so need not wait."""
    try:
        connection = await asyncpg.connect(url, timeout=LOOK_SECONDS)
        try:
            names = (await read_durability(connection)).synchronous_standby_names
        finally:
            connection.terminate()
    except CANNOT_CONNECT:
        return "the database of EARMARK_DATABASE_URL does not answer"
    return (
        "the database of EARMARK_DATABASE_URL waits for a standby that is away: no commit ends. "
        f"Its synchronous_standby_names is {names!r}; start one of those, or name another"
    )
