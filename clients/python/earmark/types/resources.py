"""The nouns of Earmark. Credits are whole numbers, instants have a time zone, ids are the callers' own keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Self


class Word(StrEnum):
    """A word of the contract. One that only a later release knows is kept as it is."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = str(value)
        return unknown


class SubscriptionState(Word):
    """Where a subscription is in its life."""

    SCHEDULED = "SCHEDULED"
    ACTIVE = "ACTIVE"
    GRACE = "GRACE"
    """Its credits carry what is enabled, and pay for nothing more."""
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


class AllocationState(Word):
    """Whether an allocation is on."""

    ENABLED = "ENABLED"
    SUSPENDED = "SUSPENDED"
    """Holds no credits, and comes back by itself when enough become spendable."""
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What an organization has and holds, at one revision of its ledger."""

    organization: str
    revision: int
    """The newest ledger entry that these figures include; of a rehearsal: what it would have been."""
    as_of: datetime
    valid_credits: int
    """The sum over ACTIVE subscriptions."""
    grace_credits: int
    """The sum over subscriptions in GRACE."""
    allocated_credits: int
    """What ENABLED allocations hold."""
    suspended_credits: int
    """What SUSPENDED allocations need to come back."""
    available_credits: int
    """Valid less allocated; negative when overdrawn."""
    overdraft_limit: int
    overdraft_unlimited: bool
    spendable_credits: int | None
    """Up to here more may be allocated; None: without bound."""
    coverage_credits: int | None
    """More than this is never allocated; None: without bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """A customer."""

    id: str
    display_name: str
    overdraft_limit: int
    overdraft_unlimited: bool
    balance: Balance
    create_time: datetime | None
    update_time: datetime | None
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A purchase: so many credits for a term `[start_time, end_time)`, and a grace period after it."""

    organization: str
    id: str
    state: SubscriptionState
    credits: int
    start_time: datetime
    end_time: datetime
    grace_period: timedelta
    grace_end_time: datetime
    renews: str
    """The id of the subscription that it renews; empty if none."""
    order_reference: str
    labels: Mapping[str, str]
    create_time: datetime | None
    update_time: datetime | None
    cancel_time: datetime | None
    etag: str
    as_of: datetime | None
    """When it stood so; None in a ledger entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """`credits(units) = ceil(ceil(units / block_units) * credits_per_block)`, at most `max_credits` for one allocation.

    To make one: `Price(credits_per_block=Decimal("0.05"))`. Credits per block have at most 6 decimal places.
    """

    credits_per_block: Decimal
    block_units: int = 1
    max_credits: int | None = None
    effective_time: datetime | None = None
    """From when on it is the price of what gets enabled; None, where one is made: from now on."""
    version: int = 0
    """1, 2, 3, ... of an offering; given by the server."""

    def __post_init__(self) -> None:
        given: object = self.credits_per_block
        if isinstance(given, float):
            raise TypeError(f"a price is exact: give Decimal('{given}'), not a float")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """Something that can be switched on."""

    id: str
    display_name: str
    solution: str
    unit: str
    price: Price
    """In force at `as_of`."""
    prices: tuple[Price, ...]
    """Every version, oldest first."""
    retired: bool
    create_time: datetime
    update_time: datetime
    etag: str
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """An offering switched on for an organization, with so many units, holding so many credits."""

    organization: str
    id: str
    offering: str
    state: AllocationState
    units: int
    credits: int
    """What it holds; 0 unless ENABLED."""
    suspended_credits: int
    """What it needs to come back; 0 unless SUSPENDED."""
    price_version: int
    priority: int
    labels: Mapping[str, str] | None
    """None: left out, as answers to several operations do."""
    enabled_revision: int
    create_time: datetime | None
    update_time: datetime | None
    etag: str
    as_of: datetime | None
    """When it stood so; None in a ledger entry."""
