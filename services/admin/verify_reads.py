"""What verifying reads: one function is one SQL statement, and none of them writes."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, cast

from services.admin.verify_problems import Row
from services.ledger.store.database import Connection

PAGE_ROWS: Final = 1_000


async def organizations(connection: Connection, after: str) -> list[str]:
    """The next ones by id, up to 1,000; also those of which only some rows are left, whatever the table."""
    rows = await connection.fetch(
        """
        WITH RECURSIVE page (organization, number) AS (
            SELECT $1::text COLLATE "C", 0
            UNION ALL
            SELECT least(
                (SELECT min(each.organization) FROM organization each WHERE each.organization > page.organization),
                (SELECT min(each.organization) FROM entry each WHERE each.organization > page.organization),
                (SELECT min(each.organization) FROM subscription each WHERE each.organization > page.organization),
                (SELECT min(each.organization) FROM allocation each WHERE each.organization > page.organization),
                (SELECT min(each.organization) FROM request each WHERE each.organization > page.organization),
                (SELECT min(each.organization) FROM offering_usage each WHERE each.organization > page.organization),
                (SELECT min(each.organization) FROM usage_hour each WHERE each.organization > page.organization)
            ), number + 1
            FROM page WHERE page.organization IS NOT NULL AND number < $2
        )
        SELECT organization FROM page WHERE number > 0 AND organization IS NOT NULL ORDER BY number
        """,
        after,
        PAGE_ROWS,
    )
    return [row["organization"] for row in rows]


async def count_entries(connection: Connection, named: Sequence[str] | None) -> int:
    """About how many the named organizations have; None: all."""
    revisions = await connection.fetchval(
        """
        SELECT coalesce(sum(revision), 0) FROM organization
        WHERE $1::text[] IS NULL OR organization = ANY ($1::text[])
        """,
        named,
    )
    return int(revisions)


async def now(connection: Connection) -> datetime:
    instant: datetime = await connection.fetchval("SELECT earmark_now()")
    return instant


async def count_prices(connection: Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM offering_price")
    return count


async def prices(connection: Connection) -> list[Row]:
    rows = await connection.fetch(
        "SELECT offering, version, effective_time, credits_per_block, block_units, max_credits FROM offering_price"
    )
    return [dict(row) for row in rows]


async def organization(connection: Connection, name: str) -> Row | None:
    row = await connection.fetchrow(
        """
        SELECT display_name, valid_credits, grace_credits, allocated_credits, suspended_credits, overdraft_limit,
               overdraft_unlimited, revision, digest, settled_time, next_transition_time, threshold_percent,
               open_allocations, changed_revision, create_time, update_time, usage_revision
        FROM organization WHERE organization = $1
        """,
        name,
    )
    return dict(row) if row else None


def entries(connection: Connection, name: str) -> AsyncIterator[Row]:
    return _pages(
        connection,
        """
        SELECT revision, kind, resource, effective_time, recorded_time, actor, request_id, causes, cause_count, after,
               detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits, grace_credits,
               allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last, digest
        FROM entry WHERE organization = $1 ORDER BY revision
        """,
        name,
    )


def requests(connection: Connection, name: str) -> AsyncIterator[Row]:
    """By the revision that was answered: as JSON has it, so that whatever stands there can be read."""
    return _pages(
        connection,
        """
        SELECT request_id, meaning, answer, recorded_time
        FROM request WHERE organization = $1 ORDER BY answer -> 'revision', request_id
        """,
        name,
    )


def reused_request_ids(connection: Connection, name: str, within: timedelta) -> AsyncIterator[Row]:
    """The calls (by their last entry) whose request id another call had been given so shortly before."""
    return _pages(
        connection,
        """
        SELECT revision, request_id, revision_before FROM (
            SELECT revision, request_id, recorded_time, lag(revision) OVER same AS revision_before,
                   lag(recorded_time) OVER same AS recorded_before
            FROM entry WHERE organization = $1 AND last AND request_id <> ''
            WINDOW same AS (PARTITION BY request_id COLLATE "C" ORDER BY revision)) AS used
        WHERE recorded_time - recorded_before < $2
        """,
        name,
        within,
    )


def subscriptions(connection: Connection, name: str) -> AsyncIterator[Row]:
    return _pages(
        connection,
        """
        SELECT subscription, state, credits, start_time, end_time, grace_period, renews, order_reference, labels,
               changed_revision, create_time, update_time, cancel_time
        FROM subscription WHERE organization = $1 ORDER BY subscription
        """,
        name,
    )


def allocations(connection: Connection, name: str) -> AsyncIterator[Row]:
    return _pages(
        connection,
        """
        SELECT allocation, offering, state, units, credits, suspended_credits, price_version, priority, labels,
               enabled_revision, changed_revision, create_time, update_time
        FROM allocation WHERE organization = $1 ORDER BY allocation
        """,
        name,
    )


def offering_usage(connection: Connection, name: str) -> AsyncIterator[Row]:
    return _pages(
        connection,
        """
        SELECT offering, enabled_allocations, enabled_units, enabled_credits, free_units, suspended_allocations,
               suspended_units, suspended_credits
        FROM offering_usage WHERE organization = $1 ORDER BY offering
        """,
        name,
    )


def usage_hours(connection: Connection, name: str) -> AsyncIterator[Row]:
    return _pages(
        connection,
        """
        SELECT hour, valid_credits, allocated_credits, peak_allocated_credits, begins_at_start, first_revision,
               last_revision
        FROM usage_hour WHERE organization = $1 ORDER BY hour
        """,
        name,
    )


async def _pages(connection: Connection, statement: str, *arguments: Any) -> AsyncIterator[Row]:
    """The rows of a query, fetched a page at a time."""
    cursor = await connection.cursor(statement, *arguments)
    while page := await cursor.fetch(PAGE_ROWS):
        for row in page:
            yield cast(Row, row)
