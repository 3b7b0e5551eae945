"""Organizations whose subscriptions end at given instants, made by SQL as the ledger would have left them."""

from datetime import datetime, timedelta
from typing import Final

from services.ledger.store.database import Connection

CREDITS: Final = 10
TERM: Final = timedelta(hours=12)
"""Short enough that nobody was reminded of its end."""
GRACE: Final = timedelta(days=30)


async def create_ending_organizations(
    connection: Connection, prefix: str, organizations: int, each: int, end: datetime, apart: timedelta = timedelta()
) -> None:
    """`each` subscriptions of every organization end at one instant, that of the next organization `apart` later."""
    async with connection.transaction():
        await _insert_organizations(connection, prefix, organizations, each, end, apart)
        await _insert_subscriptions(connection, prefix, organizations, each, end, apart)
        await _insert_entries(connection, prefix, organizations, each, end)


async def _insert_organizations(
    connection: Connection, prefix: str, organizations: int, each: int, end: datetime, apart: timedelta
) -> None:
    await connection.execute(
        """
        INSERT INTO organization
            (organization, display_name, valid_credits, grace_credits, allocated_credits, suspended_credits,
             overdraft_limit, overdraft_unlimited, revision, digest, settled_time, next_transition_time,
             threshold_percent, open_allocations, changed_revision, create_time, update_time, usage_revision)
        SELECT $1::text || number, '', $3::bigint * $4::bigint, 0, 0, 0, 0, false, 1 + $3::bigint, sha256('ending'),
               $7::timestamptz, $5::timestamptz + number * $6::interval, 0, 0, 1, $7::timestamptz, $7::timestamptz,
               1 + $3::bigint
        FROM generate_series(0, $2::integer - 1) AS number
        """,
        prefix,
        organizations,
        each,
        CREDITS,
        end,
        apart,
        end - TERM,
    )


async def _insert_subscriptions(
    connection: Connection, prefix: str, organizations: int, each: int, end: datetime, apart: timedelta
) -> None:
    await connection.execute(
        """
        INSERT INTO subscription
            (organization, subscription, state, credits, start_time, end_time, grace_period, renews, order_reference,
             labels, changed_revision, create_time, update_time, cancel_time)
        SELECT $1::text || number, 's' || which, 'ACTIVE', $4::bigint, $7::timestamptz,
               $5::timestamptz + number * $6::interval, $8::interval, NULL, '', '{}', 1 + which, $7::timestamptz,
               $7::timestamptz, NULL
        FROM generate_series(0, $2::integer - 1) AS number, generate_series(1, $3::bigint) AS which
        """,
        prefix,
        organizations,
        each,
        CREDITS,
        end,
        apart,
        end - TERM,
        GRACE,
    )


async def _insert_entries(connection: Connection, prefix: str, organizations: int, each: int, end: datetime) -> None:
    """That of the organization, and one for each subscription; their digests are no chain."""
    await connection.execute(
        """
        INSERT INTO entry
            (organization, revision, kind, resource, effective_time, recorded_time, actor, request_id, causes,
             cause_count, after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits,
             grace_credits, allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last, digest,
             written_time)
        SELECT $1::text || number, 1 + which,
               CASE which WHEN 0 THEN 'ORGANIZATION_CREATED' ELSE 'SUBSCRIPTION_CREATED' END,
               CASE which WHEN 0 THEN '' ELSE 's' || which END, $5::timestamptz, $5::timestamptz, '', '', '{}', 0, '{}',
               '{}', CASE which WHEN 0 THEN 0 ELSE $4::bigint END, 0, 0, 0, which * $4::bigint, 0, 0, 0, 0, false, true,
               sha256('ending'), $5::timestamptz
        FROM generate_series(0, $2::integer - 1) AS number, generate_series(0, $3::bigint) AS which
        """,
        prefix,
        organizations,
        each,
        CREDITS,
        end - TERM,
    )
