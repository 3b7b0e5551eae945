"""An organization that is large, made by `generate_series` and not by calls: what it costs to look at it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Final

from services.ledger.store.database import Connection

LARGE: Final = "large"
CATALOGUE: Final = 10_000
OFFERINGS: Final = 42
"""Those in use."""
ALLOCATIONS: Final = 100_000
ENTRIES: Final = 1_000_000
LIVE_SUBSCRIPTIONS: Final = 20
BEGIN: Final = datetime(2022, 1, 1, tzinfo=UTC)
YEARS: Final = 3
AFTER: Final = json.dumps(
    {
        "offering": "offering-1",
        "state": "ENABLED",
        "units": 1,
        "credits": 10,
        "suspended_credits": 0,
        "price_version": 1,
        "priority": 0,
        "labels": {},
        "enabled_revision": 1,
        "changed_revision": 1,
        "create_time": "2022-01-01T00:00:00.000000Z",
        "update_time": "2022-01-01T00:00:00.000000Z",
    }
)
"""Of every allocation after every entry."""
SPACING: Final = timedelta(days=365 * YEARS) / ENTRIES
"""Between two entries: there are some in every hour."""


async def make_large_organization(connection: Connection) -> None:
    """`large`, with sums that fit its rows, among a thousand small ones; the digests are anything."""
    for statement in STATEMENTS:
        await connection.execute(statement)


STATEMENTS: Final = (
    "ALTER TABLE entry DROP CONSTRAINT entry_pkey",
    f"""
    INSERT INTO offering (offering, display_name, solution, unit, retired, changes, create_time, update_time)
    SELECT 'offering-' || n, '', '', '', false, 1, '{BEGIN}', '{BEGIN}' FROM generate_series(1, {CATALOGUE}) AS n
    """,
    f"""
    INSERT INTO offering_price (offering, version, effective_time, credits_per_block, block_units, max_credits)
    SELECT offering, version, '{BEGIN}'::timestamptz + version * interval '1 day', 10, 1, NULL
    FROM offering, generate_series(1, 3) AS version
    """,
    # Of the allocations four in ten are ENABLED, three SUSPENDED, three DISABLED; each has one unit at ten credits.
    f"""
    INSERT INTO allocation
        (organization, allocation, offering, state, units, credits, suspended_credits, price_version, priority, labels,
         enabled_revision, changed_revision, create_time, update_time)
    SELECT '{LARGE}', 'allocation-' || n, 'offering-' || 1 + n % {OFFERINGS}, state, (state <> 'DISABLED')::int,
           10 * (state = 'ENABLED')::int, 10 * (state = 'SUSPENDED')::int, 1, 0, '{{}}', n, n, '{BEGIN}', '{BEGIN}'
    FROM generate_series(1, {ALLOCATIONS}) AS n,
         LATERAL (SELECT (ARRAY['ENABLED', 'ENABLED', 'ENABLED', 'ENABLED', 'SUSPENDED', 'SUSPENDED', 'SUSPENDED',
                                'DISABLED', 'DISABLED', 'DISABLED'])[1 + n % 10] AS state) AS of
    """,
    f"""
    INSERT INTO subscription
        (organization, subscription, state, credits, start_time, end_time, grace_period, renews, order_reference,
         labels, changed_revision, create_time, update_time, cancel_time)
    SELECT '{LARGE}', 'subscription-' || n, CASE WHEN n <= {LIVE_SUBSCRIPTIONS} THEN 'ACTIVE' ELSE 'EXPIRED' END,
           100000, '{BEGIN}', '2100-01-01Z'::timestamptz + n * interval '1 day', '30 days', NULL, '', '{{}}', n,
           '{BEGIN}', '{BEGIN}', NULL
    FROM generate_series(1, 500) AS n
    """,
    f"""
    INSERT INTO entry
        (organization, revision, kind, resource, effective_time, recorded_time, actor, request_id, causes, cause_count,
         after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits, grace_credits,
         allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last, digest, written_time)
    SELECT '{LARGE}', n, kind, 'allocation-' || n % {ALLOCATIONS}, at, at, 'tester', 'request-' || n, '{{}}', 0,
           '{AFTER}', '{{}}', 0, 0, 0, 0, 2000000, 0, 400000, 300000, 0, false, true, '\\x{"ab" * 32}', at
    FROM generate_series(1, {ENTRIES}) AS n,
         LATERAL (SELECT '{BEGIN}'::timestamptz + n * interval '{SPACING.total_seconds()} s' AS at,
                         CASE n % 1000 WHEN 0 THEN 'ALLOCATION_DISABLED' ELSE 'ALLOCATION_ADJUSTED' END AS kind) AS of
    """,
    f"""
    INSERT INTO organization
        (organization, display_name, valid_credits, grace_credits, allocated_credits, suspended_credits,
         overdraft_limit, overdraft_unlimited, revision, digest, settled_time, next_transition_time, threshold_percent,
         open_allocations, changed_revision, create_time, update_time, usage_revision)
    SELECT 'small-' || n, '', 0, 0, 0, 0, 0, false, 1, '\\x{"ab" * 32}', '{BEGIN}', NULL, 0, 0, 1, '{BEGIN}',
           '{BEGIN}', 1
    FROM generate_series(1, 1000) AS n
    """,
    f"""
    INSERT INTO organization
        (organization, display_name, valid_credits, grace_credits, allocated_credits, suspended_credits,
         overdraft_limit, overdraft_unlimited, revision, digest, settled_time, next_transition_time, threshold_percent,
         open_allocations, changed_revision, create_time, update_time, usage_revision)
    VALUES ('{LARGE}', '', 2000000, 0, 400000, 300000, 0, false, {ENTRIES}, '\\x{"ab" * 32}',
            '{BEGIN + ENTRIES * SPACING}', '2099-10-04Z', 0, 70000, 1, '{BEGIN}', '{BEGIN}', {ENTRIES})
    """,
    f"""
    INSERT INTO entry
        (organization, revision, kind, resource, effective_time, recorded_time, actor, request_id, causes, cause_count,
         after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits, grace_credits,
         allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last, digest)
    SELECT organization, 1, 'ORGANIZATION_CREATED', '', '{BEGIN}', '{BEGIN}', '', '', '{{}}', 0,
           '{{"display_name": "", "changed_revision": 1, "create_time": "2022-01-01T00:00:00.000000Z",
              "update_time": "2022-01-01T00:00:00.000000Z"}}', '{{}}', 0, 0, 0, 0, 0, 0, 0, 0, 0, false, true, digest
    FROM organization WHERE organization LIKE 'small-%'
    """,
    "ALTER TABLE entry ADD PRIMARY KEY (organization, revision)",
    """
    INSERT INTO usage_hour
        (organization, hour, valid_credits, allocated_credits, peak_allocated_credits, begins_at_start,
         first_revision, last_revision)
    SELECT organization, hour, max(valid_credits), max(allocated_credits), max(allocated_credits),
           bool_or(effective_time = hour), min(revision), max(revision)
    FROM (SELECT *, date_trunc('hour', effective_time, 'UTC') AS hour FROM entry OFFSET 0) AS of
    GROUP BY organization, hour ORDER BY organization, hour
    """,
    """
    INSERT INTO offering_usage
        (organization, offering, enabled_allocations, enabled_units, enabled_credits, free_units,
         suspended_allocations, suspended_units, suspended_credits)
    SELECT organization, offering, count(*) FILTER (WHERE state = 'ENABLED'),
           count(*) FILTER (WHERE state = 'ENABLED'), sum(credits), 0, count(*) FILTER (WHERE state = 'SUSPENDED'),
           count(*) FILTER (WHERE state = 'SUSPENDED'), sum(suspended_credits)
    FROM allocation GROUP BY 1, 2
    """,
    # What the small ones have is there to be passed over.
    f"""
    INSERT INTO offering_usage
        (organization, offering, enabled_allocations, enabled_units, enabled_credits, free_units,
         suspended_allocations, suspended_units, suspended_credits)
    SELECT organization, 'offering-' || n, 0, 0, 0, 0, 0, 0, 0
    FROM organization, generate_series(1, {OFFERINGS}) AS n WHERE organization LIKE 'small-%'
    """,
    f"""
    INSERT INTO subscription
        (organization, subscription, state, credits, start_time, end_time, grace_period, renews, order_reference,
         labels, changed_revision, create_time, update_time, cancel_time)
    SELECT organization, 'subscription-' || n, 'EXPIRED', 1, '{BEGIN}', '2024-01-01Z', '0 days', NULL, '', '{{}}', n,
           '{BEGIN}', '{BEGIN}', NULL
    FROM organization, generate_series(1, 5) AS n WHERE organization LIKE 'small-%'
    """,
    # What autovacuum does as the tables fill.
    "ANALYZE allocation, offering, offering_price, offering_usage, organization, subscription, usage_hour",
    "ANALYZE entry (organization, revision, kind, resource, effective_time, written_time)",
    "SELECT brin_summarize_new_values('entry_written')",
)
"""None of it by way of the ledger: a million calls would take an hour."""
