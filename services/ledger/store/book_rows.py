"""What a book is opened with: one statement, so one round trip and one snapshot, after the lock was granted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.ledger.rules.answers import answer_from
from services.ledger.rules.book import Remembered
from services.ledger.rules.model import Allocation, AllocationState, Subscription, SubscriptionState
from services.ledger.rules.price import Offering
from services.ledger.store.catalog_tables import offerings_from
from services.ledger.store.database import Connection


@dataclass(frozen=True, slots=True)
class Named:
    """The ids that calls name."""

    subscriptions: Sequence[str] = ()
    allocations: Sequence[str] = ()
    offerings: Sequence[str] = ()
    request_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class BookRows:
    now: datetime
    """The clock, read after the lock was granted."""
    subscriptions: dict[str, Subscription]
    """Those that are not over, and those named."""
    allocations: dict[str, Allocation]
    """Those named."""
    offerings: dict[str, Offering]
    """Those named, and those of the allocations."""
    requests: dict[str, Remembered]
    """Those named that were used."""


async def read_book_rows(connection: Connection, organization: str, named: Named) -> BookRows:
    row = await connection.fetchrow(
        """
        SELECT earmark_now() AS now,
               (SELECT array_agg((subscription, state, credits, start_time, end_time, grace_period, renews,
                                  order_reference, labels, changed_revision, create_time, update_time, cancel_time))
                FROM (SELECT * FROM subscription
                      WHERE organization = $1 AND state IN ('SCHEDULED', 'ACTIVE', 'GRACE')
                      UNION ALL
                      SELECT * FROM subscription
                      WHERE organization = $1 AND subscription = ANY ($2::text[])
                        AND state NOT IN ('SCHEDULED', 'ACTIVE', 'GRACE')) AS wanted) AS subscriptions,
               (SELECT array_agg((allocation, offering, state, units, credits, suspended_credits, price_version,
                                  priority, labels, enabled_revision, changed_revision, create_time, update_time))
                FROM allocation WHERE organization = $1 AND allocation = ANY ($3::text[])) AS allocations,
               (SELECT array_agg((offering, display_name, solution, unit, retired, changes, create_time, update_time,
                                  version, effective_time, credits_per_block, block_units, max_credits)
                                 ORDER BY offering, version)
                FROM offering JOIN offering_price USING (offering)
                WHERE offering = ANY (
                    $4::text[]
                    || ARRAY(SELECT offering FROM allocation WHERE organization = $1 AND allocation = ANY ($3)))
               ) AS offerings,
               (SELECT array_agg((request_id, meaning, answer))
                FROM request WHERE organization = $1 AND request_id = ANY ($5::text[])) AS requests
        """,
        organization,
        named.subscriptions,
        named.allocations,
        named.offerings,
        named.request_ids,
    )
    assert row is not None
    return BookRows(
        now=row["now"],
        subscriptions={each[0]: _subscription(organization, *each) for each in row["subscriptions"] or ()},
        allocations={each[0]: _allocation(organization, *each) for each in row["allocations"] or ()},
        offerings=offerings_from(row["offerings"] or ()),
        requests={
            key: Remembered(key, meaning, answer_from(organization, json.loads(answer)))
            for key, meaning, answer in row["requests"] or ()
        },
    )


def _subscription(organization: str, subscription: str, state: str, *columns: Any) -> Subscription:
    credits, start_time, end_time, grace_period, renews, order_reference, labels, *rest = columns
    return Subscription(
        organization,
        subscription,
        SubscriptionState(state),
        credits,
        start_time,
        end_time,
        grace_period,
        renews,
        order_reference,
        _labels(labels),
        *rest,
    )


def _allocation(organization: str, allocation: str, offering: str, state: str, *columns: Any) -> Allocation:
    units, credits, suspended_credits, price_version, priority, labels, *rest = columns
    return Allocation(
        organization,
        allocation,
        offering,
        AllocationState(state),
        units,
        credits,
        suspended_credits,
        price_version,
        priority,
        _labels(labels),
        *rest,
    )


def _labels(text: str) -> Mapping[str, str]:
    labels: Mapping[str, str] = json.loads(text)
    return labels
