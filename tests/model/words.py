"""The words of the model: catalogue, subscriptions, allocations, entries, answers and refusals.

Times are whole microseconds since the epoch, credits and units whole numbers, prices exact fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

DAY = 24 * 3600 * 1_000_000
YEAR_2000 = 946_684_800 * 1_000_000
YEAR_2201 = 7_289_654_400 * 1_000_000  # the first instant after the year 2200

MOST = 10**12  # credits of a subscription, an overdraft, an allocation; units; block units
MOST_ALLOCATED = 2**52
MOST_SUBSCRIPTIONS = 1_000
MOST_ALLOCATIONS = 1_000_000
MOST_OPERATIONS = 1_000
DEFAULT_GRACE = 30 * DAY
UNBOUNDED = 10**30  # stands for "without bound": more than any sum can reach

SCHEDULED, ACTIVE, GRACE, EXPIRED, CANCELLED = "SCHEDULED", "ACTIVE", "GRACE", "EXPIRED", "CANCELLED"
ENABLED, SUSPENDED, DISABLED = "ENABLED", "SUSPENDED", "DISABLED"


class Refused(Exception):
    """A call is refused: a stable reason, its figures, and in a call of several the operation's index."""

    def __init__(
        self,
        reason: str,
        figures: dict[str, object] | None = None,
        index: int | None = None,
    ) -> None:
        super().__init__(reason, figures, index)
        self.reason = reason
        self.figures: dict[str, object] = figures or {}
        self.index = index


class Malformed(Refused):
    """A request that is bad in itself: its form or its bounds."""


@dataclass(frozen=True)
class Price:
    """One version of an offering's price, in force from an instant until the next version's."""

    version: int
    since: int
    credits_per_block: Fraction
    block_units: int = 1
    max_credits: int | None = None

    def credits(self, units: int) -> int:
        blocks = -(-units // self.block_units)
        credits = math.ceil(blocks * self.credits_per_block)
        return credits if self.max_credits is None else min(credits, self.max_credits)


@dataclass
class Offering:
    prices: list[Price]
    retired: bool = False


@dataclass
class Catalogue:
    offerings: dict[str, Offering] = field(default_factory=dict)

    def create(
        self, now: int, offering: str, price: str, *, block_units: int = 1, max_credits: int | None = None
    ) -> None:
        self.offerings[offering] = Offering([Price(1, now, Fraction(price), block_units, max_credits)])

    def change_price(
        self,
        now: int,
        offering: str,
        price: str,
        *,
        block_units: int = 1,
        max_credits: int | None = None,
        since: int | None = None,
    ) -> None:
        """A new version of the price, from `since` (not in the past) or from now."""
        since = now if since is None else since
        if since < now:
            raise Refused("INVALID_ARGUMENT", {"fields": ["since"]})
        prices = self.offerings[offering].prices
        prices.append(Price(len(prices) + 1, since, Fraction(price), block_units, max_credits))

    def retire(self, offering: str) -> None:
        self.offerings[offering].retired = True

    def price_at(self, offering: str, now: int) -> Price:
        """Of the versions already in force, the one with the latest beginning (made last, of two at once)."""
        in_force = [price for price in self.offerings[offering].prices if price.since <= now]
        return max(in_force, key=lambda price: (price.since, price.version))


@dataclass(frozen=True)
class Subscription:
    id: str
    credits: int
    start: int
    end: int
    grace: int
    state: str
    renews: str | None = None

    @property
    def over(self) -> bool:
        return self.state in (EXPIRED, CANCELLED)

    @property
    def grace_end(self) -> int:
        return self.end + self.grace

    def shown(self) -> dict[str, object]:
        return {
            "credits": self.credits,
            "start": self.start,
            "end": self.end,
            "grace": self.grace,
            "state": self.state,
            "renews": self.renews,
        }


@dataclass(frozen=True)
class Allocation:
    id: str
    offering: str
    state: str
    units: int
    price: Price
    priority: int = 0
    labels: tuple[tuple[str, str], ...] = ()  # sorted
    enabled_revision: int = 0  # at which it last left DISABLED

    @property
    def credits(self) -> int:
        """What it holds."""
        return self.price.credits(self.units) if self.state == ENABLED else 0

    @property
    def needs(self) -> int:
        """What it would need to come back."""
        return self.price.credits(self.units) if self.state == SUSPENDED else 0

    @property
    def rank(self) -> tuple[int, int, str]:
        """Sorts the one that stays longest, and comes back soonest, first."""
        return (-self.priority, self.enabled_revision, self.id)

    def shown(self) -> dict[str, object]:
        return {
            "offering": self.offering,
            "state": self.state,
            "units": self.units,
            "credits": self.credits,
            "suspended_credits": self.needs,
            "price_version": self.price.version,
            "priority": self.priority,
            "labels": dict(self.labels),
        }


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. `after` is the resource after it, `figures` the organization's."""

    revision: int
    kind: str
    resource: str  # "organization", "subscriptions/ID" or "allocations/ID"
    effective: int
    recorded: int
    after: dict[str, object]
    deltas: dict[str, int]
    figures: dict[str, object]
    causes: tuple[str, ...] = ()  # the first five
    causes_total: int = 0
    request_id: str | None = None
    percent: int | None = None
    days: int | None = None
    renewed: bool | None = None
    last: bool = False


@dataclass(frozen=True)
class Result:
    """An accepted call, or an accepted operation: the resource after it, the figures after the whole call.

    `resumed` and `suspended` are consequences for other allocations, in the order they were written;
    `waiting` is what is SUSPENDED after the call, first in line first.
    """

    changed: bool
    name: str
    resource: dict[str, object]
    figures: dict[str, object]
    resumed: tuple[str, ...] = ()
    suspended: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
