"""One organization's transaction: lock, settle if due, read, decide, write, commit."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from services.ledger.committing import CommitLost, NotReplicated, commit, roll_back
from services.ledger.metrics import TransactionMetrics
from services.ledger.opening import open_book, read_rows_of, sum_up_usage, write_book
from services.ledger.rules.answers import Answer, Balance
from services.ledger.rules.book import Book, NotLoaded, Shelf
from services.ledger.rules.commands import Call
from services.ledger.rules.decide import decide
from services.ledger.rules.model import Organization
from services.ledger.rules.refusal import Refused
from services.ledger.rules.settle import settle
from services.ledger.store import reads
from services.ledger.store.book_rows import BookRows
from services.ledger.store.database import AWAY, Connection, Pool, pooled

log = logging.getLogger(__name__)

POOL_WAIT_SECONDS: Final = 5.0
SETTLING_ROUNDS_MAX: Final = 100
"""More can only come due meanwhile if time runs; that it does not end is a bug."""

Verdict = Answer | Refused

Claim = Callable[[], Sequence[Call]]
"""Asked once the lock is granted and nothing is due: which calls of the batch are still to be carried out."""


@dataclass(frozen=True, slots=True)
class Work:
    """Calls to one organization. Those claimed are carried out."""

    organization: str
    calls: Sequence[Call]
    claim: Claim


Announce = Callable[[Balance], None]
"""Told the figures after each commit that wrote entries. It neither waits nor raises."""


class Busy(Exception):
    """The organization's lock, or a connection, was not to be had in time. Nothing was changed."""


class Away(Exception):
    """The database cannot be reached. Nothing was changed."""


class Unconfirmed(Exception):
    """The connection was lost during the commit: whether it happened is to be looked up."""

    def __init__(self, commit: "Commit") -> None:
        super().__init__(f"{commit.organization} from revision {commit.first_revision}")
        self.commit = commit


@dataclass(frozen=True, slots=True)
class Commit:
    """How to find out whether a transaction was committed: by the digest of its first entry."""

    organization: str
    first_revision: int
    first_digest: bytes
    verdicts: list[Verdict]
    balance: Balance
    """After it."""
    until: datetime | None
    """Not locked before it was sent, it may still arrive until then; None if the lock was had."""


async def carry_out(pool: Pool, work: Work, announce: Announce, metrics: TransactionMetrics) -> list[Verdict]:
    """The verdict of each claimed call, after the commit of all that were accepted. One refusal fails no neighbour.

    What is due is settled and committed first. Raises Busy, Away, Unconfirmed or NotReplicated.
    """
    async with ledger_connection(pool, metrics) as connection:
        for _ in range(SETTLING_ROUNDS_MAX):
            verdicts = await _try_to_carry_out(connection, work, announce, metrics)
            if verdicts is not None:
                return verdicts
            await settle_organization(connection, work.organization, announce, metrics)
    raise RuntimeError(f"{work.organization}: settling it changes nothing of what is due")


@asynccontextmanager
async def ledger_connection(pool: Pool, metrics: TransactionMetrics) -> AsyncIterator[Connection]:
    """As `pooled`, with the failures that are nobody's fault as Busy or Away."""
    try:
        with metrics.asking():
            async with pooled(pool, wait_seconds=POOL_WAIT_SECONDS) as connection:
                yield connection
    except asyncpg.LockNotAvailableError as error:
        raise Busy(str(error)) from error
    except (*AWAY, TimeoutError) as error:
        raise Away(str(error) or "no connection was to be had in time") from error


async def settle_organization(
    connection: Connection,
    organization: str,
    announce: Announce,
    metrics: TransactionMetrics,
    *,
    skip_if_locked: bool = False,
) -> bool:
    """Applies and commits everything that is due; False if there was nothing to do.

    Losing the connection during the commit does no harm: what is due then is still due, or settled. Raises Away.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        lock = reads.lock_organization_if_free if skip_if_locked else reads.lock_organization
        with metrics.lock_wait_seconds.time():
            locked = await lock(connection, organization)
        book, now = None, None
        if locked:
            rows = await read_rows_of(connection, organization, ())
            now, state = rows.never_earlier, rows.known_state
            await _keep_usage(connection, state)
            book = await _settle_and_write(connection, state, rows, now) if state.is_due(now) else None
    except BaseException:
        await roll_back(transaction)
        raise
    try:
        with metrics.committing():
            await commit(connection, transaction)
    except (CommitLost, NotReplicated) as error:
        raise Away(str(error)) from error
    if book is None or now is None:
        return False
    announce(book.balance(now))
    metrics.settled_organizations.inc()
    metrics.settled_entries.inc(len(book.entries))
    return True


async def decide_all(
    connection: Connection, organization: str, rows: BookRows, calls: Sequence[Call], now: datetime
) -> tuple[Book, list[Verdict]]:
    """Each call's verdict, one after the other, in a book that nobody has written yet. The rows are those they need."""
    shelves: frozenset[Shelf] = frozenset()
    while True:
        book = await open_book(connection, organization, rows.state, rows, shelves, Book)
        try:
            if shelves:  # It may be long, and others have calls to answer.
                return book, await asyncio.to_thread(verdicts_of, book, organization, calls, now)
            return book, verdicts_of(book, organization, calls, now)
        except NotLoaded as missing:
            shelves |= {missing.shelf}


