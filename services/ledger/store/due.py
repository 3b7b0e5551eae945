"""What time leaves to do: one function is one SQL statement."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from services.ledger.store.database import Connection


async def due_organizations(connection: Connection, but: Sequence[str], limit: int) -> list[str]:
    """Those with a transition that has come due, the longest overdue first. Locks nothing."""
    rows = await connection.fetch(
        """
        SELECT organization FROM organization
        WHERE next_transition_time <= (SELECT earmark_now()) AND organization <> ALL ($1::text[])
        ORDER BY next_transition_time LIMIT $2
        """,
        but,
        limit,
    )
    return [row["organization"] for row in rows]


async def oldest_due_seconds(connection: Connection) -> float:
    """How long the oldest transition that is not settled has been due; 0 if none is."""
    seconds: float = await connection.fetchval(
        """
        SELECT greatest(0, coalesce(extract(epoch FROM earmark_now() - min(next_transition_time)), 0))::float8
        FROM organization
        """
    )
    return seconds


async def now_minus(connection: Connection, age: timedelta) -> datetime:
    instant: datetime = await connection.fetchval("SELECT earmark_now() - $1::interval", age)
    return instant


async def remove_requests(connection: Connection, before: datetime, limit: int) -> int:
    """Forgets up to `limit` request ids that were used before an instant; returns how many. Locks no organization."""
    done = await connection.execute(
        """
        WITH old AS (
            SELECT organization, request_id FROM request WHERE recorded_time < $1
            ORDER BY recorded_time LIMIT $2 FOR UPDATE SKIP LOCKED)
        DELETE FROM request USING old
        WHERE request.organization = old.organization AND request.request_id = old.request_id
        """,
        before,
        limit,
    )
    return int(done.removeprefix("DELETE "))


async def remove_catalog_requests(connection: Connection, before: datetime, limit: int) -> int:
    """As `remove_requests`, for those of the catalogue."""
    done = await connection.execute(
        """
        WITH old AS (
            SELECT request_id FROM catalog_request WHERE recorded_time < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
        DELETE FROM catalog_request USING old WHERE catalog_request.request_id = old.request_id
        """,
        before,
        limit,
    )
    return int(done.removeprefix("DELETE "))
