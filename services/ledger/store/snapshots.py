"""Reading without a lock: one snapshot of one organization or of all, each item with the instant it holds at."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from services.ledger.rules.encoding import MICROSECOND
from services.ledger.rules.looking import Interval, UsageStep, history
from services.ledger.rules.model import (
    Allocation,
    AllocationState,
    Entry,
    Organization,
    Subscription,
    SubscriptionState,
)
from services.ledger.rules.price import Offering
from services.ledger.rules.refusal import organization_not_found
from services.ledger.rules.summing import OfferingUsage
from services.ledger.store import catalog_tables, entry_reads, reads, usage_reads
from services.ledger.store.database import Connection
from services.ledger.store.entry_reads import EntryFilter, EntryKey

Key = tuple[str, str]
"""(organization, id): the order of every list. The next page begins after the last key of the one before."""

BEYOND_EVERY_ID: Final = "\x7f"


async def open_snapshot(connection: Connection, organization: str | None) -> "Snapshot":
    """The snapshot is that of the connection's transaction, which begins with this statement.

    Raises Refused if there is no such organization.
    """
    if organization is None:
        return Snapshot(connection, None, await reads.read_now(connection), None)
    found = await reads.read_organization_and_now(connection, organization)
    if found is None:
        raise organization_not_found(organization)
    return Snapshot(connection, organization, found[1], found[0])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One organization, or all (None), as the database had it at one instant."""

    connection: Connection
    organization: str | None
    now: datetime
    state: Organization | None
    """The one organization's row."""

    @property
    def is_settled(self) -> bool:
        """Whether everything that has come due is applied, and the sums of usage are kept. Of all: nobody asks."""
        return self.state is None or (self.state.usage_is_kept and not self.state.is_due(self.now))

    async def organizations(self, after: str, limit: int) -> list[tuple[Organization, datetime]]:
        """The next ones by id, each with the instant at which its figures hold."""
        rows = await self.connection.fetch(
            """
            SELECT organization, display_name, valid_credits, grace_credits, allocated_credits, suspended_credits,
                   overdraft_limit, overdraft_unlimited, revision, digest, settled_time, next_transition_time,
                   threshold_percent, open_allocations, changed_revision, create_time, update_time,
                   usage_revision = revision AS usage_is_kept
            FROM organization WHERE organization > $1 ORDER BY organization LIMIT $2
            """,
            after,
            limit,
        )
        found = [reads.organization_from_row(row) for row in rows]
        return [(each, holds_at(each, self.now)) for each in found]

    def one_organization(self) -> tuple[Organization, datetime]:
        """The snapshot's own, and the instant at which it holds."""
        assert self.state is not None
        return self.state, holds_at(self.state, self.now)

    async def subscription(self, subscription: str) -> tuple[Subscription, datetime] | None:
        _, as_of = self.one_organization()
        found = await reads.read_named_subscription(self.connection, self.organization or "", subscription)
        return (found, as_of) if found else None

    async def allocation(self, allocation: str) -> tuple[Allocation, datetime] | None:
        _, as_of = self.one_organization()
        found = await reads.read_allocations(self.connection, self.organization or "", [allocation])
        return (found[allocation], as_of) if found else None

    async def live_subscriptions(self) -> list[Subscription]:
        """Of the snapshot's organization: those that are not over, by id."""
        return await reads.read_live_subscriptions(self.connection, self.organization or "")

    async def offering_usage(self) -> list[OfferingUsage]:
        """Of the snapshot's organization: what is enabled or suspended, by the offering's id."""
        return await usage_reads.read_offering_usage(self.connection, self.organization or "")

    async def history(self, interval: Interval, as_of: datetime) -> list[UsageStep]:
        """Of the snapshot's organization: every step that begins no later than `as_of`, the instant it holds at."""
        organization = self.organization or ""
        before = await usage_reads.read_figures_before(self.connection, organization, interval.start)
        changes = await usage_reads.read_changes(self.connection, organization, interval)
        return history(interval, before, changes, as_of)

    async def entries(
        self, wanted: EntryFilter, after_revision: int, key: EntryKey | None, limit: int, *, newest_first: bool
    ) -> tuple[list[Entry], EntryKey | None]:
        """The next ones behind the key, and from where to go on if none of these is the last."""
        lowest, highest = await self._entry_range(wanted, after_revision)
        after, before = (lowest[0], lowest[1] - 1), (highest[0], highest[1] + 1)
        # Whatever organization the key is of, no other one is shown.
        if newest_first:
            before = min(key or before, before)
            return await entry_reads.list_entries_newest_first(self.connection, before, lowest, wanted, limit)
        after = max(key or after, after)
        return await entry_reads.list_entries(self.connection, after, highest, wanted, limit)

    async def _entry_range(self, wanted: EntryFilter, after_revision: int) -> tuple[EntryKey, EntryKey]:
        """The keys between which all wanted entries lie, both included."""
        if self.organization is None:
            return ("", 1), (BEYOND_EVERY_ID, 1)
        first, last = await entry_reads.read_revisions_between(
            self.connection, self.organization, wanted.start_time, wanted.end_time
        )
        if first is None or last is None:
            return (self.organization, 1), (self.organization, 0)
        return (self.organization, max(first, min(after_revision, last) + 1)), (self.organization, last)

    async def offerings_of(self, named: Collection[str]) -> dict[str, Offering]:
        """Those of the given ids that exist."""
        return await catalog_tables.read_offerings(self.connection, sorted(named))

    async def offering(self, offering: str) -> Offering | None:
        return (await catalog_tables.read_offerings(self.connection, [offering])).get(offering)

    async def subscriptions(
        self, state: SubscriptionState | None, after: Key | None, limit: int
    ) -> list[tuple[Subscription, datetime]]:
        """The next ones after the key, each with the instant at which it stood so."""
        rows = await self.connection.fetch(
            """
            SELECT s.organization, s.subscription, s.state, s.credits, s.start_time, s.end_time, s.grace_period,
                   s.renews, s.order_reference, s.labels, s.changed_revision, s.create_time, s.update_time,
                   s.cancel_time, o.settled_time, o.next_transition_time
            FROM subscription s JOIN organization o USING (organization)
            WHERE (s.organization, s.subscription) > ($1, $2) AND s.organization <= $3
              AND ($4::text IS NULL OR s.state = $4)
            ORDER BY s.organization, s.subscription LIMIT $5
            """,
            *self._range(after),
            state,
            limit,
        )
        return [
            (
                reads.subscription_from_row(_own_columns(row)),
                _as_of(row["settled_time"], row["next_transition_time"], self.now),
            )
            for row in rows
        ]

    async def allocations(
        self,
        state: AllocationState | None,
        offering: str | None,
        labels: Mapping[str, str],
        after: Key | None,
        limit: int,
    ) -> list[tuple[Allocation, datetime]]:
        """The next ones after the key that match all of the filter, each with the instant at which it stood so."""
        rows = await self.connection.fetch(
            """
            SELECT a.organization, a.allocation, a.offering, a.state, a.units, a.credits, a.suspended_credits,
                   a.price_version, a.priority, a.labels, a.enabled_revision, a.changed_revision, a.create_time,
                   a.update_time, o.settled_time, o.next_transition_time
            FROM allocation a JOIN organization o USING (organization)
            WHERE (a.organization, a.allocation) > ($1, $2) AND a.organization <= $3
              AND ($4::text IS NULL OR a.state = $4) AND ($5::text IS NULL OR a.offering = $5)
              AND a.labels @> $6::jsonb
            ORDER BY a.organization, a.allocation LIMIT $7
            """,
            *self._range(after),
            state,
            offering,
            json.dumps(dict(labels)),
            limit,
        )
        return [
            (
                reads.allocation_from_row(_own_columns(row)),
                _as_of(row["settled_time"], row["next_transition_time"], self.now),
            )
            for row in rows
        ]

    async def offerings(self, after: str, limit: int) -> list[Offering]:
        """The next ones by id."""
        return await catalog_tables.list_offerings(self.connection, after, limit)

    def _range(self, after: Key | None) -> tuple[str, str, str]:
        """From behind the key up to the end of the snapshot's organization, or of all."""
        if self.organization is not None:  # Whatever organization the key is of, no other one is shown.
            return self.organization, after[1] if after else "", self.organization
        return (*(after or ("", "")), BEYOND_EVERY_ID)


def holds_at(organization: Organization, now: datetime) -> datetime:
    """At which instant its row, read now, holds: now, or the last instant before something came due."""
    return _as_of(organization.settled_time, organization.next_transition_time, now)


def _as_of(settled_time: datetime, next_transition_time: datetime | None, now: datetime) -> datetime:
    if next_transition_time is not None and next_transition_time <= now:
        return next_transition_time - MICROSECOND
    return max(now, settled_time)


def _own_columns(row: asyncpg.Record) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("settled_time", "next_transition_time")}
