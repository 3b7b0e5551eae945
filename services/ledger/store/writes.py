"""Writing the organizations' tables: one function is one SQL statement, whatever the number of rows."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from services.ledger.rules.answers import answer_json
from services.ledger.rules.book import Remembered
from services.ledger.rules.encoding import deltas_json, json_text
from services.ledger.rules.model import Allocation, Entry, Organization, Subscription
from services.ledger.rules.summing import OfferingUsage, UsageHour
from services.ledger.store.database import Connection


async def insert_organization(connection: Connection, state: Organization) -> None:
    await connection.execute(
        """
        INSERT INTO organization
            (organization, display_name, valid_credits, grace_credits, allocated_credits, suspended_credits,
             overdraft_limit, overdraft_unlimited, revision, digest, settled_time, next_transition_time,
             threshold_percent, open_allocations, changed_revision, create_time, update_time, usage_revision)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $9)
        """,
        *_organization_columns(state),
    )


class Changes(Struct, frozen=True):
    """What a transaction leaves behind, beside the organization's row."""

    entries: Sequence[Entry] = ()
    hours: Sequence[UsageHour] = ()
    """Of the entries, which follow those of the hours that are kept already."""
    subscriptions: Sequence[Subscription] = ()
    allocations: Sequence[Allocation] = ()
    usage: Sequence[OfferingUsage] = ()
    """By how much the sums of offerings changed."""
    remembered: Sequence[Remembered] = ()


