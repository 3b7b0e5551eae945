"""Writing what a transaction leaves behind, of however many organizations, in one statement."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from msgspec import Struct

from services.ledger.rules.answers import answer_json
from services.ledger.rules.book import Remembered
from services.ledger.rules.encoding import deltas_json, json_text
from services.ledger.rules.model import Allocation, Entry, Organization, Subscription
from services.ledger.rules.summing import OfferingUsage, UsageHour
from services.ledger.store.database import Connection
from services.ledger.store.statements import Row, Rows, write_rows, write_rows_if
from services.ledger.store.tables import (
    ALLOCATION,
    ENTRY,
    NEW_ORGANIZATION,
    OFFERING_USAGE,
    ORGANIZATION,
    REQUEST,
    SUBSCRIPTION,
    USAGE_HOUR,
)

T = TypeVar("T")


class Changes(Struct, frozen=True):
    """What a transaction leaves behind of one organization."""

    organization: str
    now: datetime
    state: Organization | None = None
    """As it is after it; None if its own row stays as it is."""
    is_new: bool = False
    """Whether the state is its first."""
    entries: Sequence[Entry] = ()
    hours: Sequence[UsageHour] = ()
    """Of the entries, which follow those of the hours that are kept already."""
    subscriptions: Sequence[Subscription] = ()
    allocations: Sequence[Allocation] = ()
    usage: Sequence[OfferingUsage] = ()
    """By how much the sums of offerings changed."""
    remembered: Sequence[Remembered] = ()


async def write_changes(connection: Connection, changes: Changes) -> None:
    """All of it in one round trip. The organization is locked."""
    await write_rows(connection, _rows_of([changes]))


async def write_changes_if(
    connection: Connection, revisions: Mapping[str, int], until: datetime, changes: Sequence[Changes]
) -> frozenset[str]:
    """As `write_rows_if`: those that are still at their revisions are written, and committed, all in one round trip."""
    return await write_rows_if(connection, revisions, until, _rows_of(changes))


def _rows_of(changes: Sequence[Changes]) -> Rows:
    return (
        (NEW_ORGANIZATION, [_organization_row(each.state) for each in changes if each.state and each.is_new]),
        (ORGANIZATION, [_organization_row(each.state) for each in changes if each.state and not each.is_new]),
        (ENTRY, _rows(_entry_row, changes, lambda each: each.entries)),
        (USAGE_HOUR, _rows(_hour_row, changes, lambda each: each.hours)),
        (SUBSCRIPTION, _rows(_subscription_row, changes, lambda each: each.subscriptions)),
        (ALLOCATION, _rows(_allocation_row, changes, lambda each: each.allocations)),
        (OFFERING_USAGE, _rows(_usage_row, changes, lambda each: each.usage)),
        (REQUEST, _rows(_request_row, changes, lambda each: each.remembered)),
    )


def _rows(
    row: Callable[[Changes, T], Row], changes: Iterable[Changes], things: Callable[[Changes], Iterable[T]]
) -> list[Row]:
    return [row(each, thing) for each in changes for thing in things(each)]


def _organization_row(state: Organization) -> Row:
    figures = state.figures
    return (
        state.organization,
        state.display_name,
        figures.valid,
        figures.grace,
        figures.allocated,
        figures.suspended,
        figures.overdraft_limit,
        figures.overdraft_unlimited,
        state.revision,
        state.digest,
        state.settled_time,
        state.next_transition_time,
        state.threshold_percent,
        state.open_allocations,
        state.changed_revision,
        state.create_time,
        state.update_time,
        state.revision,  # Up to here usage is summed up.
    )


def _entry_row(of: Changes, entry: Entry) -> Row:
    figures, deltas = entry.figures, deltas_json(entry)
    return (
        of.organization,
        entry.revision,
        entry.kind,
        entry.resource,
        entry.effective_time,
        entry.recorded_time,
        entry.actor,
        entry.request_id,
        json_text(entry.causes),
        entry.cause_count,
        json_text(entry.after),
        json_text(entry.detail),
        *deltas.values(),
        figures.valid,
        figures.grace,
        figures.allocated,
        figures.suspended,
        figures.overdraft_limit,
        figures.overdraft_unlimited,
        entry.last,
        entry.digest,
    )


def _hour_row(of: Changes, hour: UsageHour) -> Row:
    return (
        of.organization,
        hour.hour,
        hour.valid,
        hour.allocated,
        hour.peak_allocated,
        hour.begins_at_start,
        hour.first_revision,
        hour.last_revision,
    )


def _subscription_row(of: Changes, subscription: Subscription) -> Row:
    return (
        of.organization,
        subscription.subscription,
        subscription.state,
        subscription.credits,
        subscription.start_time,
        subscription.end_time,
        subscription.grace_period,
        subscription.renews,
        subscription.order_reference,
        json_text(dict(subscription.labels)),
        subscription.changed_revision,
        subscription.create_time,
        subscription.update_time,
        subscription.cancel_time,
    )


def _allocation_row(of: Changes, allocation: Allocation) -> Row:
    return (
        of.organization,
        allocation.allocation,
        allocation.offering,
        allocation.state,
        allocation.units,
        allocation.credits,
        allocation.suspended_credits,
        allocation.price_version,
        allocation.priority,
        json_text(dict(allocation.labels)),
        allocation.enabled_revision,
        allocation.changed_revision,
        allocation.create_time,
        allocation.update_time,
    )


def _usage_row(of: Changes, usage: OfferingUsage) -> Row:
    return (
        of.organization,
        usage.offering,
        usage.enabled_allocations,
        usage.enabled_units,
        usage.enabled_credits,
        usage.free_units,
        usage.suspended_allocations,
        usage.suspended_units,
        usage.suspended_credits,
    )


def _request_row(of: Changes, remembered: Remembered) -> Row:
    return (
        of.organization,
        remembered.request_id,
        remembered.meaning,
        json_text(answer_json(remembered.answer)),
        of.now,
    )
