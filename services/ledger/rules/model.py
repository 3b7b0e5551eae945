"""What an organization consists of: plain values, as they are at one instant.

Credits are whole numbers, instants are aware datetimes in UTC, ids are the callers' own.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct

from services.ledger.rules import names


class SubscriptionState(StrEnum):
    SCHEDULED = "SCHEDULED"
    ACTIVE = "ACTIVE"
    GRACE = "GRACE"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"

    @property
    def over(self) -> bool:
        """Whether nothing can change any more."""
        return self in (SubscriptionState.EXPIRED, SubscriptionState.CANCELLED)


class AllocationState(StrEnum):
    ENABLED = "ENABLED"
    SUSPENDED = "SUSPENDED"
    DISABLED = "DISABLED"


class EntryKind(StrEnum):
    ORGANIZATION_CREATED = "ORGANIZATION_CREATED"
    ORGANIZATION_UPDATED = "ORGANIZATION_UPDATED"
    SUBSCRIPTION_CREATED = "SUBSCRIPTION_CREATED"
    SUBSCRIPTION_STARTED = "SUBSCRIPTION_STARTED"
    SUBSCRIPTION_AMENDED = "SUBSCRIPTION_AMENDED"
    SUBSCRIPTION_ENDED = "SUBSCRIPTION_ENDED"
    SUBSCRIPTION_EXPIRED = "SUBSCRIPTION_EXPIRED"
    SUBSCRIPTION_CANCELLED = "SUBSCRIPTION_CANCELLED"
    SUBSCRIPTION_ENDING_SOON = "SUBSCRIPTION_ENDING_SOON"
    ALLOCATION_ENABLED = "ALLOCATION_ENABLED"
    ALLOCATION_ADJUSTED = "ALLOCATION_ADJUSTED"
    ALLOCATION_UPDATED = "ALLOCATION_UPDATED"
    ALLOCATION_DISABLED = "ALLOCATION_DISABLED"
    ALLOCATION_SUSPENDED = "ALLOCATION_SUSPENDED"
    ALLOCATION_RESUMED = "ALLOCATION_RESUMED"
    THRESHOLD_CROSSED = "THRESHOLD_CROSSED"


class Figures(Struct, frozen=True):
    """What an organization has and holds. `allocated` never exceeds `coverage`."""

    valid: int = 0
    grace: int = 0
    allocated: int = 0
    suspended: int = 0
    overdraft_limit: int = 0
    overdraft_unlimited: bool = False

    @property
    def available(self) -> int:
        """Negative when overdrawn."""
        return self.valid - self.allocated

    @property
    def spendable(self) -> int | None:
        """Up to here more may be allocated; None is no bound."""
        return None if self.overdraft_unlimited else self.valid + self.overdraft_limit

    @property
    def coverage(self) -> int | None:
        """What is allocated may stay up to here; None is no bound."""
        return None if self.overdraft_unlimited else self.valid + self.grace + self.overdraft_limit

    @property
    def wanted(self) -> int:
        """What would be allocated if everything suspended came back."""
        return self.allocated + self.suspended


class OrganizationFields(Struct, frozen=True):
    """An organization's own fields, without its figures."""

    organization: str
    display_name: str
    changed_revision: int
    create_time: datetime
    update_time: datetime


class Organization(Struct, frozen=True):
    organization: str
    display_name: str
    figures: Figures
    revision: int
    """The number of the newest entry."""
    digest: bytes
    """Of the newest entry; 32 bytes."""
    settled_time: datetime
    """Every transition up to here, this instant included, has been applied; time never runs back behind it."""
    next_transition_time: datetime | None
    """The next instant at which something comes due by itself."""
    threshold_percent: int
    """The highest threshold crossed and not yet armed again; 0 if none."""
    open_allocations: int
    """Allocations that are not DISABLED."""
    changed_revision: int
    """The revision of the last change of its own fields."""
    create_time: datetime
    update_time: datetime
    usage_is_kept: bool = True
    """Whether its sums of usage include every entry. False after a release wrote that does not know of them."""

    def is_due(self, now: datetime) -> bool:
        """Whether something has come due that is not applied yet."""
        return self.next_transition_time is not None and self.next_transition_time <= now

    @property
    def name(self) -> str:
        return names.organization_name(self.organization)

    @property
    def etag(self) -> str:
        return str(self.changed_revision)

    @property
    def fields(self) -> OrganizationFields:
        return OrganizationFields(
            self.organization, self.display_name, self.changed_revision, self.create_time, self.update_time
        )


class Subscription(Struct, frozen=True):
    organization: str
    subscription: str
    state: SubscriptionState
    credits: int
    start_time: datetime
    end_time: datetime
    grace_period: timedelta
    renews: str | None
    order_reference: str
    labels: Mapping[str, str]
    changed_revision: int
    create_time: datetime
    update_time: datetime
    cancel_time: datetime | None

    @property
    def grace_end_time(self) -> datetime:
        return self.end_time + self.grace_period

    @property
    def name(self) -> str:
        return names.subscription_name(self.organization, self.subscription)

    @property
    def etag(self) -> str:
        return str(self.changed_revision)

    @property
    def valid(self) -> int:
        """What it adds to the organization's valid credits."""
        return self.credits if self.state is SubscriptionState.ACTIVE else 0

    @property
    def grace(self) -> int:
        """What it adds to the organization's credits in grace."""
        return self.credits if self.state is SubscriptionState.GRACE else 0


class Allocation(Struct, frozen=True):
    organization: str
    allocation: str
    offering: str
    state: AllocationState
    units: int
    credits: int
    """Held; 0 unless ENABLED."""
    suspended_credits: int
    """Needed to come back; 0 unless SUSPENDED."""
    price_version: int
    """That it is, or when DISABLED was, enabled with."""
    priority: int
    labels: Mapping[str, str]
    enabled_revision: int
    """At which it last left DISABLED."""
    changed_revision: int
    create_time: datetime
    update_time: datetime

    @property
    def name(self) -> str:
        return names.allocation_name(self.organization, self.allocation)

    @property
    def etag(self) -> str:
        return str(self.changed_revision)

    @property
    def keeping_order(self) -> tuple[int, int, str]:
        """Sorts what is kept and resumed first to the front; ids are ASCII, so text compares as bytes do."""
        return (-self.priority, self.enabled_revision, self.allocation)


class Entry(Struct, frozen=True):
    """One line of an organization's ledger. docs/ledger.md writes down what the digest is taken over."""

    organization: str
    revision: int
    kind: EntryKind
    resource: str
    """The id of the subscription or allocation; empty for the organization itself."""
    effective_time: datetime
    recorded_time: datetime
    actor: str
    request_id: str
    causes: tuple[str, ...]
    """Names of what brought it about, where it is a consequence; the first 5."""
    cause_count: int
    after: Mapping[str, Any]
    """The resource as it is after the entry, in JSON's terms."""
    detail: Mapping[str, Any]
    """What only this kind says, in JSON's terms."""
    before: Figures
    figures: Figures
    """After the entry."""
    last: bool = False
    """Whether it is the last of its call or settled instant."""
    digest: bytes = b""