async def write_changes(connection: Connection, state: Organization, changes: Changes, now: datetime) -> None:
    """Everything in one round trip; the columns travel as arrays, so any number of rows is one statement."""
    await connection.execute(
        """
        WITH changed_organization AS (
            UPDATE organization SET
                display_name = $2, valid_credits = $3, grace_credits = $4, allocated_credits = $5,
                suspended_credits = $6, overdraft_limit = $7, overdraft_unlimited = $8, revision = $9, digest = $10,
                settled_time = $11, next_transition_time = $12, threshold_percent = $13, open_allocations = $14,
                changed_revision = $15, create_time = $16, update_time = $17, usage_revision = $9
            WHERE organization = $1),
        new_entry AS (
            INSERT INTO entry
                (organization, revision, kind, resource, effective_time, recorded_time, actor, request_id, causes,
                 cause_count, after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits,
                 grace_credits, allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last,
                 digest)
            SELECT $1, revision, kind, resource, effective_time, recorded_time, actor, request_id,
                 ARRAY(SELECT jsonb_array_elements_text(causes)), cause_count, after, detail, valid_delta, grace_delta,
                 allocated_delta, suspended_delta, valid_credits, grace_credits, allocated_credits, suspended_credits,
                 overdraft_limit, overdraft_unlimited, last, digest
            FROM unnest($18::bigint[], $19::text[], $20::text[], $21::timestamptz[], $22::timestamptz[], $23::text[],
                        $24::text[], $25::jsonb[], $26::integer[], $27::jsonb[], $28::jsonb[], $29::bigint[],
                        $30::bigint[], $31::bigint[], $32::bigint[], $33::bigint[], $34::bigint[], $35::bigint[],
                        $36::bigint[], $37::bigint[], $38::boolean[], $39::boolean[], $40::bytea[])
                AS new (revision, kind, resource, effective_time, recorded_time, actor, request_id, causes,
                        cause_count, after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta,
                        valid_credits, grace_credits, allocated_credits, suspended_credits, overdraft_limit,
                        overdraft_unlimited, last, digest)),
        changed_hour AS (
            INSERT INTO usage_hour AS kept
                (organization, hour, valid_credits, allocated_credits, peak_allocated_credits, begins_at_start,
                 first_revision, last_revision)
            SELECT $1, new.* FROM unnest(
                $41::timestamptz[], $42::bigint[], $43::bigint[], $44::bigint[], $45::boolean[], $46::bigint[],
                $47::bigint[]) AS new
            ON CONFLICT (organization, hour) DO UPDATE SET
                valid_credits = excluded.valid_credits, allocated_credits = excluded.allocated_credits,
                peak_allocated_credits = greatest(kept.peak_allocated_credits, excluded.peak_allocated_credits),
                last_revision = excluded.last_revision),
        changed_subscription AS (
            INSERT INTO subscription
                (organization, subscription, state, credits, start_time, end_time, grace_period, renews,
                 order_reference, labels, changed_revision, create_time, update_time, cancel_time)
            SELECT $1, new.* FROM unnest(
                $48::text[], $49::text[], $50::bigint[], $51::timestamptz[], $52::timestamptz[], $53::interval[],
                $54::text[], $55::text[], $56::jsonb[], $57::bigint[], $58::timestamptz[], $59::timestamptz[],
                $60::timestamptz[]) AS new
            ON CONFLICT (organization, subscription) DO UPDATE SET
                state = excluded.state, credits = excluded.credits, start_time = excluded.start_time,
                end_time = excluded.end_time, grace_period = excluded.grace_period,
                order_reference = excluded.order_reference, labels = excluded.labels,
                changed_revision = excluded.changed_revision, update_time = excluded.update_time,
                cancel_time = excluded.cancel_time),
        changed_allocation AS (
            INSERT INTO allocation
                (organization, allocation, offering, state, units, credits, suspended_credits, price_version, priority,
                 labels, enabled_revision, changed_revision, create_time, update_time)
            SELECT $1, new.* FROM unnest(
                $61::text[], $62::text[], $63::text[], $64::bigint[], $65::bigint[], $66::bigint[], $67::integer[],
                $68::integer[], $69::jsonb[], $70::bigint[], $71::bigint[], $72::timestamptz[], $73::timestamptz[])
                AS new
            ON CONFLICT (organization, allocation) DO UPDATE SET
                state = excluded.state, units = excluded.units, credits = excluded.credits,
                suspended_credits = excluded.suspended_credits, price_version = excluded.price_version,
                priority = excluded.priority, labels = excluded.labels, enabled_revision = excluded.enabled_revision,
                changed_revision = excluded.changed_revision, update_time = excluded.update_time),
        changed_usage AS (
            INSERT INTO offering_usage AS kept
                (organization, offering, enabled_allocations, enabled_units, enabled_credits, free_units,
                 suspended_allocations, suspended_units, suspended_credits)
            SELECT $1, new.* FROM unnest(
                $74::text[], $75::bigint[], $76::bigint[], $77::bigint[], $78::bigint[], $79::bigint[],
                $80::bigint[], $81::bigint[]) AS new
            ON CONFLICT (organization, offering) DO UPDATE SET
                enabled_allocations = kept.enabled_allocations + excluded.enabled_allocations,
                enabled_units = kept.enabled_units + excluded.enabled_units,
                enabled_credits = kept.enabled_credits + excluded.enabled_credits,
                free_units = kept.free_units + excluded.free_units,
                suspended_allocations = kept.suspended_allocations + excluded.suspended_allocations,
                suspended_units = kept.suspended_units + excluded.suspended_units,
                suspended_credits = kept.suspended_credits + excluded.suspended_credits)
        INSERT INTO request (organization, request_id, meaning, answer, recorded_time)
        SELECT $1, new.*, $82 FROM unnest($83::text[], $84::bytea[], $85::jsonb[]) AS new
        """,
        *_organization_columns(state),
        *_arrays(23, map(_entry_columns, changes.entries)),
        *_arrays(7, map(_hour_columns, changes.hours)),
        *_arrays(13, map(_subscription_columns, changes.subscriptions)),
        *_arrays(13, map(_allocation_columns, changes.allocations)),
        *_arrays(8, map(_usage_columns, changes.usage)),
        now,
        *_arrays(3, map(_request_columns, changes.remembered)),
    )


async def insert_requests(
    connection: Connection, organization: str, remembered: Sequence[Remembered], now: datetime
) -> None:
    await connection.execute(
        """
        INSERT INTO request (organization, request_id, meaning, answer, recorded_time)
        SELECT $1, new.*, $2 FROM unnest($3::text[], $4::bytea[], $5::jsonb[]) AS new
        """,
        organization,
        now,
        *_arrays(3, map(_request_columns, remembered)),
    )


def _organization_columns(state: Organization) -> tuple[Any, ...]:
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
    )


def _entry_columns(entry: Entry) -> tuple[Any, ...]:
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


def _hour_columns(hour: UsageHour) -> tuple[Any, ...]:
    return (
        hour.hour,
        hour.valid,
        hour.allocated,
        hour.peak_allocated,
        hour.begins_at_start,
        hour.first_revision,
        hour.last_revision,
    )


def _subscription_columns(subscription: Subscription) -> tuple[Any, ...]:
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


def _allocation_columns(allocation: Allocation) -> tuple[Any, ...]:
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


def _usage_columns(usage: OfferingUsage) -> tuple[Any, ...]:
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


def _request_columns(remembered: Remembered) -> tuple[Any, ...]:
    return remembered.request_id, remembered.meaning, json_text(answer_json(remembered.answer))


def _arrays(columns: int, rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows turned into so many columns, even if there are none."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(columns)]
