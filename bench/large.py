"""A large organization, made by SQL: many allocations, and a year of entries between which its figures go up and down.

Its figures follow from its entries, and its sums of usage from both; its digests are no chain.
"""

from datetime import timedelta
from typing import Final

from services.ledger.opening import sum_up_usage
from services.ledger.store.database import Connection

LARGE: Final = "large"
OFFERINGS: Final = 50
"""Its allocations are spread over so many."""
AGE: Final = timedelta(days=364)


async def create_large_organization(connection: Connection, organization: str, allocations: int, entries: int) -> None:
    """Every allocation holds one credit; at each entry one goes or comes, so that the figures differ by the hour."""
    async with connection.transaction():
        await _insert_organization(connection, organization, allocations, entries)
        await _insert_allocations(connection, organization, allocations)
        await _insert_entries(connection, organization, allocations, entries)
        await sum_up_usage(connection, organization)


async def _insert_organization(connection: Connection, organization: str, allocations: int, entries: int) -> None:
    await connection.execute(
        """
        INSERT INTO organization
            (organization, display_name, valid_credits, grace_credits, allocated_credits, suspended_credits,
             overdraft_limit, overdraft_unlimited, revision, digest, settled_time, next_transition_time,
             threshold_percent, open_allocations, changed_revision, create_time, update_time, usage_revision)
        VALUES ($1, 'Large', 1000000000, 0, $2, 0, 0, false, $3, sha256(convert_to($3::bigint::text, 'UTF8')),
                earmark_now(), NULL, 0, $4, 1, earmark_now() - $5::interval, earmark_now() - $5::interval, 0)
        """,
        organization,
        allocations,
        entries,
        allocations,
        AGE,
    )


async def _insert_allocations(connection: Connection, organization: str, allocations: int) -> None:
    await connection.execute(
        """
        INSERT INTO allocation
            (organization, allocation, offering, state, units, credits, suspended_credits, price_version, priority,
             labels, enabled_revision, changed_revision, create_time, update_time)
        SELECT $1, 'machine-' || number, 'offering-' || number % $3::integer, 'ENABLED', 1, 1, 0, 1, 0, '{}', number,
               number, earmark_now() - $4::interval, earmark_now() - $4::interval
        FROM generate_series(1, $2::integer) AS number
        """,
        organization,
        allocations,
        OFFERINGS,
        AGE,
    )


async def _insert_entries(connection: Connection, organization: str, allocations: int, entries: int) -> None:
    """At even distances over the year; the last leaves as much allocated as there are allocations."""
    await connection.execute(
        """
        INSERT INTO entry
            (organization, revision, kind, resource, effective_time, recorded_time, actor, request_id, causes,
             cause_count, after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits,
             grace_credits, allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last, digest,
             written_time)
        SELECT $1, revision, 'ALLOCATION_ADJUSTED', 'machine-' || revision % $2::bigint, instant, instant, 'bench', '',
               '{}', 0, '{}', '{}', 0, 0, CASE WHEN gone % 2 = 0 THEN 1 ELSE -1 END, 0, 1000000000, 0,
               $2::bigint - gone % 2, 0, 0, false, true, sha256(convert_to(revision::text, 'UTF8')), instant
        FROM generate_series(1, $3::bigint) AS revision
        CROSS JOIN LATERAL (SELECT $3::bigint - revision AS gone) AS left_to_come
        CROSS JOIN LATERAL (SELECT earmark_now() - $4::interval * (gone::float8 / $3::bigint) AS instant) AS moment
        """,
        organization,
        allocations,
        entries,
        AGE,
    )
