"""Publishing what nobody else has published: a process may die between its commit and its notice.

No notice is written down for this. We listen to all notices, ask the database again and again who changed lately, and
publish what was not heard from one look to the next. Any number of workers do so side by side: a notice too many does
no harm, and since their looks are spread at random, mostly the first is heard by the others.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NoReturn

from services.expiry.unheard import Unheard
from services.ledger.store import changes
from services.ledger.store.database import AWAY, Connection, Pool, pooled
from services.notices.connection import Outage
from services.notices.listener import Listener
from services.notices.publisher import Publisher

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = (0.4, 0.6)
"""Between two looks. A notice is then late by two of these and a little: less than 2 s."""
CONNECTION_WAIT_SECONDS: Final = 2.0
REACH_AT_START: Final = timedelta(seconds=10)
"""The first look goes back so far: a worker that is started again publishes what its predecessor did not get to."""
BALANCES_PER_READ: Final = 1_000
PUBLISHER_WAITING_MAX: Final = 5_000
"""While so many notices wait for Redis no more are handed over; the publisher would drop some."""


class Republisher:
    """Runs beside the sweeper, over a connection of the same pool for as long as a look takes."""

    def __init__(self, pool: Pool, publisher: Publisher, *, url: str, prefix: str) -> None:
        self._pool = pool
        self._publisher = publisher
        self._unheard = Unheard()
        self._horizon: datetime | None = None
        self._asked_at = 0.0
        self._outage = Outage(log, "cannot look for what nobody published")
        self.listener = Listener(url, prefix, self._unheard.hear)
        self.republished = 0
        """Notices that were not heard from anybody else."""

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.listener.run())
            group.create_task(self._look_for_ever())

    async def look_once(self) -> int:
        """Compares once, and publishes what is overdue; the number of those notices. Raises what the database raises.

        While we hear nothing ourselves, nothing is published: it waits until Redis is back.
        """
        heard = self._unheard.take_heard()
        async with pooled(self._pool, wait_seconds=CONNECTION_WAIT_SECONDS) as connection:
            overdue = self._unheard.compare(heard, await self._changed(connection))
            published = 0
            while overdue and self.listener.connected.is_set() and self._publisher.waiting < PUBLISHER_WAITING_MAX:
                page, overdue = overdue[:BALANCES_PER_READ], overdue[BALANCES_PER_READ:]
                published += await self._publish(connection, page)
        return published

    async def _changed(self, connection: Connection) -> dict[str, int]:
        """Whoever may have changed since the look before, by whichever server's clock that was written."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        horizon = await changes.read_horizon(connection)
        if self._horizon is None:
            since = horizon - REACH_AT_START
        else:
            # After a failover the clock is another one: there so much time has passed as for us.
            since = min(self._horizon, horizon - timedelta(seconds=loop.time() - self._asked_at))
        changed = await changes.changed_since(connection, since)
        self._horizon, self._asked_at = horizon, asked_at
        return changed

    async def _publish(self, connection: Connection, organizations: Sequence[str]) -> int:
        balances = await changes.read_balances(connection, organizations)
        found = {balance.organization: balance.revision for balance in balances}
        for organization in organizations:
            self._unheard.is_told(organization, found.get(organization, 0))
        for balance in balances:
            self._publisher.publish(balance)
        self.republished += len(balances)
        return len(balances)

    async def _look_for_ever(self) -> NoReturn:
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await self.look_once()
                self._outage.over()
            except (*AWAY, TimeoutError) as error:
                self._outage.failed(error)
            except Exception:  # Whatever it is, the next look makes up for this one.
                log.exception("a look for what nobody published failed")
            # A look that takes long, as beside an old transaction, leaves the database alone for as long again.
            await asyncio.sleep(max(random.uniform(*LOOK_SECONDS), loop.time() - started))
