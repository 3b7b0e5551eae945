"""What looking at an organization shows, from a settled state or from the entries alone: usage, history, forecast.

Every answer is summed anew from all there is, one step and one instant after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.model.state import State
from tests.model.words import (
    ACTIVE,
    DAY,
    ENABLED,
    MOST,
    SUSPENDED,
    UNBOUNDED,
    Allocation,
    Catalogue,
    Entry,
    Refused,
)

HOUR = DAY // 24
ENDING_DAYS = (30, 60, 90)

Sums = tuple[int, int, int, int]
"""(valid, in grace, allocated, suspended)"""


@dataclass(frozen=True)
class Held:
    """What the allocations of one offering come to, in one state."""

    allocations: int
    units: int
    credits: int


@dataclass(frozen=True)
class Usage:
    offerings: dict[str, tuple[Held, Held]]
    """Enabled and suspended, of each offering of which there is any."""
    ending: dict[int, tuple[int, int]]
    """By days: ACTIVE credits that end within them, and of these the renewed ones."""
    subscriptions: dict[str, tuple[str, str | None]]
    """Those that are not over: state and renewal."""


@dataclass(frozen=True)
class Step:
    start: int
    valid: int
    allocated: int
    peak: int
    in_progress: bool


@dataclass(frozen=True)
class Forecast:
    points: list[tuple[int, Sums]]
    grace_starts: list[int]
    coverage_ends: list[int]
    suspended: list[str]
    """At the first of these, in order."""


@dataclass(frozen=True)
class Estimate:
    lines: list[tuple[int, int, bool]]
    """(credits, price version, retired) of each."""
    required: int
    remaining: int
    recommended: int


def usage(state: State) -> Usage:
    there = sorted(state.allocations.values(), key=lambda a: a.id)
    offerings = {a.offering: None for a in sorted(there, key=lambda a: a.offering) if a.state in (ENABLED, SUSPENDED)}
    live = [s for s in sorted(state.subscriptions.values(), key=lambda s: s.id) if not s.over]
    renewal = {s.renews: s.id for s in live if s.renews is not None}
    ending = {}
    for days in ENDING_DAYS:
        soon = [s for s in live if s.state == ACTIVE and s.end <= state.time + days * DAY]
        ending[days] = sum(s.credits for s in soon), sum(s.credits for s in soon if state.renewed(s.id))
    return Usage(
        {name: (_held(there, name, ENABLED), _held(there, name, SUSPENDED)) for name in offerings},
        ending,
        {s.id: (s.state, renewal.get(s.id)) for s in live},
    )


def _held(allocations: Sequence[Allocation], offering: str, state: str) -> Held:
    those = [a for a in allocations if a.offering == offering and a.state == state]
    return Held(len(those), sum(a.units for a in those), sum(a.credits + a.needs for a in those))


def history(entries: Sequence[Entry], start: int, end: int, length: int, now: int) -> list[Step]:
    """By steps of so many microseconds."""
    steps = []
    for begin in range(start, end, length):
        if begin > now:
            break
        over = begin + length
        before = [e for e in entries if e.effective < begin]
        inside = [e for e in entries if begin <= e.effective < over]
        peaks = [_figure(e, "allocated_credits") for e in inside if e.last]
        if not any(e.effective == begin for e in inside):
            peaks.append(_last(before, "allocated_credits"))
        known = before + inside
        valid, allocated = _last(known, "valid_credits"), _last(known, "allocated_credits")
        steps.append(Step(begin, valid, allocated, max(peaks), now < over))
    return steps


def forecast(written: Sequence[Entry], before: dict[str, object]) -> Forecast:
    """From what settling would write, and the figures that it begins with."""
    found = Forecast([], [], [], [])
    sums, carried = _sums(before), _carried_by_grace(before)
    for instant in sorted({e.effective for e in written}):
        of_it = [e for e in written if e.effective == instant]
        after = of_it[-1].figures
        if _sums(after) != sums:
            found.points.append((instant, _sums(after)))
        if _carried_by_grace(after) and not carried:
            found.grace_starts.append(instant)
        gone = [e.resource.rpartition("/")[2] for e in of_it if e.kind == "allocation_suspended"]
        if gone:
            if not found.coverage_ends:
                found.suspended.extend(gone)
            found.coverage_ends.append(instant)
        sums, carried = _sums(after), _carried_by_grace(after)
    return found


def estimate(state: State, catalogue: Catalogue, lines: Sequence[tuple[str, int]], now: int) -> Estimate:
    """Each line is (offering, units). Raises Refused with the index of the line."""
    found = []
    for index, (offering, units) in enumerate(lines):
        if offering not in catalogue.offerings:
            raise Refused("OFFERING_NOT_FOUND", {"offering": offering}, index)
        price = catalogue.price_at(offering, now)
        if price.credits(units) > MOST:
            raise Refused("LIMIT_EXCEEDED", {"limit": "credits"}, index)
        found.append((price.credits(units), price.version, catalogue.offerings[offering].retired))
    required = sum(credits for credits, _, _ in found)
    available = state.valid - state.allocated
    return Estimate(found, required, available - required, max(0, required + state.suspended - available))


def _last(entries: Sequence[Entry], figure: str) -> int:
    return _figure(entries[-1], figure) if entries else 0


def _figure(entry: Entry, figure: str) -> int:
    return _whole(entry.figures[figure])


def _sums(figures: dict[str, object]) -> Sums:
    names = ("valid_credits", "grace_credits", "allocated_credits", "suspended_credits")
    valid, grace, allocated, suspended = (_whole(figures[name]) for name in names)
    return valid, grace, allocated, suspended


def _carried_by_grace(figures: dict[str, object]) -> bool:
    overdraft = UNBOUNDED if figures["overdraft_unlimited"] else _whole(figures["overdraft_limit"])
    return _whole(figures["allocated_credits"]) > _whole(figures["valid_credits"]) + overdraft


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value
