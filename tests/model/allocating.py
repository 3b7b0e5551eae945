"""Operations on allocations: what each makes of an allocation, and whether credits allow a run of them."""

from __future__ import annotations

from dataclasses import replace

from tests.model.form import Operation
from tests.model.state import State
from tests.model.words import (
    DISABLED,
    ENABLED,
    MOST,
    MOST_ALLOCATED,
    MOST_ALLOCATIONS,
    SCHEDULED,
    SUSPENDED,
    Allocation,
    Catalogue,
    Refused,
)


def operate(state: State, catalogue: Catalogue, now: int, op: Operation) -> tuple[str | None, Allocation]:
    """The allocation as the operation would leave it, were credits unbounded, and the kind of its entry."""
    if op["op"] == "enable":
        new = _enabled(state, catalogue, now, op)
    else:
        name = str(op["allocation_id"])
        if name not in state.allocations:
            raise Refused("ALLOCATION_NOT_FOUND", {"allocation": name})
        old = state.allocations[name]
        delta = _int(op["delta_units"]) if op["op"] == "adjust" else -old.units
        new = _adjusted(catalogue, now, old, delta)
    _within_limits(state, new)
    return _kind(state.allocations.get(new.id), new), new


def _enabled(state: State, catalogue: Catalogue, now: int, op: Operation) -> Allocation:
    offering = str(op["offering"])
    if offering not in catalogue.offerings:
        raise Refused("OFFERING_NOT_FOUND", {"offering": offering})
    name = str(op.get("allocation_id") or offering)
    old = state.allocations.get(name)
    if old is not None and old.offering != offering:
        raise Refused("ALLOCATION_ALREADY_EXISTS", {"allocation": name, "offering": old.offering})
    leaves_disabled = old is None or old.state == DISABLED
    new = fresh(catalogue, now, name, offering, old) if leaves_disabled or old is None else old
    new = replace(new, state=ENABLED, units=_int(op["units"]))
    return relabelled(new, op.get("priority"), op.get("labels") or None)


def fresh(catalogue: Catalogue, now: int, name: str, offering: str, old: Allocation | None) -> Allocation:
    """What leaves DISABLED, or was never there, takes today's price."""
    if catalogue.offerings[offering].retired:
        raise Refused("OFFERING_RETIRED", {"offering": offering})
    price = catalogue.price_at(offering, now)
    return replace(old, price=price) if old else Allocation(name, offering, DISABLED, 0, price)


def relabelled(old: Allocation, priority: object, labels: object) -> Allocation:
    """None keeps what is there."""
    if priority is not None:
        old = replace(old, priority=_int(priority))
    if labels is not None:
        assert isinstance(labels, dict)
        old = replace(old, labels=tuple(sorted(labels.items())))
    return old


def _adjusted(catalogue: Catalogue, now: int, old: Allocation, delta: int) -> Allocation:
    if delta == 0:
        return old
    if delta > 0 and old.state == SUSPENDED:
        raise Refused("SUSPENDED", {"allocation": old.id})
    if old.units + delta < 0:
        raise Refused("UNITS_BELOW_ZERO", {"allocation": old.id, "units": old.units})
    if old.units + delta == 0:
        return disabled(old)
    if old.state == DISABLED:
        old = replace(fresh(catalogue, now, old.id, old.offering, old), state=ENABLED)
    return replace(old, units=old.units + delta)


def disabled(old: Allocation) -> Allocation:
    return replace(old, state=DISABLED, units=0)


def _within_limits(state: State, new: Allocation) -> None:
    after = state.copy()
    after.allocations[new.id] = new
    if new.units > MOST:
        raise Refused("LIMIT_EXCEEDED", {"limit": "units"})
    if new.credits + new.needs > MOST:
        raise Refused("LIMIT_EXCEEDED", {"limit": "credits"})
    if after.allocated + after.suspended > MOST_ALLOCATED:
        raise Refused("LIMIT_EXCEEDED", {"limit": "allocated and suspended credits"})
    if sum(a.state != DISABLED for a in after.allocations.values()) > MOST_ALLOCATIONS:
        raise Refused("LIMIT_EXCEEDED", {"limit": "allocations"})


def _kind(old: Allocation | None, new: Allocation) -> str | None:
    """The first that fits of disabled, enabled, resumed, adjusted, updated."""
    if old == new:
        return None
    if old is None or new.state != old.state:
        if new.state == DISABLED:
            return "allocation_disabled"
        return "allocation_enabled" if old is None or old.state == DISABLED else "allocation_resumed"
    return "allocation_adjusted" if new.units != old.units else "allocation_updated"


def judge(state: State, catalogue: Catalogue, now: int, operations: list[Operation], several: bool) -> None:
    """Refuse a run of operations that may not happen; change nothing.

    The first operation with another ground than credits is refused before any for want of credits.
    """
    after = state.copy()
    allocated: list[int] = []
    wanted: list[int] = []
    for index, op in enumerate(operations):
        try:
            _, new = operate(after, catalogue, now, op)
        except Refused as refusal:
            raise Refused(refusal.reason, refusal.figures, index if several else None) from None
        after.allocations[new.id] = new
        allocated.append(after.allocated)
        wanted.append(after.allocated + after.suspended)

    may_hold = max(state.spendable, state.allocated)
    for index, held in enumerate(allocated):
        needs_more = held > (allocated[index - 1] if index else state.allocated)
        if needs_more and held > may_hold:
            figures = {
                "required": max(allocated) - state.allocated,
                "available": state.valid - state.allocated,
                "overdraft_limit": state.overdraft_limit,
                "suspended": after.suspended,
                "shortfall": max(wanted) - state.spendable,
                "next_start": _next_start(state, max(wanted)),
            }
            raise Refused("INSUFFICIENT_CREDITS", dict(figures), index if several else None)


def _next_start(state: State, wanted: int) -> int | None:
    starts = sorted(s.start for s in state.subscribed(SCHEDULED))
    return next((start for start in starts if state.spendable_at(start) >= wanted), None)


def perform(
    state: State, catalogue: Catalogue, now: int, op: Operation, request_id: str | None
) -> tuple[bool, Allocation]:
    """Do one operation that was judged: whether it changed anything, and the allocation after it."""
    kind, new = operate(state, catalogue, now, op)
    if kind == "allocation_enabled":
        new = replace(new, enabled_revision=len(state.entries) + 1)
    if kind is not None:
        state.allocations[new.id] = new
        state.write(kind, f"allocations/{new.id}", now, now, request_id=request_id)
    return kind is not None, state.allocations[new.id]


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
