"""Switching on, off, up and down: one operation at a time, and several with one verdict."""

from collections.abc import Mapping, Sequence
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from services.ledger.rules import names
from services.ledger.rules.book import Book, Moment
from services.ledger.rules.commands import (
    AdjustAllocation,
    DisableAllocation,
    EnableAllocation,
    Operation,
    UpdateAllocation,
)
from services.ledger.rules.encoding import instant_text
from services.ledger.rules.limits import CREDITS_MAX, HELD_CREDITS_MAX, OPEN_ALLOCATIONS_MAX, UNITS_MAX
from services.ledger.rules.model import Allocation, AllocationState, EntryKind, Figures
from services.ledger.rules.price import Offering
from services.ledger.rules.refusal import (
    Reason,
    Refused,
    allocation_not_found,
    check_etag,
    limit_exceeded,
    offering_not_found,
)
from services.ledger.rules.schedule import next_start_with


class Step(Struct, frozen=True):
    """What one operation did to the figures, as if credits were unbounded."""

    allocated: int
    wanted: int


def operate(book: Book, operations: Sequence[Operation], moment: Moment, *, several: bool) -> list[Allocation]:
    """Carries out the operations in order, all or nothing, each able to use what earlier ones returned.

    Grounds other than credits come first. An operation that needs more credits is accepted if and only if after it
    `allocated <= max(spendable, allocated before the call)`.
    """
    before = book.state.figures
    results: list[Allocation] = []
    steps: list[Step] = []
    for index, operation in enumerate(operations):
        try:
            results.append(_operate_one(book, operation, moment))
        except Refused as own:
            raise own.at_operation(index) if several else own from None
        figures = book.state.figures
        steps.append(Step(figures.allocated, figures.wanted))
    if before.spendable is not None:
        allowed = max(before.spendable, before.allocated)
        for index, step in enumerate(steps):
            if step.allocated > allowed:  # So it needed more: before the first step it was not above.
                refused = _insufficient(book, before, steps, moment)
                raise refused.at_operation(index) if several else refused
    return results


def update_allocation(book: Book, command: UpdateAllocation, moment: Moment) -> Allocation:
    """Changes priority and labels, in any state."""
    allocation = _known(book, command.allocation)
    check_etag(command.etag, allocation.etag, allocation.name)
    changed = _with_marks(allocation, command.priority, command.labels)
    if changed == allocation:
        return allocation
    return book.post_allocation(EntryKind.ALLOCATION_UPDATED, moment, changed)


def _operate_one(book: Book, operation: Operation, moment: Moment) -> Allocation:
    match operation:
        case EnableAllocation():
            return _enable(book, operation, moment)
        case AdjustAllocation():
            return _adjust(book, operation, moment)
        case DisableAllocation():
            return _disable(book, operation.allocation, moment)
        case _:
            assert_never(operation)


def _enable(book: Book, command: EnableAllocation, moment: Moment) -> Allocation:
    offering = book.offerings.get(command.offering)
    if offering is None:
        raise offering_not_found(command.offering)
    allocation = book.allocations.get(command.allocation)
    if allocation is not None and allocation.offering != command.offering:
        raise _other_offering(allocation, command.offering)
    if allocation is None:
        allocation = _never_enabled(book, command, moment)
    marked = _with_marks(allocation, command.priority, command.labels)
    if allocation.state is AllocationState.ENABLED and allocation.units == command.units:
        if marked == allocation:
            return allocation
        return book.post_allocation(EntryKind.ALLOCATION_UPDATED, moment, marked)
    return _set_units(book, marked, offering, command.units, moment)


def _adjust(book: Book, command: AdjustAllocation, moment: Moment) -> Allocation:
    allocation = _known(book, command.allocation)
    delta, units = command.delta_units, allocation.units + command.delta_units
    if delta == 0:
        return allocation
    if allocation.state is AllocationState.SUSPENDED and delta > 0:
        raise Refused(
            Reason.SUSPENDED,
            f"{allocation.name} is suspended and can only shrink; buy credits, or enable it at a number of units "
            "that fits",
            {"units": str(allocation.units), "deltaUnits": str(delta)},
            allocation.name,
        )
    offering = book.offerings[allocation.offering]
    if allocation.state is AllocationState.DISABLED and delta > 0:
        _check_not_retired(offering, allocation)
    if units < 0:
        raise Refused(
            Reason.UNITS_BELOW_ZERO,
            f"{allocation.name} has {allocation.units} units, so {-delta} cannot be taken from it",
            {"units": str(allocation.units), "deltaUnits": str(delta)},
            allocation.name,
        )
    if units == 0:
        return _disable(book, allocation.allocation, moment)
    return _set_units(book, allocation, offering, units, moment, stay_suspended=True)


def _disable(book: Book, allocation_id: str, moment: Moment) -> Allocation:
    allocation = _known(book, allocation_id)
    if allocation.state is AllocationState.DISABLED:
        return allocation
    off = replace(allocation, state=AllocationState.DISABLED, units=0, credits=0, suspended_credits=0)
    return book.post_allocation(EntryKind.ALLOCATION_DISABLED, moment, off)


