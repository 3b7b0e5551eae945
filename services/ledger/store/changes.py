"""Which organizations changed lately: one function is one SQL statement."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from services.ledger.rules.answers import Balance
from services.ledger.store import reads
from services.ledger.store.database import Connection
from services.ledger.store.snapshots import holds_at


async def read_horizon(connection: Connection) -> datetime:
    """Whatever is committed after this statement was, or will be, written at or after this instant.

    By the clock that nobody moves. A transaction that has written something holds a transaction id; one that holds none
    yet writes later than now. Of a session of another role one sees no start: it may have begun a minute ago, and is
    ended if it does nothing for so long. Two seconds are taken off, since a server's clock may be set back a little.
    """
    horizon: datetime = await connection.fetchval(
        """
        SELECT least(clock_timestamp(), min(coalesce(xact_start, clock_timestamp() - interval '1 minute')))
               - interval '2 seconds'
        FROM pg_stat_activity
        WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
        """
    )
    return horizon


async def read_earliest_writer(connection: Connection) -> datetime | None:
    """Since when, in Earmark's own time, somebody may be writing who is not committed yet; None if nobody is.

    Where the clock can be moved it may have been read before it was: then it is the beginning of time.
    """
    earliest: datetime | None = await connection.fetchval(
        """
        SELECT CASE WHEN count(pid) = 0 THEN NULL
                    WHEN (SELECT movable FROM clock) THEN timestamptz '2000-01-01 00:00:00+00'
                    ELSE min(coalesce(xact_start, clock_timestamp() - interval '1 minute')) - interval '2 seconds' END
        FROM pg_stat_activity
        WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
        """
    )
    return earliest


async def read_identity(connection: Connection) -> str:
    """Another text if it is another server, or the same that was started anew, or another database of that name."""
    identity: str = await connection.fetchval(
        """
        SELECT concat_ws(' ', inet_server_addr(), inet_server_port(), pg_postmaster_start_time(), oid)
        FROM pg_database WHERE datname = current_database()
        """
    )
    return identity


async def changed_since(connection: Connection, horizon: datetime) -> dict[str, int]:
    """The organizations with entries written at or after the horizon: each with its newest revision."""
    rows = await connection.fetch(
        "SELECT organization, max(revision) AS revision FROM entry WHERE written_time >= $1 GROUP BY organization",
        horizon,
    )
    return {row["organization"]: row["revision"] for row in rows}


async def read_balances(connection: Connection, organizations: Sequence[str]) -> list[Balance]:
    """Those of the given organizations that exist, settled or not, each as of its own instant, by id."""
    rows = await connection.fetch(
        """
        SELECT organization, display_name, valid_credits, grace_credits, allocated_credits, suspended_credits,
               overdraft_limit, overdraft_unlimited, revision, digest, settled_time, next_transition_time,
               threshold_percent, open_allocations, changed_revision, create_time, update_time,
               usage_revision = revision AS usage_is_kept, earmark_now() AS now
        FROM organization WHERE organization = ANY ($1::text[]) ORDER BY organization
        """,
        organizations,
    )
    return [_balance(row) for row in rows]


async def read_balances_after(connection: Connection, organization: str, limit: int) -> list[Balance]:
    """As `read_balances`, of the next `limit` organizations by id after the given one."""
    rows = await connection.fetch(
        """
        SELECT organization, display_name, valid_credits, grace_credits, allocated_credits, suspended_credits,
               overdraft_limit, overdraft_unlimited, revision, digest, settled_time, next_transition_time,
               threshold_percent, open_allocations, changed_revision, create_time, update_time,
               usage_revision = revision AS usage_is_kept, earmark_now() AS now
        FROM organization WHERE organization > $1 ORDER BY organization LIMIT $2
        """,
        organization,
        limit,
    )
    return [_balance(row) for row in rows]


async def read_ends(connection: Connection, organizations: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """The newest revision, and its entry's digest, of those of the given organizations that exist."""
    rows = await connection.fetch(
        "SELECT organization, revision, digest FROM organization WHERE organization = ANY ($1::text[])", organizations
    )
    return {row["organization"]: (row["revision"], row["digest"]) for row in rows}


def _balance(row: asyncpg.Record) -> Balance:
    state = reads.organization_from_row(row)
    return Balance(state.organization, state.revision, holds_at(state, row["now"]), state.figures)
