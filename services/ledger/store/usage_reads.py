"""Reading usage: one function is one SQL statement, and none touches more rows than what it answers with needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from services.ledger.rules.entitling import Grounds
from services.ledger.rules.looking import Interval, StepChange
from services.ledger.rules.model import AllocationState, Subscription, SubscriptionState
from services.ledger.rules.summing import OfferingUsage
from services.ledger.store import reads
from services.ledger.store.database import Connection


async def read_offering_usage(connection: Connection, organization: str) -> list[OfferingUsage]:
    """Of every offering of which something is enabled or suspended, by its id."""
    rows = await connection.fetch(
        """
        SELECT offering, enabled_allocations, enabled_units, enabled_credits, free_units, suspended_allocations,
               suspended_units, suspended_credits
        FROM offering_usage
        WHERE organization = $1 AND (enabled_allocations > 0 OR suspended_allocations > 0)
        ORDER BY offering
        """,
        organization,
    )
    return [OfferingUsage(**row) for row in rows]


async def read_figures_before(connection: Connection, organization: str, instant: datetime) -> tuple[int, int]:
    """(valid, allocated) after the last entry effective before the instant, which begins an hour."""
    row = await connection.fetchrow(
        """
        SELECT valid_credits, allocated_credits FROM usage_hour
        WHERE organization = $1 AND hour < $2 ORDER BY hour DESC LIMIT 1
        """,
        organization,
        instant,
    )
    return (row["valid_credits"], row["allocated_credits"]) if row else (0, 0)


async def read_changes(connection: Connection, organization: str, interval: Interval) -> dict[datetime, StepChange]:
    """The steps of the interval in which something took effect, by their starts."""
    rows = await connection.fetch(
        """
        SELECT step,
               (array_agg(valid_credits ORDER BY hour DESC))[1] AS valid,
               (array_agg(allocated_credits ORDER BY hour DESC))[1] AS allocated,
               max(peak_allocated_credits) AS peak_allocated,
               bool_or(begins_at_start AND hour = step) AS begins_at_start
        FROM usage_hour CROSS JOIN LATERAL date_trunc($4, hour, 'UTC') AS step
        WHERE organization = $1 AND hour >= $2 AND hour < $3
        GROUP BY step
        """,
        organization,
        interval.start,
        interval.end,
        interval.step.name.lower(),
    )
    return {
        row["step"]: StepChange(row["valid"], row["allocated"], row["peak_allocated"], row["begins_at_start"])
        for row in rows
    }


@dataclass(frozen=True, slots=True)
class EntitlementRows:
    """What entitlements are judged by, at one instant."""

    needs_settling: bool
    grounds: Grounds
    offerings: frozenset[str]
    """Of those asked for, those that exist."""
    usage: Mapping[str, OfferingUsage]
    allocations: Mapping[str, tuple[AllocationState, int, int]]
    """(state, units, credits) by id."""


async def read_entitlements(
    connection: Connection, organization: str, offerings: Sequence[str], allocations: Sequence[str]
) -> EntitlementRows | None:
    """All of it in one statement, so in one snapshot; None if there is no such organization."""
    row = await connection.fetchrow(
        """
        SELECT o.valid_credits, o.grace_credits, o.allocated_credits, o.suspended_credits, o.overdraft_limit,
               o.overdraft_unlimited, o.settled_time, o.next_transition_time, o.usage_revision = o.revision AS kept,
               earmark_now() AS now,
               (SELECT array_agg((s.subscription, s.state, s.credits, s.start_time, s.end_time, s.grace_period))
                FROM subscription s
                WHERE s.organization = $1 AND s.state IN ('SCHEDULED', 'ACTIVE', 'GRACE')) AS subscriptions,
               (SELECT array_agg(f.offering) FROM offering f WHERE f.offering = ANY ($2::text[])) AS offerings,
               (SELECT array_agg((u.offering, u.enabled_allocations, u.enabled_units, u.enabled_credits, u.free_units,
                                  u.suspended_allocations, u.suspended_units, u.suspended_credits))
                FROM offering_usage u WHERE u.organization = $1 AND u.offering = ANY ($2::text[])) AS usage,
               (SELECT array_agg((a.allocation, a.state, a.units, a.credits))
                FROM allocation a WHERE a.organization = $1 AND a.allocation = ANY ($3::text[])) AS allocations
        FROM organization o WHERE o.organization = $1
        """,
        organization,
        offerings,
        allocations,
    )
    return _entitlement_rows(organization, row) if row else None


def _entitlement_rows(organization: str, row: asyncpg.Record) -> EntitlementRows:
    due = row["next_transition_time"] is not None and row["next_transition_time"] <= row["now"]
    return EntitlementRows(
        needs_settling=due or not row["kept"],
        grounds=Grounds(
            now=max(row["now"], row["settled_time"]),
            figures=reads.figures_from_row(row),
            subscriptions=[_subscription(organization, *each) for each in row["subscriptions"] or ()],
        ),
        offerings=frozenset(row["offerings"] or ()),
        usage={each[0]: OfferingUsage(*each) for each in row["usage"] or ()},
        allocations={
            key: (AllocationState(state), units, credits) for key, state, units, credits in row["allocations"] or ()
        },
    )


def _subscription(organization: str, subscription: str, state: str, credits: int, *term: Any) -> Subscription:
    """As far as its schedule goes: nothing else of it was read."""
    start_time, end_time, grace_period = term
    return Subscription(
        organization=organization,
        subscription=subscription,
        state=SubscriptionState(state),
        credits=credits,
        start_time=start_time,
        end_time=end_time,
        grace_period=grace_period,
        renews=None,
        order_reference="",
        labels={},
        changed_revision=0,
        create_time=start_time,
        update_time=start_time,
        cancel_time=None,
    )
