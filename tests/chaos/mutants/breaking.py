"""How each mutant breaks the code. Every function changes this process for good: it is good for nothing else then.

The database guards much of what the code promises by constraints of its own. A mutant that these would only make fail
comes with the SQL that takes them away: the checker has to find it by itself.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final

import asyncpg
from msgspec.structs import replace

from services.ledger import committing, lane, ledger, opening, transaction
from services.ledger.refusals import unavailable
from services.ledger.rules import covering, decide, settle
from services.ledger.rules.answers import Answer
from services.ledger.rules.book import Book, Moment, Remembered
from services.ledger.rules.commands import Call, meaning
from services.ledger.rules.consequences import no_longer_fitting, suspend
from services.ledger.rules.model import Figures, Organization, Subscription, SubscriptionState
from services.ledger.rules.refusal import Reason
from services.ledger.store import reads, writes
from services.ledger.store.book_rows import BookRows
from services.ledger.store.database import Connection, Pool
from services.ledger.store.writes import Changes
from services.notices.publisher import Publisher

IMPATIENCE_SECONDS: Final = 0.5
calls_to_come: ContextVar[Sequence[Call]] = ContextVar("calls_to_come", default=())
read_early: ContextVar[BookRows | None] = ContextVar("read_early", default=None)


def _put(owner: Any, name: str, value: Any) -> None:
    """Raises AttributeError where there is nothing of that name to be broken."""
    getattr(owner, name)
    setattr(owner, name, value)


def _one_transaction_for_each_organization() -> None:
    """What is decided before the lock is left out: these faults are of the transaction that locks first."""
    _put(lane, "TOGETHER_OPERATIONS_MAX", 0)


def no_row_lock() -> None:
    """Whoever changes an organization reads it without locking it."""

    async def exists(connection: Connection, organization: str) -> bool:
        return await reads.read_organization_and_now(connection, organization) is not None

    _one_transaction_for_each_organization()
    _put(reads, "lock_organization", exists)


def read_before_lock() -> None:
    """The rows that a decision rests on are read before the lock is waited for."""
    _one_transaction_for_each_organization()
    attempt, lock, read = transaction._try_to_carry_out, transaction._lock, opening.read_rows_of

    async def noting(connection: Connection, work: transaction.Work, *others: Any) -> Any:
        calls_to_come.set(work.calls)
        return await attempt(connection, work, *others)

    async def reading_first(connection: Connection, organization: str) -> None:
        read_early.set(await read(connection, organization, calls_to_come.get()))
        await lock(connection, organization)

    async def read_already(connection: Connection, organization: str, calls: Sequence[Call]) -> BookRows:
        early = read_early.get()
        read_early.set(None)
        return early or await read(connection, organization, calls)

    _put(transaction, "_try_to_carry_out", noting)
    _put(transaction, "_lock", reading_first)
    _put(transaction, "read_rows_of", read_already)


def revision_from_a_sequence() -> None:
    """Each transaction takes its numbers from a sequence, which neither waits nor rolls back."""
    _one_transaction_for_each_organization()
    read = opening.read_rows_of

    async def numbered(connection: Connection, organization: str, calls: Sequence[Call]) -> BookRows:
        rows = await read(connection, organization, calls)
        if rows.state is None:
            return rows
        number: int = await connection.fetchval("SELECT nextval('mutant_revision')")
        state = replace(rows.state, revision=max(number, rows.state.revision))
        return dataclasses.replace(rows, state=state)

    _put(transaction, "read_rows_of", numbered)


def notice_before_commit() -> None:
    """The notice goes out as soon as the entries are written."""
    _one_transaction_for_each_organization()
    publishers: list[Publisher] = []
    begin, write = Publisher.__aenter__, opening.write_book

    async def noting(self: Publisher) -> Publisher:
        publishers.append(self)
        return await begin(self)

    async def announcing(connection: Connection, book: Book, *, existed: bool, now: datetime) -> None:
        await write(connection, book, existed=existed, now=now)
        if book.entries:
            publishers[0].publish(book.balance(now))

    _put(Publisher, "__aenter__", noting)
    _put(transaction, "write_book", announcing)


def request_ids_apart() -> None:
    """Request ids are written in a transaction of their own, after that of the entries."""
    _one_transaction_for_each_organization()
    write, commit = opening.write_book, transaction._commit

    async def without_ids(connection: Connection, book: Book, *, existed: bool, now: datetime) -> None:
        kept, book.remembered = book.remembered, []
        await write(connection, book, existed=existed, now=now)
        book.remembered = kept

    async def ids_afterwards(connection: Connection, begun: Any, book: Book, *others: Any) -> None:
        await commit(connection, begun, book, *others)
        if book.remembered:
            state = book.state
            await writes.write_changes(
                connection, Changes(state.organization, state.settled_time, remembered=book.remembered)
            )

    _put(transaction, "write_book", without_ids)
    _put(transaction, "_commit", ids_afterwards)


def looked_up_without_the_lock() -> None:
    """Whether a lost commit happened is read without waiting for who still holds the lock."""

    async def looking(pool: Pool, lost: transaction.Commit, metrics: Any) -> bool:
        async with transaction.ledger_connection(pool, metrics) as connection:
            digest = await reads.read_entry_digest(connection, lost.organization, lost.first_revision)
            return digest == lost.first_digest

    _one_transaction_for_each_organization()
    _put(lane, "was_committed", looking)


def expired_credits_counted() -> None:
    """What has expired is still counted as valid."""
    counted = (SubscriptionState.ACTIVE, SubscriptionState.EXPIRED)
    _put(Subscription, "valid", property(lambda self: self.credits if self.state in counted else 0))


def grace_pays_for_more() -> None:
    """Credits in grace count for what needs more of them."""
    _put(Figures, "spendable", Figures.coverage)


def settling_skipped() -> None:
    """A call does not look whether something has come due."""
    _put(Organization, "is_due", lambda self, now: False)


def suspended_later() -> None:
    """What no longer fits is suspended by the next transaction."""
    judge = decide.decide

    def making_room_first(book: Book, organization: str, call: Call, now: datetime) -> Answer:
        if book.organization is not None and (leaving := no_longer_fitting(book, book.state.figures.coverage)):
            suspend(book, leaving, Moment(now, now), [])
            book.close()
        return judge(book, organization, call, now)

    _put(settle, "_make_room", lambda *_: None)
    _put(covering, "suspend", lambda *_: None)
    _put(transaction, "decide", making_room_first)


def repeated_ids_get_news() -> None:
    """A repeated request id gets the first answer with the figures of today."""
    judge = decide.decide

    def anew(book: Book, organization: str, call: Call, now: datetime) -> Answer:
        remembered: Remembered | None = book.requests.get(call.request_id)
        if remembered is None or remembered.meaning != meaning(call.command) or book.organization is None:
            return judge(book, organization, call, now)
        return replace(remembered.answer, balance=book.balance(now))

    _put(transaction, "decide", anew)


def cancelled_commits_count() -> None:
    """A commit that takes long is cancelled, and what the server only warns of is taken for success."""

    async def impatiently(connection: Connection, coroutine: Any) -> Any:
        commit = asyncio.ensure_future(coroutine)
        await asyncio.wait([commit], timeout=IMPATIENCE_SECONDS)
        if not commit.done():
            await _cancel_from_outside(connection)
        try:
            return await commit
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise committing.CommitLost(str(error)) from error

    _one_transaction_for_each_organization()
    _put(committing, "durably", impatiently)


async def _cancel_from_outside(connection: Connection) -> None:
    driver: Any = connection
    host, port = driver._addr
    parameters = driver._params
    other = await asyncpg.connect(host=host, port=port, user=parameters.user, database=parameters.database)
    try:
        await other.execute("SELECT pg_cancel_backend($1)", connection.get_server_pid())
    finally:
        await other.close()


def unknown_is_told_as_refused() -> None:
    """Who waits in vain for a commit is told that nothing was changed."""

    def give_up(organization: str, ticket: lane.Ticket) -> None:
        if not ticket.verdict.done():
            ticket.verdict.set_result(unavailable(Reason.LOCK_TIMEOUT, organization))

    _put(ledger, "_give_up", give_up)


BREAKING: Final[Mapping[str, Callable[[], None]]] = {
    each.__name__: each
    for each in (
        no_row_lock,
        read_before_lock,
        revision_from_a_sequence,
        notice_before_commit,
        request_ids_apart,
        looked_up_without_the_lock,
        expired_credits_counted,
        grace_pays_for_more,
        settling_skipped,
        suspended_later,
        repeated_ids_get_news,
        cancelled_commits_count,
        unknown_is_told_as_refused,
    )
}
