"""How watches read from the database: for a short time, and with one answer when it is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from services.ledger.rules.refusal import Reason, Refused
from services.ledger.store.database import AWAY, Connection, Pool, pooled

WAIT_SECONDS: Final = 2.0


@asynccontextmanager
async def reading(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for a moment. Raises Refused if the database is away or slow."""
    try:
        async with asyncio.timeout(WAIT_SECONDS), pooled(pool, wait_seconds=WAIT_SECONDS) as connection:
            yield connection
    except (*AWAY, TimeoutError) as error:
        raise database_away() from error


def database_away() -> Refused:
    text = "the database cannot be reached; resume the watch in a moment, here or at another process"
    return Refused(Reason.DATABASE_UNAVAILABLE, text)
