"""The tables that an organization's changes are written to."""

from typing import Final

from msgspec import json

from services.ledger.store.statements import Copied, Table

ORGANIZATION_COLUMNS: Final = {
    "display_name": "text",
    "valid_credits": "bigint",
    "grace_credits": "bigint",
    "allocated_credits": "bigint",
    "suspended_credits": "bigint",
    "overdraft_limit": "bigint",
    "overdraft_unlimited": "boolean",
    "revision": "bigint",
    "digest": "bytea",
    "settled_time": "timestamptz",
    "next_transition_time": "timestamptz",
    "threshold_percent": "smallint",
    "open_allocations": "integer",
    "changed_revision": "bigint",
    "create_time": "timestamptz",
    "update_time": "timestamptz",
    "usage_revision": "bigint",
}
NEW_ORGANIZATION: Final = Table(
    columns=ORGANIZATION_COLUMNS,
    write="INSERT INTO organization (organization, {columns}) SELECT $1, {values} FROM {rows} WHERE {only}",
)
ORGANIZATION: Final = Table(
    columns=ORGANIZATION_COLUMNS,
    write="""
        UPDATE organization AS kept SET
            display_name = new.display_name, valid_credits = new.valid_credits, grace_credits = new.grace_credits,
            allocated_credits = new.allocated_credits, suspended_credits = new.suspended_credits,
            overdraft_limit = new.overdraft_limit, overdraft_unlimited = new.overdraft_unlimited,
            revision = new.revision, digest = new.digest, settled_time = new.settled_time,
            next_transition_time = new.next_transition_time, threshold_percent = new.threshold_percent,
            open_allocations = new.open_allocations, changed_revision = new.changed_revision,
            update_time = new.update_time, usage_revision = new.usage_revision
        FROM {rows} WHERE kept.organization = $1 AND {only}
        """,
)
CAUSES: Final = 7
"""Where an entry's row has them."""
ENTRY: Final = Table(
    columns={
        "revision": "bigint",
        "kind": "text",
        "resource": "text",
        "effective_time": "timestamptz",
        "recorded_time": "timestamptz",
        "actor": "text",
        "request_id": "text",
        "causes": "jsonb",
        "cause_count": "integer",
        "after": "jsonb",
        "detail": "jsonb",
        "valid_delta": "bigint",
        "grace_delta": "bigint",
        "allocated_delta": "bigint",
        "suspended_delta": "bigint",
        "valid_credits": "bigint",
        "grace_credits": "bigint",
        "allocated_credits": "bigint",
        "suspended_credits": "bigint",
        "overdraft_limit": "bigint",
        "overdraft_unlimited": "boolean",
        "last": "boolean",
        "digest": "bytea",
    },
    write="INSERT INTO entry (organization, {columns}) SELECT $1, {values} FROM {rows} WHERE {only}",
    # There are no arrays of arrays of different lengths.
    values={"causes": "ARRAY(SELECT jsonb_array_elements_text(new.causes))"},
    copied=Copied("entry", lambda row: (*row[:CAUSES], json.decode(row[CAUSES]), *row[CAUSES + 1 :])),
)
USAGE_HOUR: Final = Table(
    columns={
        "hour": "timestamptz",
        "valid_credits": "bigint",
        "allocated_credits": "bigint",
        "peak_allocated_credits": "bigint",
        "begins_at_start": "boolean",
        "first_revision": "bigint",
        "last_revision": "bigint",
    },
    write="""
        INSERT INTO usage_hour AS kept (organization, {columns}) SELECT $1, {values} FROM {rows} WHERE {only}
        ON CONFLICT (organization, hour) DO UPDATE SET
            valid_credits = excluded.valid_credits, allocated_credits = excluded.allocated_credits,
            peak_allocated_credits = greatest(kept.peak_allocated_credits, excluded.peak_allocated_credits),
            last_revision = excluded.last_revision
        """,
)
SUBSCRIPTION: Final = Table(
    columns={
        "subscription": "text",
        "state": "text",
        "credits": "bigint",
        "start_time": "timestamptz",
        "end_time": "timestamptz",
        "grace_period": "interval",
        "renews": "text",
        "order_reference": "text",
        "labels": "jsonb",
        "changed_revision": "bigint",
        "create_time": "timestamptz",
        "update_time": "timestamptz",
        "cancel_time": "timestamptz",
    },
    write="""
        INSERT INTO subscription (organization, {columns}) SELECT $1, {values} FROM {rows} WHERE {only}
        ON CONFLICT (organization, subscription) DO UPDATE SET
            state = excluded.state, credits = excluded.credits, start_time = excluded.start_time,
            end_time = excluded.end_time, grace_period = excluded.grace_period,
            order_reference = excluded.order_reference, labels = excluded.labels,
            changed_revision = excluded.changed_revision, update_time = excluded.update_time,
            cancel_time = excluded.cancel_time
        """,
)
ALLOCATION: Final = Table(
    columns={
        "allocation": "text",
        "offering": "text",
        "state": "text",
        "units": "bigint",
        "credits": "bigint",
        "suspended_credits": "bigint",
        "price_version": "integer",
        "priority": "integer",
        "labels": "jsonb",
        "enabled_revision": "bigint",
        "changed_revision": "bigint",
        "create_time": "timestamptz",
        "update_time": "timestamptz",
    },
    write="""
        INSERT INTO allocation (organization, {columns}) SELECT $1, {values} FROM {rows} WHERE {only}
        ON CONFLICT (organization, allocation) DO UPDATE SET
            state = excluded.state, units = excluded.units, credits = excluded.credits,
            suspended_credits = excluded.suspended_credits, price_version = excluded.price_version,
            priority = excluded.priority, labels = excluded.labels, enabled_revision = excluded.enabled_revision,
            changed_revision = excluded.changed_revision, update_time = excluded.update_time
        """,
)
OFFERING_USAGE: Final = Table(
    columns={
        "offering": "text",
        "enabled_allocations": "bigint",
        "enabled_units": "bigint",
        "enabled_credits": "bigint",
        "free_units": "bigint",
        "suspended_allocations": "bigint",
        "suspended_units": "bigint",
        "suspended_credits": "bigint",
    },
    write="""
        INSERT INTO offering_usage AS kept (organization, {columns}) SELECT $1, {values} FROM {rows} WHERE {only}
        ON CONFLICT (organization, offering) DO UPDATE SET
            enabled_allocations = kept.enabled_allocations + excluded.enabled_allocations,
            enabled_units = kept.enabled_units + excluded.enabled_units,
            enabled_credits = kept.enabled_credits + excluded.enabled_credits,
            free_units = kept.free_units + excluded.free_units,
            suspended_allocations = kept.suspended_allocations + excluded.suspended_allocations,
            suspended_units = kept.suspended_units + excluded.suspended_units,
            suspended_credits = kept.suspended_credits + excluded.suspended_credits
        """,
)
REQUEST: Final = Table(
    columns={
        "request_id": "text",
        "meaning": "bytea",
        "answer": "jsonb",
        "recorded_time": "timestamptz",
    },
    write="INSERT INTO request (organization, {columns}) SELECT $1, {values} FROM {rows} WHERE {only}",
    copied=Copied("request"),
)
