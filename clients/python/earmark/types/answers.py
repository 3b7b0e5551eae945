"""What calls answer."""

from dataclasses import dataclass
from datetime import datetime

from earmark.errors import EarmarkError
from earmark.types.resources import Allocation, Balance, Organization, Subscription, Word


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationNames:
    """The beginning of a list of allocations."""

    ids: tuple[str, ...]
    """The first 100."""
    total: int
    """How many there are in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequences:
    """What a change of coverage did to allocations, or left undone."""

    resumed: AllocationNames
    suspended: AllocationNames
    """Only if forced."""
    waiting: AllocationNames
    """Still SUSPENDED, in the order in which they would resume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationChange:
    organization: Organization
    balance: Balance
    consequences: Consequences


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionChange:
    subscription: Subscription
    balance: Balance
    consequences: Consequences


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationChange:
    allocation: Allocation
    balance: Balance


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationResult:
    """What became of one of several operations: an allocation, or an error."""

    allocation: Allocation | None
    balance: Balance | None
    """After this operation, where each stands for itself."""
    error: EarmarkError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    results: tuple[OperationResult, ...]
    """One for each operation, in the same order."""
    balance: Balance | None
    """After all of them; None where each stands for itself and it could not be read afterwards."""


class EntitlementState(Word):
    """Whether something may be used."""

    ENTITLED = "ENTITLED"
    IN_GRACE = "IN_GRACE"
    """Enabled while more is allocated than is spendable: grace carries it."""
    SUSPENDED = "SUSPENDED"
    NOT_ENABLED = "NOT_ENABLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlement:
    """What an organization may use, at one instant."""

    state: EntitlementState
    units: int
    """In that state."""
    as_of: datetime
    covered_until: datetime | None
    """Time alone suspends nothing before it; None if it never does. A call may suspend earlier."""

    @property
    def may_use(self) -> bool:
        return self.state in (EntitlementState.ENTITLED, EntitlementState.IN_GRACE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitlementResult:
    """What was found about one of several: an entitlement, or an error."""

    offering: str
    """As asked for; empty where it was an allocation."""
    allocation: str
    """As asked for; empty where it was an offering."""
    entitlement: Entitlement | None
    error: EarmarkError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatedLine:
    offering: str
    units: int
    credits: int
    price_version: int
    retired: bool
    """It could not be switched on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatedPurchase:
    """What an estimate means for an organization."""

    balance: Balance
    remaining_credits: int
    """Without a purchase; negative if what there is does not suffice."""
    recommended_credits: int
    """Buying so many is always enough for the lines, and for all that is suspended to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    lines: tuple[EstimatedLine, ...]
    required_credits: int
    purchase: EstimatedPurchase | None
    """With an organization only."""
    as_of: datetime
