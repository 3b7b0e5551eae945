"""What an organization has, had and will have."""

from dataclasses import dataclass
from datetime import datetime

from earmark.types.answers import AllocationNames
from earmark.types.resources import Allocation, Balance, Organization, Subscription, SubscriptionState, Word


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferingUsage:
    """What the allocations of one offering hold."""

    offering: str
    enabled_allocations: int
    enabled_units: int
    enabled_credits: int
    suspended_allocations: int
    suspended_units: int
    suspended_credits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingCredits:
    """ACTIVE credits whose term ends within so many days."""

    within_days: int
    credits: int
    renewed_credits: int
    """Of these, those whose subscription has a renewal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionUsage:
    """A subscription, as far as usage goes."""

    id: str
    state: SubscriptionState
    credits: int
    start_time: datetime
    end_time: datetime
    grace_end_time: datetime
    renewal: str
    """The id of its renewal that is not over; empty if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    balance: Balance
    offerings: tuple[OfferingUsage, ...]
    ending: tuple[EndingCredits, ...]
    """Within 30, 60 and 90 days; each includes those before it."""
    subscriptions: tuple[SubscriptionUsage, ...]


class HistoryStep(Word):
    """The length of a step, in UTC."""

    HOUR = "HOUR"
    DAY = "DAY"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageStep:
    start_time: datetime
    valid_credits: int
    """At its end."""
    allocated_credits: int
    """At its end."""
    peak_allocated_credits: int
    in_progress: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageHistory:
    steps: tuple[UsageStep, ...]
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastPoint:
    """The figures from one instant to the next."""

    time: datetime
    valid_credits: int
    grace_credits: int
    allocated_credits: int
    suspended_credits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What time alone will do."""

    balance: Balance
    points: tuple[ForecastPoint, ...]
    grace_start_times: tuple[datetime, ...]
    """From when on grace carries what is not spendable."""
    coverage_end_times: tuple[datetime, ...]
    """When something is suspended."""
    suspended: AllocationNames
    """At the first of these."""


class EntryKind(Word):
    """What happened."""

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


class Ending(Word):
    """What a reminder is about."""

    TERM = "TERM"
    GRACE = "GRACE"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingSoon:
    """A reminder."""

    ending: Ending
    days: int
    """So many are left."""
    renewed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of an organization's ledger; never changed, never deleted."""

    organization: str
    revision: int
    """1, 2, 3, ... without gaps."""
    kind: EntryKind
    resource: str
    """The name of the organization, subscription or allocation that it is about."""
    effective_time: datetime
    recorded_time: datetime
    actor: str
    request_id: str
    causes: tuple[str, ...]
    """The names of the first 5 things that brought it about, where it is a consequence."""
    cause_count: int
    after: Organization | Subscription | Allocation | None
    """The resource as it is after the entry."""
    threshold_percent: int
    """Of THRESHOLD_CROSSED: 75, 90 or 100; otherwise 0."""
    ending_soon: EndingSoon | None
    valid_delta: int
    grace_delta: int
    allocated_delta: int
    suspended_delta: int
    balance: Balance
    """The figures after it."""
    last: bool
    """It is the last of its call or settled instant."""
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSnapshot:
    """What an organization has and what holds it, at one revision."""

    balance: Balance
    offerings: tuple[OfferingUsage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """What a watch brings: a snapshot at its beginning, entries, or neither: then it only says that it is alive."""

    revision: int
    """The newest that the watch has delivered."""
    resume_token: str
    """To go on after this event."""
    snapshot: UsageSnapshot | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancesEvent:
    """The newest balances of organizations that changed."""

    balances: tuple[Balance, ...]
    caught_up: bool
    """Nothing else has changed since; the first time this ends the first reading."""
