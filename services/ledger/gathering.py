"""Lanes that have little to do share transactions: whoever waits goes together once a transaction ends.

A few run at a time. Alone, a lane's batch goes at once; the more lanes there are, the more go together.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from services.ledger.metrics import TransactionMetrics
from services.ledger.store.database import Pool
from services.ledger.together import Outcome, carry_out_together
from services.ledger.transaction import Announce, Away, Busy, Verdict, Work

log = logging.getLogger(__name__)

TRANSACTIONS_MAX: Final = 2
"""While one is on its way to the disk, the next one is read and decided."""
ORGANIZATIONS_MAX: Final = 64
CALLS_MAX: Final = 256
COMPANY_SECONDS: Final = 0.005
COMPANY_MIN: Final = 4
"""Organizations in a transaction, after which the next one waits for a moment for more."""
SLOW_SECONDS: Final = 1.0
"""While all transactions take longer, nobody waits for one: a connection may be dead, and the next one is not."""


Waiting: TypeAlias = tuple[Work, "asyncio.Future[list[Verdict] | None]"]
"""And where its verdicts go."""


class Gathering:
    """The lanes of one process."""

    def __init__(self, pool: Pool, announce: Announce, metrics: TransactionMetrics) -> None:
        self._pool = pool
        self._announce = announce
        self._metrics = metrics
        self._waiting: deque[Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._working = 0
        self._slow: set[object] = set()
        """The transactions that take longer than SLOW_SECONDS."""

    async def carry_out(self, work: Work) -> list[Verdict] | None:
        """The verdicts after the commit; None if the work has to be carried out alone, and nothing was done.

        Of each organization one work at a time. Raises Busy, Away, Unconfirmed or NotReplicated.
        """
        if len(self._slow) >= TRANSACTIONS_MAX:
            return None
        verdicts: asyncio.Future[list[Verdict] | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, verdicts))
        if self._working < TRANSACTIONS_MAX:
            self._working += 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await verdicts

    async def _work(self) -> None:
        had_company = False
        try:
            while self._waiting or had_company:
                if had_company:
                    await asyncio.sleep(COMPANY_SECONDS)
                together = self._take()
                had_company = len(together) >= COMPANY_MIN
                with self._watched():
                    outcomes = await self._carry_out([work for work, _ in together])
                _deliver(together, outcomes)
        finally:
            self._working -= 1  # At once: whoever comes before the task is seen to be done needs another one.

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Whether what the block does is slow."""
        transaction = object()
        timer = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._is_slow, transaction)
        try:
            yield
        finally:
            timer.cancel()
            self._slow.discard(transaction)

    def _is_slow(self, transaction: object) -> None:
        self._slow.add(transaction)
        if len(self._slow) >= TRANSACTIONS_MAX:
            waiting = list(self._waiting)
            self._waiting.clear()
            _deliver(waiting, [None] * len(waiting))

    def _take(self) -> list[Waiting]:
        taken: list[Waiting] = []
        calls = 0
        while self._waiting and len(taken) < ORGANIZATIONS_MAX and calls < CALLS_MAX:
            taken.append(self._waiting.popleft())
            calls += len(taken[-1][0].calls)
        return taken

    async def _carry_out(self, works: Sequence[Work]) -> Sequence[Outcome]:
        if not works:
            return []
        try:
            return await carry_out_together(self._pool, works, self._announce, self._metrics)
        except (Busy, Away):
            pass  # Alone, each waits as long as its callers do.
        except Exception:
            log.exception("%d organizations failed together; each is done alone", len(works))
        return [None] * len(works)


def _deliver(together: Sequence[Waiting], outcomes: Sequence[Outcome]) -> None:
    for (_, verdicts), outcome in zip(together, outcomes, strict=True):
        if verdicts.cancelled():
            continue
        if isinstance(outcome, Exception):
            verdicts.set_exception(outcome)
        else:
            verdicts.set_result(outcome)
