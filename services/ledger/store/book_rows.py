"""What books are opened with: one statement, so one round trip and one snapshot. What is locked was locked before."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from typing import Any

from services.ledger.rules.answers import answer_from
from services.ledger.rules.book import Remembered
from services.ledger.rules.model import (
    Allocation,
    AllocationState,
    Figures,
    Organization,
    Subscription,
    SubscriptionState,
)
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
    """The clock, read in the same statement."""
    state: Organization | None
    """None if there is no such organization."""
    subscriptions: dict[str, Subscription]
    """Those that are not over, and those named."""
    allocations: dict[str, Allocation]
    """Those named."""
    offerings: dict[str, Offering]
    """Those named, and those of the allocations; of other organizations, too."""
    requests: dict[str, Remembered]
    """Those named that were used."""

    @property
    def known_state(self) -> Organization:
        """Of an organization that the caller knows to exist."""
        assert self.state is not None
        return self.state

    @property
    def never_earlier(self) -> datetime:
        """Now, but not before the organization's own time, whatever the database's clock does."""
        return self.now if self.state is None else max(self.now, self.state.settled_time)


async def read_book_rows(connection: Connection, named: Mapping[str, Named]) -> dict[str, BookRows]:
    """Of each organization, with what is named of it."""
    # OFFSET 0: whatever the planner thinks of the tables' sizes, it is one look-up for each that is named.
    row = await connection.fetchrow(
        """
        WITH held AS MATERIALIZED (
            SELECT found.* FROM unnest($2::text[], $3::text[]) AS named (organization, id)
                CROSS JOIN LATERAL (
                    SELECT organization, allocation, offering, state, units, credits, suspended_credits, price_version,
                           priority, labels, enabled_revision, changed_revision, create_time, update_time
                    FROM allocation
                    WHERE organization = named.organization AND allocation = named.id OFFSET 0) AS found)
        SELECT earmark_now() AS now,
               (SELECT array_agg((organization, display_name, valid_credits, grace_credits, allocated_credits,
                                  suspended_credits, overdraft_limit, overdraft_unlimited, revision, digest,
                                  settled_time, next_transition_time, threshold_percent, open_allocations,
                                  changed_revision, create_time, update_time, usage_revision = revision))
                FROM organization WHERE organization = ANY ($1::text[])) AS organizations,
               (SELECT array_agg((organization, subscription, state, credits, start_time, end_time, grace_period,
                                  renews, order_reference, labels, changed_revision, create_time, update_time,
                                  cancel_time))
                FROM (SELECT * FROM subscription
                      WHERE organization = ANY ($1::text[]) AND state IN ('SCHEDULED', 'ACTIVE', 'GRACE')
                      UNION ALL
                      SELECT found.* FROM unnest($4::text[], $5::text[]) AS named (organization, id)
                          CROSS JOIN LATERAL (
                              SELECT * FROM subscription
                              WHERE organization = named.organization AND subscription = named.id
                                AND state NOT IN ('SCHEDULED', 'ACTIVE', 'GRACE') OFFSET 0) AS found
                     ) AS wanted) AS subscriptions,
               (SELECT array_agg(held) FROM held) AS allocations,
               (SELECT array_agg(found ORDER BY offering, version)
                FROM (SELECT DISTINCT unnest($6::text[] || ARRAY(SELECT offering FROM held)) AS id) AS named
                    CROSS JOIN LATERAL (
                        SELECT o.offering, display_name, solution, unit, retired, changes, create_time, update_time,
                               version, effective_time, credits_per_block, block_units, max_credits
                        FROM offering o, offering_price p
                        WHERE o.offering = named.id AND p.offering = named.id OFFSET 0) AS found) AS offerings,
               (SELECT array_agg(found) FROM unnest($7::text[], $8::text[]) AS named (organization, id)
                    CROSS JOIN LATERAL (
                        SELECT organization, request_id, meaning, answer FROM request
                        WHERE organization = named.organization AND request_id = named.id OFFSET 0) AS found
               ) AS requests
        """,
        list(named),
        *_pairs((organization, each.allocations) for organization, each in named.items()),
        *_pairs((organization, each.subscriptions) for organization, each in named.items()),
        list({offering for each in named.values() for offering in each.offerings}),
        *_pairs((organization, each.request_ids) for organization, each in named.items()),
    )
    assert row is not None
    offerings = offerings_from(row["offerings"] or ())
    states = {each[0]: _organization(*each) for each in row["organizations"] or ()}
    found = {each: BookRows(row["now"], states.get(each), {}, {}, offerings, {}) for each in named}
    for organization, key, *columns in row["subscriptions"] or ():
        found[organization].subscriptions[key] = _subscription(organization, key, *columns)
    for organization, key, *columns in row["allocations"] or ():
        found[organization].allocations[key] = _allocation(organization, key, *columns)
    for organization, key, meaning, answer in row["requests"] or ():
        remembered = Remembered(key, meaning, answer_from(organization, json.loads(answer)))
        found[organization].requests[key] = remembered
    return found


def _pairs(named: Iterable[tuple[str, Sequence[str]]]) -> tuple[list[str], list[str]]:
    """Of each id its organization, and the id."""
    organizations: list[str] = []
    ids: list[str] = []
    for organization, each in named:
        organizations.extend(repeat(organization, len(each)))
        ids.extend(each)
    return organizations, ids


def _organization(organization: str, display_name: str, *columns: Any) -> Organization:
    valid, grace, allocated, suspended, overdraft_limit, overdraft_unlimited, *rest = columns
    figures = Figures(valid, grace, allocated, suspended, overdraft_limit, overdraft_unlimited)
    return Organization(organization, display_name, figures, *rest)


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
