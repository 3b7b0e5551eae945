"""One lane per organization: whatever is waiting goes into one transaction together.

The row lock is held for one commit per batch and not per call. A batch that had company waits a few milliseconds for
more; one caller alone does not wait.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from services.ledger.committing import NotReplicated
from services.ledger.gathering import Gathering
from services.ledger.metrics import LedgerMetrics
from services.ledger.refusals import internal_error, outcome_unknown, too_many_waiting, unavailable
from services.ledger.rules import names
from services.ledger.rules.commands import ApplyOperations, Call
from services.ledger.rules.refusal import Reason, Refused
from services.ledger.store.database import Pool
from services.ledger.transaction import (
    Announce,
    Away,
    Busy,
    Commit,
    Unconfirmed,
    Verdict,
    Work,
    carry_out,
    was_committed,
)

log = logging.getLogger(__name__)

BATCH_CALLS_MAX: Final = 512
BATCH_OPERATIONS_MAX: Final = 2_000
QUEUE_CALLS_MAX: Final = 4_096
QUEUE_OPERATIONS_MAX: Final = 100_000
PACE_WEIGHT: Final = 0.3
"""Of the newest batch, in how long a batch takes."""
PACE_MARGIN: Final = 2.0
"""A batch may take longer than those before it, and a part of the caller's time is spent on the way."""
TOGETHER_OPERATIONS_MAX: Final = 16
"""More than that are worth a transaction of their own."""
COMPANY_SECONDS: Final = 0.005
COMPANY_CALLS_MIN: Final = 4
PATIENCE_SECONDS: Final = 5.0
"""So long a call waits for a lock or for the database before it is told to come again."""
COMMIT_PATIENCE_SECONDS: Final = 2.0
"""A commit that takes longer closes the lane for new calls."""
RETRY_SECONDS: Final = 0.02
RETRY_SECONDS_MAX: Final = 0.2


@dataclass(eq=False, slots=True)
class Ticket:
    """A call that waits for its verdict."""

    call: Call | None
    """None: settle what is due, nothing else."""
    expires_at: float
    """In the loop's time: whoever sent it waits no longer, so it is no longer to be carried out."""
    since: float
    verdict: asyncio.Future[Verdict | None]
    """None for one that only settles."""
    taken: bool = False
    """Its transaction has the lock: it may be carried out whether or not anybody still waits."""
    timer: asyncio.TimerHandle | None = None

    @property
    def weight(self) -> int:
        command = self.call.command if self.call else None
        return len(command.operations) if isinstance(command, ApplyOperations) else 1


