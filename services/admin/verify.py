"""Derives every figure of every organization again from the entries alone, and compares it with what is stored.

Nothing here uses the ledger's rules: a fault in them, or a row that somebody altered, would otherwise go unseen.
"""

from dataclasses import dataclass, field
from typing import Any

from services.admin.verify_fold import Fold, Row
from services.admin.verify_rows import compare_allocation, compare_organization, compare_subscription
from services.ledger.store.database import Connection

PAGE_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Report:
    organizations: int = 0
    entries: int = 0
    problems: list[str] = field(default_factory=list)
    """Each names the organization, the entry or resource, what it is, and what it should be."""


async def verify(connection: Connection, organization: str | None = None) -> Report:
    """Reads one organization, or all, in one snapshot, and changes nothing; calls may go on meanwhile.

    Of an organization in which much is wrong the first problems are named, and how many more there are. In memory is
    one organization at a time: about half a kilobyte for each of its allocations.
    """
    entries = 0
    problems: list[str] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        names = [organization] if organization is not None else await _organizations(connection)
        for name in names:
            fold = await _verify_one(connection, name)
            entries += fold.entries
            problems += fold.problems.named()
    return Report(len(names), entries, problems)


async def _verify_one(connection: Connection, organization: str) -> Fold:
    fold = Fold(organization)
    async for row in _entries(connection, organization):
        fold.take(row)
    compare_organization(fold, await _organization(connection, organization))
    async for row in _subscriptions(connection, organization):
        compare_subscription(fold, row)
    async for row in _allocations(connection, organization):
        compare_allocation(fold, row)
    for name in fold.not_compared():
        fold.problems.add(name, "has entries, but no row")
    return fold


async def _organizations(connection: Connection) -> list[str]:
    """Also those of which only some rows are left."""
    rows = await connection.fetch(
        """
        SELECT organization FROM organization
        UNION SELECT organization FROM entry
        UNION SELECT organization FROM subscription
        UNION SELECT organization FROM allocation
        ORDER BY organization
        """
    )
    return [row["organization"] for row in rows]


async def _organization(connection: Connection, organization: str) -> Row | None:
    row = await connection.fetchrow(
        """
        SELECT display_name, valid_credits, grace_credits, allocated_credits, suspended_credits, overdraft_limit,
               overdraft_unlimited, revision, digest, settled_time, next_transition_time, threshold_percent,
               open_allocations, changed_revision, create_time, update_time
        FROM organization WHERE organization = $1
        """,
        organization,
    )
    return dict(row) if row else None


def _entries(connection: Connection, organization: str) -> Any:
    return connection.cursor(
        """
        SELECT revision, kind, resource, effective_time, recorded_time, actor, request_id, causes, cause_count, after,
               detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits, grace_credits,
               allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last, digest
        FROM entry WHERE organization = $1 ORDER BY revision
        """,
        organization,
        prefetch=PAGE_ROWS,
    )


def _subscriptions(connection: Connection, organization: str) -> Any:
    return connection.cursor(
        """
        SELECT subscription, state, credits, start_time, end_time, grace_period, renews, order_reference, labels,
               changed_revision, create_time, update_time, cancel_time
        FROM subscription WHERE organization = $1 ORDER BY subscription
        """,
        organization,
        prefetch=PAGE_ROWS,
    )


def _allocations(connection: Connection, organization: str) -> Any:
    return connection.cursor(
        """
        SELECT allocation, offering, state, units, credits, suspended_credits, price_version, priority, labels,
               enabled_revision, changed_revision, create_time, update_time
        FROM allocation WHERE organization = $1 ORDER BY allocation
        """,
        organization,
        prefetch=PAGE_ROWS,
    )
