"""How watches read from the database: for a short time, with one answer when it is away, and with patience."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from services.ledger.rules.refusal import Reason, Refused
from services.ledger.store.database import AWAY, Connection, Pool, pooled

WAIT_SECONDS: Final = 2.0
AWAY_SECONDS_MAX: Final = 5.0
"""So long the database may be away before watches end: perhaps another process reaches it."""
RETRY_SECONDS: Final = 0.5

T = TypeVar("T")


@asynccontextmanager
async def reading(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for a moment. Raises Refused if the database is away or slow."""
    try:
        async with asyncio.timeout(WAIT_SECONDS), pooled(pool, wait_seconds=WAIT_SECONDS) as connection:
            yield connection
    except (*AWAY, TimeoutError) as error:
        raise database_away() from error


async def patiently(read: Callable[[], Awaitable[T]], ended: Callable[[], Refused | None]) -> T:
    """What `read` returns, tried again while the database is away. Raises Refused if it stays away, or `ended` says so.

    Who is reading just when the database goes is cut off no sooner than who has nothing to read.
    """
    give_up_at = asyncio.get_running_loop().time() + AWAY_SECONDS_MAX
    while True:
        refused = ended()
        if refused is not None:
            raise refused
        try:
            return await read()
        except Refused as away:
            if away.reason is not Reason.DATABASE_UNAVAILABLE or asyncio.get_running_loop().time() > give_up_at:
                raise
        await asyncio.sleep(RETRY_SECONDS)


def database_away() -> Refused:
    text = "the database cannot be reached; resume the watch in a moment, here or at another process"
    return Refused(Reason.DATABASE_UNAVAILABLE, text)