class Lane:
    """The calls of one organization in this process, in the order in which they came."""

    def __init__(
        self,
        pool: Pool,
        gathering: Gathering,
        organization: str,
        announce: Announce,
        metrics: LedgerMetrics,
        when_idle: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._gathering = gathering
        self._organization = organization
        self._announce = announce
        self._metrics = metrics
        self._when_idle = when_idle
        self._queue: deque[Ticket] = deque()
        self._queued_operations = 0
        self._taken_at: float | None = None
        self._batch_seconds = 0.0
        """How long a batch takes, by those that were."""
        self._had_company = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def submit(self, ticket: Ticket) -> None:
        """Puts the ticket at the end of the queue, or raises Refused at once if the lane is full or stuck.

        It is full as well where the ticket's turn would come too late: a queue whose end nobody sees helps no one.
        """
        full = len(self._queue) >= QUEUE_CALLS_MAX or self._queued_operations >= QUEUE_OPERATIONS_MAX
        wait = self._wait_seconds()
        if full or (wait and self._now() + wait > ticket.expires_at):
            raise too_many_waiting(self._organization, len(self._queue))
        if self._taken_at is not None and self._now() - self._taken_at > PATIENCE_SECONDS + COMMIT_PATIENCE_SECONDS:
            raise unavailable(
                Reason.DATABASE_UNAVAILABLE, self._organization
            )  # An earlier commit is not confirmed yet.
        self._queue.append(ticket)
        self._queued_operations += ticket.weight
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    async def drained(self) -> None:
        """Returns when nothing is waiting or under way."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        try:
            while self._queue or self._had_company:
                if self._had_company:
                    await asyncio.sleep(COMPANY_SECONDS)
                batch = self._take()
                self._had_company = len(batch) >= COMPANY_CALLS_MIN
                if batch:
                    self._taken_at = self._now()
                    await self._run(batch)
                    self._batch_seconds += PACE_WEIGHT * (self._now() - self._taken_at - self._batch_seconds)
                    self._taken_at = None
        finally:
            self._taken_at = None
            self._task = None
            self._when_idle(self._organization)

    def _wait_seconds(self) -> float:
        """How long the next ticket's answer would take; 0 as long as less than a whole batch is ahead of it."""
        batches = max(len(self._queue) // BATCH_CALLS_MAX, self._queued_operations // BATCH_OPERATIONS_MAX)
        return (batches + 1) * self._batch_seconds * PACE_MARGIN if batches else 0.0

    def _take(self) -> list[Ticket]:
        """The next batch; what nobody waits for any more is dropped, unapplied."""
        batch: list[Ticket] = []
        weight = 0
        while self._queue and len(batch) < BATCH_CALLS_MAX and weight < BATCH_OPERATIONS_MAX:
            ticket = self._queue.popleft()
            self._queued_operations -= ticket.weight
            if self._is_wanted(ticket):
                batch.append(ticket)
                weight += ticket.weight
        return batch

    async def _run(self, batch: list[Ticket]) -> None:
        """Until every ticket of the batch has its verdict, or has run out of patience."""
        pause = RETRY_SECONDS
        while batch:
            try:
                await self._attempt(batch)
                return
            except (Busy, Away) as error:
                batch = self._still_patient(batch, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_SECONDS_MAX)
            except NotReplicated as error:
                log.error("%s: committed without its standby: %s", self._organization, error)
                self._refuse(batch, outcome_unknown(names.organization_name(self._organization)))
                return
            except Exception:
                log.exception("%s: a batch of %d failed", self._organization, len(batch))
                if len(batch) == 1:
                    self._refuse(batch, internal_error())
                    return
                for ticket in batch:  # One of them is poison: alone, it fails alone.
                    await self._run([ticket])
                return

    async def _attempt(self, batch: list[Ticket]) -> None:
        """Carries out what is still wanted of the batch once the lock is granted, and delivers the verdicts."""
        claimed: list[Ticket] = []
        claimed_at = 0.0

        def claim() -> list[Call]:
            nonlocal claimed_at
            claimed[:] = [ticket for ticket in batch if self._is_wanted(ticket)]
            claimed_at = self._now()
            for ticket in claimed:
                ticket.taken = True
            return _calls(claimed)

        try:
            work = Work(self._organization, _calls(batch), claim)
            verdicts = await self._gathering.carry_out(work) if _weight(batch) <= TOGETHER_OPERATIONS_MAX else None
            if verdicts is None:
                _release(claimed)
                verdicts = await carry_out(self._pool, work, self._announce, self._metrics.transactions)
        except Unconfirmed as unconfirmed:
            log.warning("%s: connection lost during commit; looking it up", self._organization)
            with self._metrics.commits_unconfirmed.track_inprogress():
                happened = await self._look_up(unconfirmed.commit)
            if not happened:
                _release(claimed)
                raise Busy("the commit did not happen") from unconfirmed
            verdicts = unconfirmed.commit.verdicts
            self._announce(unconfirmed.commit.balance)
        except NotReplicated:
            raise
        except Exception:
            _release(claimed)
            raise
        self._metrics.batch_calls.observe(len(claimed))
        for ticket in claimed:
            self._metrics.wait_seconds.observe(claimed_at - ticket.since)
        _deliver(claimed, verdicts)

    async def _look_up(self, commit: Commit) -> bool:
        """For as long as it takes: nothing else may be done in this lane before it is known."""
        while True:
            try:
                return await was_committed(self._pool, commit, self._metrics.transactions)
            except Exception:
                log.debug("%s: looking the commit up failed", self._organization, exc_info=True)
                await asyncio.sleep(RETRY_SECONDS_MAX)

    def _still_patient(self, batch: list[Ticket], error: Busy | Away) -> list[Ticket]:
        """Nothing was changed: those that waited long enough are told so, the others are tried again."""
        reason = Reason.LOCK_TIMEOUT if isinstance(error, Busy) else Reason.DATABASE_UNAVAILABLE
        now = self._now()
        impatient = [each for each in batch if now >= min(each.since + PATIENCE_SECONDS, each.expires_at)]
        if impatient:
            log.warning("%s: %d calls waited in vain: %s (%s)", self._organization, len(impatient), reason, error)
            self._refuse(impatient, unavailable(reason, self._organization))
        return [each for each in batch if self._is_wanted(each)]

    def _is_wanted(self, ticket: Ticket) -> bool:
        return not ticket.verdict.done() and ticket.expires_at > self._now()

    def _refuse(self, batch: Sequence[Ticket], refused: Refused) -> None:
        for ticket in batch:
            if not ticket.verdict.done():
                ticket.verdict.set_result(refused)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _calls(batch: Sequence[Ticket]) -> list[Call]:
    return [ticket.call for ticket in batch if ticket.call]


def _weight(batch: Sequence[Ticket]) -> int:
    return sum(ticket.weight for ticket in batch)


def _release(claimed: Sequence[Ticket]) -> None:
    """Nothing of it was carried out."""
    for ticket in claimed:
        ticket.taken = False


def _deliver(claimed: Sequence[Ticket], verdicts: Sequence[Verdict]) -> None:
    remaining = iter(verdicts)
    for ticket in claimed:
        verdict = next(remaining) if ticket.call else None
        if not ticket.verdict.done():
            ticket.verdict.set_result(verdict)
