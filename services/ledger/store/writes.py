"""Writing the organizations' tables: one function is one SQL statement, whatever the number of rows."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from services.ledger.rules.answers import answer_json
from services.ledger.rules.book import Remembered
from services.ledger.rules.encoding import deltas_json
from services.ledger.rules.model import Allocation, Entry, Organization, Subscription
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


async def update_organization(connection: Connection, state: Organization) -> None:
    await connection.execute(
        """
        UPDATE organization SET
            display_name = $2, valid_credits = $3, grace_credits = $4, allocated_credits = $5,
            suspended_credits = $6, overdraft_limit = $7, overdraft_unlimited = $8, revision = $9, digest = $10,
            settled_time = $11, next_transition_time = $12, threshold_percent = $13, open_allocations = $14,
            changed_revision = $15, create_time = $16, update_time = $17, usage_revision = $9
        WHERE organization = $1
        """,
        *_organization_columns(state),
    )


async def insert_entries(connection: Connection, organization: str, entries: Sequence[Entry]) -> None:
    """Every entry is of the organization; the columns travel as arrays, so any number is one statement."""
    await connection.execute(
        """
        INSERT INTO entry
            (organization, revision, kind, resource, effective_time, recorded_time, actor, request_id, causes,
             cause_count, after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits,
             grace_credits, allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last, digest)
        SELECT $1, revision, kind, resource, effective_time, recorded_time, actor, request_id,
             ARRAY(SELECT jsonb_array_elements_text(causes)), cause_count, after, detail, valid_delta, grace_delta,
             allocated_delta, suspended_delta, valid_credits, grace_credits, allocated_credits, suspended_credits,
             overdraft_limit, overdraft_unlimited, last, digest
        FROM unnest($2::bigint[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[],
                    $8::text[], $9::jsonb[], $10::integer[], $11::jsonb[], $12::jsonb[], $13::bigint[],
                    $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[],
                    $20::bigint[], $21::bigint[], $22::boolean[], $23::boolean[], $24::bytea[])
            AS new (revision, kind, resource, effective_time, recorded_time, actor, request_id, causes, cause_count,
                    after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits,
                    grace_credits, allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last,
                    digest)
        """,
        organization,
        *_arrays(_entry_columns(entry) for entry in entries),
    )


async def upsert_subscriptions(
    connection: Connection, organization: str, subscriptions: Sequence[Subscription]
) -> None:
    await connection.execute(
        """
        INSERT INTO subscription
            (organization, subscription, state, credits, start_time, end_time, grace_period, renews,
             order_reference, labels, changed_revision, create_time, update_time, cancel_time)
        SELECT $1, new.* FROM unnest(
            $2::text[], $3::text[], $4::bigint[], $5::timestamptz[], $6::timestamptz[], $7::interval[], $8::text[],
            $9::text[], $10::jsonb[], $11::bigint[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[]) AS new
        ON CONFLICT (organization, subscription) DO UPDATE SET
            state = excluded.state, credits = excluded.credits, start_time = excluded.start_time,
            end_time = excluded.end_time, grace_period = excluded.grace_period,
            order_reference = excluded.order_reference, labels = excluded.labels,
            changed_revision = excluded.changed_revision, update_time = excluded.update_time,
            cancel_time = excluded.cancel_time
        """,
        organization,
        *_arrays(
            (
                each.subscription,
                each.state,
                each.credits,
                each.start_time,
                each.end_time,
                each.grace_period,
                each.renews,
                each.order_reference,
                json.dumps(dict(each.labels)),
                each.changed_revision,
                each.create_time,
                each.update_time,
                each.cancel_time,
            )
            for each in subscriptions
        ),
    )


async def upsert_allocations(connection: Connection, organization: str, allocations: Sequence[Allocation]) -> None:
    await connection.execute(
        """
        INSERT INTO allocation
            (organization, allocation, offering, state, units, credits, suspended_credits, price_version, priority,
             labels, enabled_revision, changed_revision, create_time, update_time)
        SELECT $1, new.* FROM unnest(
            $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::integer[],
            $9::integer[], $10::jsonb[], $11::bigint[], $12::bigint[], $13::timestamptz[], $14::timestamptz[]) AS new
        ON CONFLICT (organization, allocation) DO UPDATE SET
            state = excluded.state, units = excluded.units, credits = excluded.credits,
            suspended_credits = excluded.suspended_credits, price_version = excluded.price_version,
            priority = excluded.priority, labels = excluded.labels, enabled_revision = excluded.enabled_revision,
            changed_revision = excluded.changed_revision, update_time = excluded.update_time
        """,
        organization,
        *_arrays(
            (
                each.allocation,
                each.offering,
                each.state,
                each.units,
                each.credits,
                each.suspended_credits,
                each.price_version,
                each.priority,
                json.dumps(dict(each.labels)),
                each.enabled_revision,
                each.changed_revision,
                each.create_time,
                each.update_time,
            )
            for each in allocations
        ),
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
        *_arrays((each.request_id, each.meaning, json.dumps(answer_json(each.answer))) for each in remembered),
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
        json.dumps(entry.causes),
        entry.cause_count,
        json.dumps(entry.after),
        json.dumps(entry.detail),
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


def _arrays(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows turned into columns."""
    return [list(column) for column in zip(*rows, strict=True)]
