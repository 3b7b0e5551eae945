"""Several organizations in two round trips: read and decided without a lock, then locked, written, committed.

Each is written by a statement of its own, and those of one shape travel together and are one transaction.

What was decided is written only if the organization is still at the revision on which it was decided, and by then its
row is locked. Nobody is waited for: so there is no deadlock, and no organization holds up another. Whatever is not
simple is left to a transaction of its own: one that somebody else has or has changed, that is absent or due, whose sums
are not kept, or that needs more than a few rows.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import asyncpg

from services.ledger.committing import CommitLost, NotReplicated, durably
from services.ledger.metrics import TransactionMetrics
from services.ledger.opening import changes_of, open_book, read_rows
from services.ledger.rules.book import Book, NotLoaded
from services.ledger.rules.commands import Call
from services.ledger.rules.settle import settle
from services.ledger.store.book_rows import BookRows
from services.ledger.store.database import AWAY, Connection, Pool
from services.ledger.store.statements import Guarded, of_one_shape, write_rows_if
from services.ledger.store.writes import parts_of
from services.ledger.transaction import (
    Announce,
    Away,
    Unconfirmed,
    Verdict,
    Work,
    ledger_connection,
    lost_commit,
    verdicts_of,
)

log = logging.getLogger(__name__)

DECIDED_WITHIN: Final = timedelta(milliseconds=250)
"""Once the row is locked, the clock that a decision is based on was read at most so long ago, or it is not written."""
ENTRIES_MAX: Final = 5_000
"""Once there are more, the organizations that are left have their turn later."""

Outcome: TypeAlias = list[Verdict] | Away | Unconfirmed | NotReplicated | None
"""None: nothing was done, and it is to be carried out alone."""

Act: TypeAlias = Callable[[Book, datetime], list[Verdict] | None]
"""What is done to an open book; None leaves it alone."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What is to become of one organization."""

    book: Book
    revision: int
    """On which it was decided."""
    now: datetime
    verdicts: list[Verdict]


async def carry_out_together(
    pool: Pool, works: Sequence[Work], announce: Announce, metrics: TransactionMetrics
) -> list[Outcome]:
    """What became of each; they are of different organizations. Raises Busy or Away: then nothing was done."""
    by_organization = {work.organization: work for work in works}

    def act(book: Book, now: datetime) -> list[Verdict] | None:
        if book.state.is_due(now):
            return None
        work = by_organization[book.state.organization]
        return verdicts_of(book, work.organization, work.claim(), now)

    async with ledger_connection(pool, metrics) as connection:
        decided, until = await _decide(connection, {work.organization: work.calls for work in works}, act)
        done, lost = await _write(connection, decided, until, metrics)
    metrics.together_left.inc(len(works) - len(done) - len(lost))
    for each in done:
        if decided[each].book.entries:
            announce(decided[each].book.balance(decided[each].now))
    outcomes: dict[str, Outcome] = {each: decided[each].verdicts for each in done}
    outcomes |= {each: _failure(decided[each], error, until) for each, error in lost.items()}
    return [outcomes.get(work.organization) for work in works]


async def settle_together(
    connection: Connection, organizations: Sequence[str], announce: Announce, metrics: TransactionMetrics
) -> frozenset[str]:
    """Applies and commits what is due in those of them that are simple; returns which these are. Raises Away."""

    def act(book: Book, now: datetime) -> list[Verdict] | None:
        if not book.state.is_due(now):
            return None
        settle(book, now)
        return []

    decided, until = await _decide(connection, dict.fromkeys(organizations, ()), act)
    done, lost = await _write(connection, decided, until, metrics)
    metrics.together_left.inc(len(organizations) - len(done) - len(lost))
    for each in done:
        announce(decided[each].book.balance(decided[each].now))
        metrics.settled_organizations.inc()
        metrics.settled_entries.inc(len(decided[each].book.entries))
    for error in lost.values():  # What is due then is still due, or settled.
        raise Away(str(error)) from error
    return done


async def _decide(
    connection: Connection, calls: Mapping[str, Sequence[Call]], act: Act
) -> tuple[dict[str, Decided], datetime]:
    """What is to be written of those that are simple, and until when it may be; half of the time is for writing it."""
    clock = asyncio.get_running_loop().time
    enough_at = clock() + DECIDED_WITHIN.total_seconds() / 2
    rows = await read_rows(connection, calls)
    decided: dict[str, Decided] = {}
    entries = 0
    for organization, each in rows.items():
        if entries > ENTRIES_MAX or clock() > enough_at:
            break
        found = await _decide_one(connection, each, act)
        if found is not None:
            decided[organization] = found
            entries += len(found.book.entries)
    return decided, next(iter(rows.values())).now + DECIDED_WITHIN


async def _decide_one(connection: Connection, rows: BookRows, act: Act) -> Decided | None:
    state, now = rows.state, rows.never_earlier
    if state is None or not state.usage_is_kept:
        return None
    book = await open_book(connection, state.organization, state, rows, frozenset(), Book)
    try:
        verdicts = act(book, now)
    except NotLoaded:
        return None
    except Exception:  # Alone, it fails alone.
        log.debug("%s: to be carried out alone", state.organization, exc_info=True)
        return None
    return None if verdicts is None else Decided(book, state.revision, now, verdicts)


async def _write(
    connection: Connection, decided: Mapping[str, Decided], until: datetime, metrics: TransactionMetrics
) -> tuple[frozenset[str], dict[str, CommitLost | NotReplicated]]:
    """Which are written and durable, and of which that is not known. Each is locked, whether or not it is written to.

    What is of one shape is one transaction. Once one of them fails, what has not been sent yet is left alone.
    """
    written: frozenset[str] = frozenset()
    for shape, guarded in of_one_shape(map(_guarded, decided.values())).items():
        metrics.together_organizations.observe(len(guarded))
        try:
            with metrics.committing():
                written |= await durably(connection, write_rows_if(connection, shape, guarded, until))
        except (CommitLost, NotReplicated) as error:
            return written, {each.organization: error for each in guarded}
        except asyncpg.UniqueViolationError:  # A request id was used meanwhile, by a call that changed nothing else.
            log.debug("%d organizations: to be carried out alone", len(guarded), exc_info=True)
        except AWAY:  # What it was refused for, the next ones would be, too; and each alone.
            log.debug("%d organizations: the database is away", len(guarded), exc_info=True)
            return written, {}
        except (
            asyncpg.PostgresError
        ):  # Nothing of this shape was written. Those before it were, and must not hear of it.
            log.exception("%d organizations failed together; each is carried out alone", len(guarded))
    return written, {}


def _guarded(decided: Decided) -> Guarded:
    changes = changes_of(decided.book, existed=True, now=decided.now)
    parts = parts_of(changes) if changes is not None else ()
    return Guarded(decided.book.state.organization, decided.revision, parts)


def _failure(decided: Decided, error: CommitLost | NotReplicated, until: datetime) -> Outcome:
    if isinstance(error, NotReplicated):
        return error
    return lost_commit(decided.book, decided.verdicts, decided.now, str(error), until)
