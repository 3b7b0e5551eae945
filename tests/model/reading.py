"""What an organization is entitled to, read from a settled state."""

from __future__ import annotations

from dataclasses import dataclass

from tests.model.state import State
from tests.model.words import DISABLED, ENABLED, SUSPENDED, Allocation


@dataclass(frozen=True)
class Entitlement:
    status: str
    units: int
    covered_until: int | None


def entitlement(state: State, offering: str | None, allocation_id: str | None) -> Entitlement:
    """The best state among the allocations of an offering, or of one id, and the units in that state."""
    asked = [a for a in state.allocations.values() if offering in (None, a.offering)]
    asked = [a for a in asked if allocation_id in (None, a.id)]
    for status in ("ENTITLED", "IN_GRACE", "SUSPENDED"):
        those = [a for a in asked if _status(state, a) == status]
        if those:
            holds = any(a.credits > 0 for a in those)
            until = state.covered_until() if holds else None
            return Entitlement(status, sum(a.units for a in those), until)
    return Entitlement("NOT_ENABLED", 0, None)


def _status(state: State, allocation: Allocation) -> str:
    if allocation.state == ENABLED:
        overdrawn = state.allocated > state.spendable
        return "IN_GRACE" if allocation.credits > 0 and overdrawn else "ENTITLED"
    return {SUSPENDED: "SUSPENDED", DISABLED: "NOT_ENABLED"}[allocation.state]
