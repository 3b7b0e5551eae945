"""Opening an organization's book from the database, and writing it back."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

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
from services.ledger.rules.price import Offering
from services.ledger.rules.schedule import next_transition_time
from services.ledger.rules.summing import offering_changes, usage_hours
from services.ledger.store import catalog_tables, reads, usage_tables, writes
from services.ledger.store.database import Connection


async def open_book(
    connection: Connection,
    key: str,
    state: Organization | None,
    calls: Sequence[Call],
    shelves: frozenset[Shelf],
) -> Book:
    """Reads what the calls of an organization need; its row, where there is one, was read before, and locked to write.

    Without a row only the catalogue is read: one of the calls may create the organization for the others.
    """
    if state is None:
        return Book(None, offerings=await _offerings(connection, _named_offerings(calls)))
    named = _named_allocations(calls)
    allocations = await reads.read_allocations(connection, key, named) if named else {}
    offerings = _named_offerings(calls) | {each.offering for each in allocations.values()}
    if Shelf.SUSPENDED in shelves:
        allocations |= await reads.read_suspended_allocations(connection, key)
    if Shelf.HOLDING in shelves:
        allocations |= await reads.read_holding_allocations(connection, key)
    request_ids = [call.request_id for call in calls if call.request_id]
    return Book(
        state,
        subscriptions=await reads.read_live_subscriptions(connection, key, _named_subscriptions(calls)),
        allocations=allocations,
        offerings=await _offerings(connection, offerings),
        requests=await reads.read_requests(connection, key, request_ids) if request_ids else {},
        shelves=shelves,
    )


async def write_book(connection: Connection, book: Book, *, existed: bool, now: datetime) -> None:
    """Writes what changed, with the organization's time and next transition brought up to date."""
    state = book.organization
    if state is None or not (book.entries or book.remembered):
        return
    key = state.organization
    if book.entries:
        following = next_transition_time(book.live_subscriptions(), now)
        state = replace(state, settled_time=now, next_transition_time=following)
        if existed:
            await writes.update_organization(connection, state)
        else:
            await writes.insert_organization(connection, state)
        await writes.insert_entries(connection, key, book.entries)
        await usage_tables.add_usage_hours(connection, key, usage_hours(book.entries))
    if book.changed_subscriptions:
        changed = [book.subscriptions[each] for each in sorted(book.changed_subscriptions)]
        await writes.upsert_subscriptions(connection, key, changed)
    if book.changed_allocations:
        allocations = [book.allocations[each] for each in sorted(book.changed_allocations)]
        await writes.upsert_allocations(connection, key, allocations)
        if changes := offering_changes(book):
            await usage_tables.add_offering_usage(connection, key, changes)
    if book.remembered:
        await writes.insert_requests(connection, key, book.remembered, now)


async def sum_up_usage(connection: Connection, organization: str) -> None:
    """Makes the sums of usage anew, as far as a release that does not keep them left them behind."""
    await usage_tables.remove_offering_usage(connection, organization)
    await usage_tables.sum_up_offerings(connection, organization)
    await usage_tables.sum_up_hours(connection, organization)
    await usage_tables.mark_usage_kept(connection, organization)


async def _offerings(connection: Connection, named: set[str]) -> dict[str, Offering]:
    return await catalog_tables.read_offerings(connection, sorted(named)) if named else {}


def _commands(calls: Iterable[Call]) -> Iterable[Command]:
    for call in calls:
        if isinstance(call.command, ApplyOperations):
            yield from call.command.operations
        else:
            yield call.command


def _named_allocations(calls: Iterable[Call]) -> list[str]:
    named = (EnableAllocation, AdjustAllocation, DisableAllocation, UpdateAllocation)
    return sorted({each.allocation for each in _commands(calls) if isinstance(each, named)})


def _named_offerings(calls: Iterable[Call]) -> set[str]:
    return {each.offering for each in _commands(calls) if isinstance(each, EnableAllocation)}


def _named_subscriptions(calls: Iterable[Call]) -> list[str]:
    named: set[str | None] = set()
    for each in _commands(calls):
        if isinstance(each, CreateSubscription):
            named |= {each.subscription, each.renews, each.made_up_id}
        elif isinstance(each, UpdateSubscription | CancelSubscription):
            named.add(each.subscription)
    return sorted(each for each in named if each)
