"""What every process does with the database before it serves."""

from services.ledger.store.clock import announce_clock
from services.ledger.store.database import CANNOT_CONNECT, Pool, connect_pool
from services.ledger.store.migrate import SchemaMismatch, check_schema


class CannotStart(Exception):
    """The database is away, or its schema does not fit; the message says which."""


async def open_pool(url: str, *, name: str, size: int) -> Pool:
    """A pool of connections to a database that this release can work on. Says loudly if its clock can be moved."""
    try:
        pool = await connect_pool(url, name=name, size=size)
    except CANNOT_CONNECT as error:
        raise CannotStart(f"the database of EARMARK_DATABASE_URL cannot be reached: {error}") from error
    try:
        async with pool.acquire() as connection:
            await check_schema(connection)
            await announce_clock(connection)
    except SchemaMismatch as error:
        await pool.close()
        raise CannotStart(str(error)) from error
    return pool
