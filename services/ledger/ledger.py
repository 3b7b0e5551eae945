"""The ledger as its users see it: changes go through the organizations' lanes, reads find everything settled."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from services.ledger.catalog import decide_catalog
from services.ledger.catalog_lane import CatalogLane
from services.ledger.checking import Checks
from services.ledger.foreseeing import check_not_past, open_draft, reckon, turn
from services.ledger.gathering import Gathering
from services.ledger.lane import Lane, Ticket
from services.ledger.metrics import LedgerMetrics
from services.ledger.opening import read_rows_of
from services.ledger.refusals import outcome_unknown, too_many_waiting, unavailable
from services.ledger.rules import names
from services.ledger.rules.answers import Answer, Balance
from services.ledger.rules.cataloguing import CatalogCommand
from services.ledger.rules.commands import Call
from services.ledger.rules.forecasting import Draft, Forecast
from services.ledger.rules.looking import Interval, UsageStep
from services.ledger.rules.price import Offering
from services.ledger.rules.refusal import Reason, Refused, organization_not_found
from services.ledger.store import reads, snapshots
from services.ledger.store.changes import read_earliest_writer
from services.ledger.store.database import AWAY, Connection, Pool, pooled
from services.ledger.store.usage_reads import EntitlementRows, read_entitlements
from services.ledger.together import DECIDED_WITHIN
from services.ledger.transaction import Announce, decide_all

log = logging.getLogger(__name__)

WAITING_CALLS_MAX: Final = 16_384
"""In all lanes of this process."""

CHECK_SECONDS_MAX: Final = 5.0
"""For a read of entitlements, and for settling before it, whoever waits for it."""


class Ledger:
    """Everything that can be asked of and done to organizations and the catalogue, over one pool of connections."""

    def __init__(self, pool: Pool, announce: Announce = lambda _: None, metrics: LedgerMetrics | None = None) -> None:
        """Without metrics nothing is measured."""
        self._pool = pool
        self._announce = announce
        self._metrics = metrics or LedgerMetrics()
        self._metrics.count_lanes(lambda: self._waiting, self._deepest)
        self._lanes: dict[str, Lane] = {}
        self._gathering = Gathering(pool, announce, self._metrics.transactions)
        self._waiting = 0
        self._catalog = CatalogLane(pool)
        self._forecasting = asyncio.Lock()
        self._checks = Checks(self._read_entitlements)

    async def change(self, organization: str, call: Call, seconds: float) -> Answer:
        """Carries the call out and returns its answer, or raises Refused; within about `seconds`."""
        verdict = await self._verdict(organization, call, seconds)
        if isinstance(verdict, Refused):
            raise verdict
        assert verdict is not None  # As there is for every call.
        return verdict

    async def change_each(self, organization: str, calls: Sequence[Call], seconds: float) -> list[Answer | Refused]:
        """Carries the calls out in order, each with a verdict of its own; within about `seconds`."""
        verdicts = await self._verdicts(organization, calls, seconds)
        return [each for each in verdicts if each is not None]

    async def rehearse(self, organization: str, calls: Sequence[Call], seconds: float) -> list[Answer | Refused]:
        """What would become of the calls, one after the other; changes nothing and neither reads nor keeps ids.

        What is due is settled all the same, before.
        """
        rehearsed = [replace(call, request_id="") for call in calls]
        left = _time_left(seconds)
        while True:
            async with self._reading(left()) as connection:
                rows = await read_rows_of(connection, organization, rehearsed)
                if rows.state is None or not rows.state.is_due(rows.now):
                    _, verdicts = await decide_all(connection, organization, rows, rehearsed, rows.never_earlier)
                    return verdicts
            await self.settle(organization, left())

    async def settle(self, organization: str, seconds: float) -> None:
        """Has everything that is due applied; returns when it is."""
        verdict = await self._verdict(organization, None, seconds)
        if isinstance(verdict, Refused):
            raise verdict

    async def change_catalog(
        self, command: CatalogCommand, *, request_id: str, validate_only: bool, seconds: float
    ) -> tuple[Offering, datetime]:
        """The offering after the command, and as of when; within about `seconds`. Raises Refused."""
        if not validate_only:
            return await self._catalog.change(command, request_id, seconds)
        async with self._reading(seconds) as connection:
            change = await decide_catalog(connection, command)
        return change.after, change.as_of

    @asynccontextmanager
    async def snapshot(self, organization: str | None, seconds: float) -> AsyncIterator[snapshots.Snapshot]:
        """One consistent view of one organization, settled up to now, or of all (None), where nothing is settled.

        Raises Refused with ORGANIZATION_NOT_FOUND.
        """
        left = _time_left(seconds)
        while True:
            async with self._reading(left()) as connection:
                snapshot = await snapshots.open_snapshot(connection, organization)
                if snapshot.is_settled:
                    yield snapshot
                    return
            assert organization is not None
            await self.settle(organization, left())

    async def history(self, organization: str, interval: Interval, seconds: float) -> tuple[list[UsageStep], datetime]:
        """The steps of the interval that begin no later than now, and now. What is over never changes again.

        A call that is under way may have read the clock before a step ended, and be committed after. So where somebody
        is still writing since before the last step ended, whoever has the organization's row is waited for; and that
        is DECIDED_WITHIN after the step, since whoever locks the row may have read the clock so long before.
        """
        left = _time_left(seconds)
        async with self._connected(left()) as connection:
            # What the snapshot will not show takes effect at `certain` or later: whoever is not writing yet reads the
            # clock after us.
            certain = await reads.read_now(connection)
            certain = min(certain, await read_earliest_writer(connection) or certain) - DECIDED_WITHIN
        while True:
            async with self.snapshot(organization, left()) as snapshot:
                state, as_of = snapshot.one_organization()
                over_by = interval.over_by(as_of)
                if over_by <= max(certain, state.settled_time, interval.start):
                    return await snapshot.history(interval, as_of), as_of
            certain = as_of - DECIDED_WITHIN
            if over_by > certain:
                await asyncio.sleep(min(left(), (over_by - certain).total_seconds()))
            await self.settle(organization, left())

    async def forecast(self, organization: str, until: datetime, seconds: float) -> tuple[Balance, Forecast]:
        """The figures now, and what time alone will make of them. One at a time: a long one fills a processor."""
        left = _time_left(seconds)
        async with turn(self._forecasting, organization, left()):
            draft, now = await self._draft(organization, until, left)
            balance = draft.balance(now)
            return balance, await reckon(draft, until, left())

    async def entitlements(
        self, organization: str, offerings: Sequence[str], allocations: Sequence[str], seconds: float
    ) -> EntitlementRows:
        """What entitlements to these are judged by, as of now."""
        try:
            async with asyncio.timeout(seconds):
                return await self._checks.rows(organization, offerings, allocations)
        except TimeoutError as error:
            raise unavailable(Reason.LOCK_TIMEOUT, organization) from error

    async def drained(self) -> None:
        """Returns when no change is waiting or under way."""
        while self._lanes:
            await asyncio.gather(*(lane.drained() for lane in list(self._lanes.values())))
        await self._catalog.drained()

    async def _draft(self, organization: str, until: datetime, left: Callable[[], float]) -> tuple[Draft, datetime]:
        """What a forecast is reckoned in, and now."""
        while True:
            async with self._reading(left()) as connection:
                rows = await read_rows_of(connection, organization, ())
                state, now = rows.state, rows.never_earlier
                if state is None:
                    raise organization_not_found(organization)
                if not state.is_due(rows.now):
                    check_not_past(until, now)
                    return await open_draft(connection, replace(state, settled_time=now), rows, until), now
            await self.settle(organization, left())

    async def _read_entitlements(
        self, organization: str, offerings: Sequence[str], allocations: Sequence[str]
    ) -> EntitlementRows:
        while True:
            async with self._connected(CHECK_SECONDS_MAX) as connection:
                rows = await read_entitlements(connection, organization, offerings, allocations)
            if rows is None:
                raise organization_not_found(organization)
            if not rows.needs_settling:
                return rows
            await self.settle(organization, CHECK_SECONDS_MAX)

    @asynccontextmanager
    async def _reading(self, seconds: float) -> AsyncIterator[Connection]:
        """One snapshot for all statements of the block, which is given up after so many seconds."""
        async with (
            self._connected(seconds) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    @asynccontextmanager
    async def _connected(self, seconds: float) -> AsyncIterator[Connection]:
        """A connection to read on, which is given up after so many seconds."""
        try:
            with self._metrics.transactions.asking():
                async with asyncio.timeout(seconds), pooled(self._pool, wait_seconds=seconds) as connection:
                    yield connection
        except (*AWAY, TimeoutError) as error:
            log.warning("a read was given up: the database cannot be reached or is slow: %s", str(error) or "no answer")
            text = "the database cannot be reached, or did not answer in time; try again in a moment"
            raise Refused(Reason.DATABASE_UNAVAILABLE, text) from error

    async def _verdict(self, organization: str, call: Call | None, seconds: float) -> Answer | Refused | None:
        """None for one that only settles. Whoever is cancelled meanwhile waits no longer."""
        ticket = self._submitted(organization, call, seconds)
        try:
            return await ticket.verdict
        finally:
            self._left(ticket)

    async def _verdicts(
        self, organization: str, calls: Sequence[Call], seconds: float
    ) -> list[Answer | Refused | None]:
        """As `_verdict`, of each."""
        tickets = [self._submitted(organization, call, seconds) for call in calls]
        try:
            return [await ticket.verdict for ticket in tickets]
        finally:
            for ticket in tickets:
                self._left(ticket)

    def _submitted(self, organization: str, call: Call | None, seconds: float) -> Ticket:
        """A ticket that gets its verdict within about `seconds`, whatever comes."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        ticket = Ticket(call, now + seconds, now, loop.create_future())
        # A timer and the bare future: `timeout` and `shield` would cost every call more than its rules do.
        ticket.timer = loop.call_at(ticket.expires_at, _give_up, organization, ticket)
        self._waiting += 1
        self._submit(organization, ticket)
        return ticket

    def _left(self, ticket: Ticket) -> None:
        """Nobody waits for it any more."""
        self._waiting -= 1
        if ticket.timer is not None:
            ticket.timer.cancel()
        ticket.verdict.cancel()

    def _deepest(self) -> int:
        return max(map(len, self._lanes.copy().values()), default=0)

    def _submit(self, organization: str, ticket: Ticket) -> None:
        try:
            if self._waiting > WAITING_CALLS_MAX:
                raise too_many_waiting(organization, self._waiting)
            lane = self._lanes.get(organization)
            if lane is None:
                lane = self._lanes[organization] = Lane(
                    self._pool, self._gathering, organization, self._announce, self._metrics, self._forget
                )
            lane.submit(ticket)
        except Refused as refused:
            ticket.verdict.set_result(refused)

    def _forget(self, organization: str) -> None:
        lane = self._lanes.get(organization)
        if lane is not None and not len(lane):
            del self._lanes[organization]


def _give_up(organization: str, ticket: Ticket) -> None:
    if not ticket.verdict.done():
        unknown = ticket.taken and ticket.call
        name = names.organization_name(organization)
        refused = outcome_unknown(name) if unknown else unavailable(Reason.LOCK_TIMEOUT, organization)
        ticket.verdict.set_result(refused)


def _time_left(seconds: float) -> Callable[[], float]:
    """Asked again and again: what is left of so many seconds, from now."""
    end = asyncio.get_running_loop().time() + seconds
    return lambda: max(0.0, end - asyncio.get_running_loop().time())
