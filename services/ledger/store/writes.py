"""Writing what a transaction leaves behind of an organization, in one statement."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from services.ledger.rules.answers import answer_json
from services.ledger.rules.book import Remembered
from services.ledger.rules.encoding import deltas_json, json_text
from services.ledger.rules.model import Allocation, Entry, Organization, Subscription
from services.ledger.rules.summing import OfferingUsage, UsageHour
from services.ledger.store.database import Connection
from services.ledger.store.statements import Parts, Row, write_rows
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
    await write_rows(connection, changes.organization, parts_of(changes))


def parts_of(changes: Changes) -> Parts:
    """The rows of each table."""
    state, now = changes.state, changes.now
    return (
        (NEW_ORGANIZATION, [_organization_row(state)] if state and changes.is_new else []),
        (ORGANIZATION, [_organization_row(state)] if state and not changes.is_new else []),
        (ENTRY, [_entry_row(each) for each in changes.entries]),
        (USAGE_HOUR, [_hour_row(each) for each in changes.hours]),
        (SUBSCRIPTION, [_subscription_row(each) for each in changes.subscriptions]),
        (ALLOCATION, [_allocation_row(each) for each in changes.allocations]),
        (OFFERING_USAGE, [_usage_row(each) for each in changes.usage]),
        (REQUEST, [_request_row(each, now) for each in changes.remembered]),
    )


def _organization_row(state: Organization) -> Row:
    figures = state.figures
    return (
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


def _entry_row(entry: Entry) -> Row:
    figures, deltas = entry.figures, deltas_json(entry)
    return (
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


def _hour_row(hour: UsageHour) -> Row:
    return (
        hour.hour,
        hour.valid,
        hour.allocated,
        hour.peak_allocated,
        hour.begins_at_start,
        hour.first_revision,
        hour.last_revision,
    )


def _subscription_row(subscription: Subscription) -> Row:
    return (
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


def _allocation_row(allocation: Allocation) -> Row:
    return (
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


def _usage_row(usage: OfferingUsage) -> Row:
    return (
        usage.offering,
        usage.enabled_allocations,
        usage.enabled_units,
        usage.enabled_credits,
        usage.free_units,
        usage.suspended_allocations,
        usage.suspended_units,
        usage.suspended_credits,
    )


def _request_row(remembered: Remembered, now: datetime) -> Row:
    return (
        remembered.request_id,
        remembered.meaning,
        json_text(answer_json(remembered.answer)),
        now,
    )
