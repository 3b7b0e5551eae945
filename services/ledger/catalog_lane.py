"""The catalogue's own lane: in one process its changes are one after the other."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import asyncpg

from services.ledger.catalog import CatalogUnconfirmed, Change, change_catalog, was_committed
from services.ledger.committing import CommitLost, NotReplicated
from services.ledger.lane import RETRY_SECONDS_MAX
from services.ledger.refusals import outcome_unknown
from services.ledger.rules import names
from services.ledger.rules.cataloguing import CatalogCommand
from services.ledger.rules.price import Offering
from services.ledger.rules.refusal import Reason, Refused
from services.ledger.store.database import AWAY, Connection, Pool, pooled

log = logging.getLogger(__name__)

POOL_WAIT_SECONDS: Final = 5.0


class CatalogLane:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._turn = asyncio.Lock()
        self._works: set[asyncio.Task[Change]] = set()

    async def change(self, command: CatalogCommand, request_id: str, seconds: float) -> tuple[Offering, datetime]:
        """The offering after the command, and as of when; within about `seconds`. Raises Refused."""
        begun = asyncio.Event()
        work = asyncio.create_task(self._work(command, request_id, begun))
        self._works.add(work)  # Once begun it goes on to its end, whoever waits for it.
        work.add_done_callback(self._forget)
        try:
            async with asyncio.timeout(seconds):
                change = await asyncio.shield(work)
        except NotReplicated as error:
            raise outcome_unknown(names.offering_name(command.offering)) from error
        except TimeoutError as error:
            if begun.is_set():
                raise outcome_unknown(names.offering_name(command.offering)) from error
            raise _lock_timeout() from error
        finally:
            if not begun.is_set():
                work.cancel()
        return change.after, change.as_of

    async def drained(self) -> None:
        """Returns when no change is waiting or under way."""
        while self._works:
            await asyncio.wait(self._works)

    def _forget(self, work: asyncio.Task[Change]) -> None:
        self._works.discard(work)
        if not work.cancelled():
            work.exception()  # Seen by whoever still waits.

    async def _work(self, command: CatalogCommand, request_id: str, begun: asyncio.Event) -> Change:
        async with self._turn:
            while True:
                try:
                    async with self._connection() as connection:
                        return await change_catalog(connection, command, request_id=request_id, when_locked=begun.set)
                except CatalogUnconfirmed as lost:
                    log.warning("the catalogue: connection lost during commit; looking it up")
                    happened = await self._look_up(lost.change)
                    if happened is None:
                        raise outcome_unknown(names.offering_name(command.offering)) from lost
                    if happened:
                        return lost.change

    async def _look_up(self, change: Change) -> bool | None:
        """For as long as it takes: nothing else may be done to the catalogue here before it is known."""
        while True:
            try:
                async with self._connection() as connection:
                    return await was_committed(connection, change)
            except (Refused, CommitLost, NotReplicated):
                await asyncio.sleep(RETRY_SECONDS_MAX)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            async with pooled(self._pool, wait_seconds=POOL_WAIT_SECONDS) as connection:
                yield connection
        except (asyncpg.LockNotAvailableError, TimeoutError) as error:
            raise _lock_timeout() from error
        except AWAY as error:
            text = "the database cannot be reached; nothing was changed, try again in a moment"
            raise Refused(Reason.DATABASE_UNAVAILABLE, text) from error


def _lock_timeout() -> Refused:
    text = "the lock of the catalogue was not granted in time; nothing was changed, try again in a moment"
    return Refused(Reason.LOCK_TIMEOUT, text)
