"""The expiry worker's work: settling what is due, and removing request ids past their time.

Any number of workers run side by side without a leader: each reads which organizations are due, then takes each in a
transaction of its own and passes over those that somebody else has locked.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.expiry.metrics import ExpiryMetrics
from services.ledger.store import due
from services.ledger.store.database import Connection, Pool
from services.ledger.together import settle_together
from services.ledger.transaction import Announce, Away, Busy, ledger_connection, settle_organization

log = logging.getLogger(__name__)

ORGANIZATIONS_PER_BATCH: Final = 500
ORGANIZATIONS_TOGETHER: Final = 50
"""In one transaction, which keeps them locked for some ten milliseconds."""
REQUESTS_PER_BATCH: Final = 5_000
FAILURE_PAUSE_SECONDS: Final = 1.0
FAILURE_PAUSE_SECONDS_MAX: Final = 300.0
MEASURING_SECONDS: Final = 1.0
"""At least so long between two looks at how late we are."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What one batch did."""

    settled: int
    requests_removed: int
    full: bool
    """There may be more to do at once."""


class Sweeper:
    """Does one bounded batch at a time. An organization that fails is left alone for a while, longer each time."""

    def __init__(
        self,
        pool: Pool,
        *,
        request_id_lifetime: timedelta,
        connections: int,
        announce: Announce = lambda _: None,
        metrics: ExpiryMetrics | None = None,
    ) -> None:
        """Without metrics nothing is measured."""
        self._pool = pool
        self._metrics = metrics or ExpiryMetrics()
        self._measured_at = -MEASURING_SECONDS
        self._announce = announce
        self._request_id_lifetime = request_id_lifetime
        self._connections = connections
        self._resting: dict[str, tuple[float, float]] = {}
        self._passed_over: set[str] = set()

    async def run_once(self) -> Swept:
        """Settles up to 500 organizations and removes up to 5,000 request ids of each table; raises Busy or Away."""
        try:
            swept = await self._sweep()
        except Exception:
            self._metrics.sweep_failures.inc()
            raise
        self._metrics.sweeps.inc()
        self._metrics.request_ids_removed.inc(swept.requests_removed)
        return swept

    async def _sweep(self) -> Swept:
        async with self._connection() as connection:
            await self._measure(connection)
            at_rest = self._at_rest()
            self._metrics.resting_organizations.set(len(at_rest))
            excluded = [*at_rest, *self._passed_over]
            organizations = await due.due_organizations(connection, excluded, ORGANIZATIONS_PER_BATCH)
        settled = await self._settle_all(organizations)
        more = len(organizations) == ORGANIZATIONS_PER_BATCH
        if not more:
            self._passed_over.clear()  # The next sweep looks at them again.
        async with self._connection() as connection:
            before = await due.now_minus(connection, self._request_id_lifetime)
            removed = await due.remove_requests(connection, before, REQUESTS_PER_BATCH)
            of_catalog = await due.remove_catalog_requests(connection, before, REQUESTS_PER_BATCH)
        full = more or REQUESTS_PER_BATCH in (removed, of_catalog)
        return Swept(settled, removed + of_catalog, full)

    async def _measure(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._measured_at >= MEASURING_SECONDS:
            self._measured_at = now
            self._metrics.oldest_due_seconds.set(await due.oldest_due_seconds(connection))

    async def _settle_all(self, organizations: Sequence[str]) -> int:
        remaining = _batches(organizations)

        async def work() -> int:
            return sum([await self._settle_some(each) for each in remaining])

        async with asyncio.TaskGroup() as group:
            works = [group.create_task(work()) for _ in range(self._connections)]
        return sum(each.result() for each in works)

    async def _settle_some(self, organizations: Sequence[str]) -> int:
        """Together those that can be, in one transaction; then each of the others alone."""
        try:
            async with self._connection() as connection:
                settled = await settle_together(connection, organizations, self._announce, self._metrics.transactions)
        except (Busy, Away) as error:
            log.warning("%d organizations are not settled now: %s", len(organizations), error)
            self._passed_over.update(organizations)
            return 0
        except Exception:
            log.exception("settling %d organizations together failed; each is settled alone", len(organizations))
            settled = frozenset()
        for each in settled:
            self._resting.pop(each, None)
        alone = [await self._settle(each) for each in organizations if each not in settled]
        return len(settled) + sum(alone)

    async def _settle(self, organization: str) -> bool:
        try:
            async with self._connection() as connection:
                done = await settle_organization(
                    connection, organization, self._announce, self._metrics.transactions, skip_if_locked=True
                )
        except (Busy, Away) as error:
            log.warning("%s: not settled now: %s", organization, error)
            self._passed_over.add(organization)
            return False
        except Exception:
            _, pause = self._resting.get(organization, (0.0, FAILURE_PAUSE_SECONDS / 2))
            pause = min(pause * 2, FAILURE_PAUSE_SECONDS_MAX)
            self._resting[organization] = (asyncio.get_running_loop().time() + pause, pause)
            log.exception("%s: settling failed; leaving it alone for %s s", organization, pause)
            return False
        self._resting.pop(organization, None)
        if not done:  # Somebody else has it, or had it.
            self._passed_over.add(organization)
        return done

    def _connection(self) -> AbstractAsyncContextManager[Connection]:
        return ledger_connection(self._pool, self._metrics.transactions)

    def _at_rest(self) -> list[str]:
        now = asyncio.get_running_loop().time()
        return [organization for organization, (until, _) in self._resting.items() if until > now]


def _batches(organizations: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(organizations), ORGANIZATIONS_TOGETHER):
        yield organizations[start : start + ORGANIZATIONS_TOGETHER]