def _set_units(
    book: Book,
    allocation: Allocation,
    offering: Offering,
    units: int,
    moment: Moment,
    *,
    stay_suspended: bool = False,
) -> Allocation:
    """On at so many units: from DISABLED at today's price, otherwise at the price it was enabled with."""
    kind = EntryKind.ALLOCATION_ADJUSTED
    price = offering.price_version(allocation.price_version) if allocation.price_version else None
    if allocation.state is AllocationState.DISABLED:
        _check_not_retired(offering, allocation)
        kind, price = EntryKind.ALLOCATION_ENABLED, offering.price_at(moment.effective_time)
    assert price is not None
    suspended = allocation.state is AllocationState.SUSPENDED and stay_suspended
    if allocation.state is AllocationState.SUSPENDED and not stay_suspended:
        kind = EntryKind.ALLOCATION_RESUMED
    credits = price.credits(units)
    _check_limits(book, allocation, units, credits)
    changed = replace(
        allocation,
        state=AllocationState.SUSPENDED if suspended else AllocationState.ENABLED,
        units=units,
        credits=0 if suspended else credits,
        suspended_credits=credits if suspended else 0,
        price_version=price.version,
    )
    return book.post_allocation(kind, moment, changed)


def _with_marks(allocation: Allocation, priority: int | None, labels: Mapping[str, str] | None) -> Allocation:
    """Priority and labels as sent; those that were not sent are kept."""
    if priority is None and labels is None:
        return allocation
    return replace(
        allocation,
        priority=allocation.priority if priority is None else priority,
        labels=allocation.labels if labels is None else labels,
    )


def _never_enabled(book: Book, command: EnableAllocation, moment: Moment) -> Allocation:
    """What an id that was never used counts as: off, with nothing set."""
    return Allocation(
        organization=book.state.organization,
        allocation=command.allocation,
        offering=command.offering,
        state=AllocationState.DISABLED,
        units=0,
        credits=0,
        suspended_credits=0,
        price_version=0,
        priority=0,
        labels={},
        enabled_revision=0,
        changed_revision=0,
        create_time=moment.effective_time,
        update_time=moment.effective_time,
    )


def _known(book: Book, allocation_id: str) -> Allocation:
    allocation = book.allocations.get(allocation_id)
    if allocation is None:
        raise allocation_not_found(book.state.organization, allocation_id)
    return allocation


def _other_offering(allocation: Allocation, wanted: str) -> Refused:
    return Refused(
        Reason.ALLOCATION_ALREADY_EXISTS,
        f"{allocation.name} belongs to offerings/{allocation.offering}, for ever; ids are one space for all offerings "
        f"of an organization, so prefix yours with the offering: {wanted}~{allocation.allocation}",
        {"offering": allocation.offering, "requestedOffering": wanted},
        allocation.name,
    )


def _check_not_retired(offering: Offering, allocation: Allocation) -> None:
    if offering.retired:
        name = names.offering_name(offering.offering)
        raise Refused(
            Reason.OFFERING_RETIRED,
            f"{name} is retired: {allocation.name} cannot be switched on; what is on may stay",
            {"allocation": allocation.name},
            name,
        )


def _check_limits(book: Book, allocation: Allocation, units: int, credits: int) -> None:
    """Judges what would result, where that is more than there was; what was sent is within bounds already."""
    if units > UNITS_MAX and units > allocation.units:
        raise limit_exceeded("units of one allocation", units, UNITS_MAX, allocation.name)
    state, old = book.state, book.allocations.get(allocation.allocation)
    held = (old.credits + old.suspended_credits) if old else 0
    if credits > held:
        if credits > CREDITS_MAX:
            raise limit_exceeded("credits of one allocation", credits, CREDITS_MAX, allocation.name)
        if (wanted := state.figures.wanted - held + credits) > HELD_CREDITS_MAX:
            what = "allocated and suspended credits of one organization"
            raise limit_exceeded(what, wanted, HELD_CREDITS_MAX, allocation.name)
    if allocation.state is AllocationState.DISABLED and state.open_allocations >= OPEN_ALLOCATIONS_MAX:
        what = "allocations of one organization that are not DISABLED"
        raise limit_exceeded(what, state.open_allocations + 1, OPEN_ALLOCATIONS_MAX, allocation.name)


def _insufficient(book: Book, before: Figures, steps: Sequence[Step], moment: Moment) -> Refused:
    """What the whole call would need, as if credits were unbounded; the book is as if it had happened."""
    assert before.spendable is not None
    required = max(step.allocated for step in steps) - before.allocated
    most_wanted = max(step.wanted for step in steps)
    suspended = book.state.figures.suspended
    shortfall = most_wanted - before.spendable
    start = next_start_with(book.live_subscriptions(), before, most_wanted, moment.effective_time)
    figures = {
        "required": str(required),
        "available": str(before.available),
        "overdraftLimit": str(before.overdraft_limit),
        "suspended": str(suspended),
        "shortfall": str(shortfall),
    }
    wait = ""
    if start:
        figures["nextStartTime"] = instant_text(start)
        wait = f", or wait for the subscription that starts at {instant_text(start)}"
    message = (
        f"{required} more credits are required and {before.available} are available (overdraft limit "
        f"{before.overdraft_limit}, {suspended} wanted by suspended allocations); {shortfall} are missing: buy that "
        f"many, or disable something{wait}"
    )
    name = book.state.name
    return Refused(Reason.INSUFFICIENT_CREDITS, f"{name}: {message}", figures, name)
