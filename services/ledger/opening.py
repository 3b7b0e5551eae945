"""Opening an organization's book from the database, and writing it back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

from msgspec.structs import replace

from services.ledger.rules.book import Book, Shelf
from services.ledger.rules.commands import (
    AdjustAllocation,
    ApplyOperations,
    Call,
    CancelSubscription,
    Command,
    CreateSubscription,
    DisableAllocation,
    EnableAllocation,
    UpdateAllocation,
    UpdateSubscription,
)
from services.ledger.rules.model import Organization
from services.ledger.rules.schedule import next_transition_time
from services.ledger.rules.summing import offering_changes, usage_hours
from services.ledger.store import reads, usage_tables, writes
from services.ledger.store.book_rows import BookRows, Named, read_book_rows
from services.ledger.store.database import Connection
from services.ledger.store.writes import Changes

B = TypeVar("B", bound=Book)

ROWS_PER_STATEMENT: Final = 5_000
"""Encoding more at once would keep all others waiting; and a statement has its greatest size."""


async def read_rows(connection: Connection, calls: Mapping[str, Sequence[Call]]) -> dict[str, BookRows]:
    """What each organization's calls need, and the clock. Its row is locked before, where it is to be written."""
    return await read_book_rows(connection, {organization: _named(each) for organization, each in calls.items()})


async def read_rows_of(connection: Connection, organization: str, calls: Sequence[Call]) -> BookRows:
    """As `read_rows`, of one organization."""
    return (await read_rows(connection, {organization: calls}))[organization]


async def open_book(
    connection: Connection,
    key: str,
    state: Organization | None,
    rows: BookRows,
    shelves: frozenset[Shelf],
    kind: type[B],
) -> B:
    """A new book with these rows; reads the shelves, and nothing else. Without a state a call may create one."""
    allocations = dict(rows.allocations)
    if Shelf.SUSPENDED in shelves:
        allocations |= await reads.read_suspended_allocations(connection, key)
    if Shelf.HOLDING in shelves:
        allocations |= await reads.read_holding_allocations(connection, key)
    return kind(
        state,
        subscriptions=dict(rows.subscriptions),
        allocations=allocations,
        offerings=rows.offerings,
        requests=dict(rows.requests),
        shelves=shelves,
    )


async def write_book(connection: Connection, book: Book, *, existed: bool, now: datetime) -> None:
    """Writes what changed, with the organization's time and next transition brought up to date."""
    changes = changes_of(book, existed=existed, now=now)
    if changes is not None:
        for part in _parts(changes):
            await writes.write_changes(connection, part)


def changes_of(book: Book, *, existed: bool, now: datetime) -> Changes | None:
    """What is to be written, as in `write_book`; None if nothing is."""
    state = book.organization
    if state is None or not (book.entries or book.remembered):
        return None
    if not book.entries:
        return Changes(state.organization, now, remembered=book.remembered)
    return Changes(
        state.organization,
        now,
        replace(state, settled_time=now, next_transition_time=next_transition_time(book.live_subscriptions(), now)),
        is_new=not existed,
        entries=book.entries,
        hours=usage_hours(book.entries),
        subscriptions=[book.subscriptions[each] for each in sorted(book.changed_subscriptions)],
        allocations=[book.allocations[each] for each in sorted(book.changed_allocations)],
        usage=offering_changes(book),
        remembered=book.remembered,
    )


def _parts(changes: Changes) -> Iterator[Changes]:
    """All at once, but for what time does to very many allocations."""
    entries, allocations = changes.entries, changes.allocations
    first = slice(0, ROWS_PER_STATEMENT)
    yield replace(changes, entries=entries[first], allocations=allocations[first])
    for start in range(ROWS_PER_STATEMENT, max(len(entries), len(allocations)), ROWS_PER_STATEMENT):
        part = slice(start, start + ROWS_PER_STATEMENT)
        yield Changes(changes.organization, changes.now, entries=entries[part], allocations=allocations[part])


async def sum_up_usage(connection: Connection, organization: str) -> None:
    """Makes the sums of usage anew, as far as a release that does not keep them left them behind."""
    await usage_tables.remove_offering_usage(connection, organization)
    await usage_tables.sum_up_offerings(connection, organization)
    await usage_tables.sum_up_hours(connection, organization)
    await usage_tables.mark_usage_kept(connection, organization)


def _named(calls: Sequence[Call]) -> Named:
    return Named(
        subscriptions=_named_subscriptions(calls),
        allocations=_named_allocations(calls),
        offerings=_named_offerings(calls),
        request_ids=[call.request_id for call in calls if call.request_id],
    )


def _commands(calls: Iterable[Call]) -> Iterable[Command]:
    for call in calls:
        if isinstance(call.command, ApplyOperations):
            yield from call.command.operations
        else:
            yield call.command


def _named_allocations(calls: Iterable[Call]) -> list[str]:
    named = (EnableAllocation, AdjustAllocation, DisableAllocation, UpdateAllocation)
    return sorted({each.allocation for each in _commands(calls) if isinstance(each, named)})


def _named_offerings(calls: Iterable[Call]) -> list[str]:
    return sorted({each.offering for each in _commands(calls) if isinstance(each, EnableAllocation)})


def _named_subscriptions(calls: Iterable[Call]) -> list[str]:
    named: set[str | None] = set()
    for each in _commands(calls):
        if isinstance(each, CreateSubscription):
            named |= {each.subscription, each.renews, each.made_up_id}
        elif isinstance(each, UpdateSubscription | CancelSubscription):
            named.add(each.subscription)
    return sorted(each for each in named if each)
