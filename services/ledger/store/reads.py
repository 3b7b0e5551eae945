"""Reading the organizations' tables: one function is one SQL statement."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

import asyncpg

from services.ledger.rules.model import (
    Allocation,
    AllocationState,
    Figures,
    Organization,
    Subscription,
    SubscriptionState,
)
from services.ledger.store.database import Connection

Row: TypeAlias = "asyncpg.Record | Mapping[str, Any]"

ROWS_PER_FETCH: Final = 2_000
"""Of what may be a million rows, so that others get their turn between."""


async def read_now(connection: Connection) -> datetime:
    """The clock. Never ask in a statement that waits for a lock: it would tell an old time."""
    now: datetime = await connection.fetchval("SELECT earmark_now()")
    return now


async def lock_organization(connection: Connection, organization: str) -> bool:
    """Whether it exists. What is read afterwards, in another statement, is what it was locked with."""
    row = await connection.fetchrow(
        """
        SELECT FROM organization WHERE organization = $1
        FOR UPDATE -- Does the heavy lifting: one transaction at a time has the book open.
        """,
        organization,
    )
    return row is not None


async def lock_organization_if_free(connection: Connection, organization: str) -> bool:
    """As `lock_organization`, but False if somebody else has it."""
    row = await connection.fetchrow(
        "SELECT FROM organization WHERE organization = $1 FOR UPDATE SKIP LOCKED", organization
    )
    return row is not None


async def lock_absent_organization(connection: Connection, organization: str) -> None:
    """FOR UPDATE cannot lock a row that does not exist yet: until the transaction ends this lock stands in for it."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", organization)


async def read_organization_and_now(connection: Connection, organization: str) -> tuple[Organization, datetime] | None:
    """The clock is read in the same snapshot."""
    row = await connection.fetchrow(
        """
        SELECT organization, display_name, valid_credits, grace_credits, allocated_credits, suspended_credits,
               overdraft_limit, overdraft_unlimited, revision, digest, settled_time, next_transition_time,
               threshold_percent, open_allocations, changed_revision, create_time, update_time,
               usage_revision = revision AS usage_is_kept, earmark_now() AS now
        FROM organization WHERE organization = $1
        """,
        organization,
    )
    return (organization_from_row(row), row["now"]) if row else None


async def read_live_subscriptions(connection: Connection, organization: str) -> list[Subscription]:
    """Those that are not over, by id."""
    rows = await connection.fetch(
        """
        SELECT organization, subscription, state, credits, start_time, end_time, grace_period, renews,
               order_reference, labels, changed_revision, create_time, update_time, cancel_time
        FROM subscription
        WHERE organization = $1 AND state IN ('SCHEDULED', 'ACTIVE', 'GRACE')
        ORDER BY subscription
        """,
        organization,
    )
    return [subscription_from_row(row) for row in rows]


async def read_named_subscription(connection: Connection, organization: str, named: str) -> Subscription | None:
    row = await connection.fetchrow(
        """
        SELECT organization, subscription, state, credits, start_time, end_time, grace_period, renews,
               order_reference, labels, changed_revision, create_time, update_time, cancel_time
        FROM subscription WHERE organization = $1 AND subscription = $2
        """,
        organization,
        named,
    )
    return subscription_from_row(row) if row else None


async def read_allocations(connection: Connection, organization: str, named: Sequence[str]) -> dict[str, Allocation]:
    rows = await connection.fetch(
        """
        SELECT organization, allocation, offering, state, units, credits, suspended_credits, price_version, priority,
               labels, enabled_revision, changed_revision, create_time, update_time
        FROM allocation WHERE organization = $1 AND allocation = ANY ($2::text[])
        """,
        organization,
        named,
    )
    return {row["allocation"]: allocation_from_row(row) for row in rows}


async def read_suspended_allocations(connection: Connection, organization: str) -> dict[str, Allocation]:
    rows = connection.cursor(
        """
        SELECT organization, allocation, offering, state, units, credits, suspended_credits, price_version, priority,
               labels, enabled_revision, changed_revision, create_time, update_time
        FROM allocation WHERE organization = $1 AND state = 'SUSPENDED'
        """,
        organization,
        prefetch=ROWS_PER_FETCH,
    )
    return {row["allocation"]: allocation_from_row(row) async for row in rows}


async def read_holding_allocations(connection: Connection, organization: str) -> dict[str, Allocation]:
    rows = connection.cursor(
        """
        SELECT organization, allocation, offering, state, units, credits, suspended_credits, price_version, priority,
               labels, enabled_revision, changed_revision, create_time, update_time
        FROM allocation WHERE organization = $1 AND credits > 0
        """,
        organization,
        prefetch=ROWS_PER_FETCH,
    )
    return {row["allocation"]: allocation_from_row(row) async for row in rows}


async def read_entry_digest(connection: Connection, organization: str, revision: int) -> bytes | None:
    digest: bytes | None = await connection.fetchval(
        "SELECT digest FROM entry WHERE organization = $1 AND revision = $2", organization, revision
    )
    return digest


def figures_from_row(row: asyncpg.Record) -> Figures:
    return Figures(
        valid=row["valid_credits"],
        grace=row["grace_credits"],
        allocated=row["allocated_credits"],
        suspended=row["suspended_credits"],
        overdraft_limit=row["overdraft_limit"],
        overdraft_unlimited=row["overdraft_unlimited"],
    )


def organization_from_row(row: asyncpg.Record) -> Organization:
    return Organization(
        organization=row["organization"],
        display_name=row["display_name"],
        figures=figures_from_row(row),
        revision=row["revision"],
        digest=row["digest"],
        settled_time=row["settled_time"],
        next_transition_time=row["next_transition_time"],
        threshold_percent=row["threshold_percent"],
        open_allocations=row["open_allocations"],
        changed_revision=row["changed_revision"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        usage_is_kept=row["usage_is_kept"],
    )


def subscription_from_row(row: Row) -> Subscription:
    columns = {**row, "state": SubscriptionState(row["state"]), "labels": json.loads(row["labels"])}
    return Subscription(**columns)


def allocation_from_row(row: Row) -> Allocation:
    columns = {**row, "state": AllocationState(row["state"]), "labels": json.loads(row["labels"])}
    return Allocation(**columns)