async def was_committed(pool: Pool, lost: Commit, metrics: TransactionMetrics) -> bool:
    """Looks under the organization's row lock, so that a commit that is still on its way is waited for.

    The look itself is committed, which waits for the standby: what it saw is there to stay. Raises Busy or Away, and
    what `commit` raises: then it is not known yet. Busy as well where what is not there may still arrive.
    """
    async with ledger_connection(pool, metrics) as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await _lock(connection, lost.organization)
            digest = await reads.read_entry_digest(connection, lost.organization, lost.first_revision)
            if digest is None and lost.until is not None and await reads.read_now(connection) <= lost.until:
                raise Busy("it may still be on its way")
        except BaseException:
            await roll_back(transaction)
            raise
        with metrics.committing():
            await commit(connection, transaction)
        return digest == lost.first_digest


async def _settle_and_write(connection: Connection, state: Organization, rows: BookRows, now: datetime) -> Book:
    shelves: frozenset[Shelf] = frozenset()
    while True:
        book = await open_book(connection, state.organization, state, rows, shelves, Book)
        try:
            if shelves:  # It may be long, and others have calls to answer.
                await asyncio.to_thread(settle, book, now)
            else:
                settle(book, now)
        except NotLoaded as missing:
            shelves |= {missing.shelf}
            continue
        await write_book(connection, book, existed=True, now=now)
        return book


async def _keep_usage(connection: Connection, state: Organization | None) -> None:
    """Makes the sums of usage anew where a release wrote that does not keep them."""
    if state is not None and not state.usage_is_kept:
        await sum_up_usage(connection, state.organization)


async def _try_to_carry_out(
    connection: Connection, work: Work, announce: Announce, metrics: TransactionMetrics
) -> list[Verdict] | None:
    """None: something is due and has to be settled first."""
    organization = work.organization
    transaction = connection.transaction()
    await transaction.start()
    try:
        with metrics.lock_wait_seconds.time():
            await _lock(connection, organization)
        rows = await read_rows_of(connection, organization, work.calls)
        now, state = rows.never_earlier, rows.state
        if state is not None and state.is_due(now):
            await transaction.rollback()
            return None
        await _keep_usage(connection, state)
        book, verdicts = await decide_all(connection, organization, rows, work.claim(), now)
        await write_book(connection, book, existed=state is not None, now=now)
    except BaseException:
        await roll_back(transaction)
        raise
    await _commit(connection, transaction, book, verdicts, now, metrics)
    if book.entries:
        announce(book.balance(now))
    return verdicts


def verdicts_of(book: Book, organization: str, calls: Sequence[Call], now: datetime) -> list[Verdict]:
    return [_verdict(book, organization, call, now) for call in calls]


def _verdict(book: Book, organization: str, call: Call, now: datetime) -> Verdict:
    try:
        return decide(book, organization, call, now)
    except Refused as refused:
        return refused


async def _lock(connection: Connection, organization: str) -> None:
    """Locks the organization; if there is none, nobody else creates it meanwhile."""
    if not await reads.lock_organization(connection, organization):
        await reads.lock_absent_organization(connection, organization)
        await reads.lock_organization(connection, organization)


async def _commit(
    connection: Connection,
    transaction: asyncpg.transaction.Transaction,
    book: Book,
    verdicts: list[Verdict],
    now: datetime,
    metrics: TransactionMetrics,
) -> None:
    try:
        with metrics.committing():
            await commit(connection, transaction)
    except CommitLost as error:
        raise lost_commit(book, verdicts, now, str(error)) from error


def lost_commit(
    book: Book, verdicts: list[Verdict], now: datetime, why: str, until: datetime | None = None
) -> "Away | Unconfirmed":
    """What to make of it where the connection was lost during the commit of the book; `until` is the Commit's."""
    if not book.entries:  # Carried out or not, carrying it out again comes to the same.
        return Away(why)
    first = book.entries[0]
    return Unconfirmed(Commit(first.organization, first.revision, first.digest, verdicts, book.balance(now), until))
