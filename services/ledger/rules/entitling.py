"""Whether something may be used now, and until when time alone leaves it so. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.ledger.rules.model import AllocationState, Figures, Subscription
from services.ledger.rules.schedule import covered_until
from services.ledger.rules.summing import OfferingUsage


class EntitlementState(StrEnum):
    ENTITLED = "ENTITLED"
    IN_GRACE = "IN_GRACE"
    SUSPENDED = "SUSPENDED"
    NOT_ENABLED = "NOT_ENABLED"


@dataclass(frozen=True, slots=True)
class Entitlement:
    state: EntitlementState
    units: int = 0
    """In that state."""
    covered_until: datetime | None = None
    """Time alone suspends nothing before it; None where nothing ever will be, and for what holds no credits."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """What entitlements of one organization are judged by, settled up to `now`."""

    now: datetime
    figures: Figures
    subscriptions: Sequence[Subscription] = field(repr=False)
    """Those that are not over."""

    def of_offering(self, usage: OfferingUsage) -> Entitlement:
        """All allocations of an offering together: the best state, and the units in it."""
        if usage.enabled_units and not self._in_grace:
            return self._entitled(usage.enabled_units, holds=usage.enabled_credits > 0)
        if usage.free_units:
            return self._entitled(usage.free_units, holds=False)
        if usage.enabled_units:
            return Entitlement(EntitlementState.IN_GRACE, usage.enabled_units, self._covered_until())
        return self._suspended(usage.suspended_units) if usage.suspended_units else NOTHING

    def of_allocation(self, state: AllocationState, units: int, credits: int) -> Entitlement:
        """One allocation, with the credits that it holds."""
        match state:
            case AllocationState.ENABLED if credits and self._in_grace:
                return Entitlement(EntitlementState.IN_GRACE, units, self._covered_until())
            case AllocationState.ENABLED:
                return self._entitled(units, holds=credits > 0)
            case AllocationState.SUSPENDED:
                return self._suspended(units)
            case AllocationState.DISABLED:
                return NOTHING

    @property
    def _in_grace(self) -> bool:
        spendable = self.figures.spendable
        return spendable is not None and self.figures.allocated > spendable

    def _entitled(self, units: int, *, holds: bool) -> Entitlement:
        return Entitlement(EntitlementState.ENTITLED, units, self._covered_until() if holds else None)

    def _suspended(self, units: int) -> Entitlement:
        return Entitlement(EntitlementState.SUSPENDED, units)

    def _covered_until(self) -> datetime | None:
        return covered_until(self.subscriptions, self.figures, self.now)


NOTHING = Entitlement(EntitlementState.NOT_ENABLED)
