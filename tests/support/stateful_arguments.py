"""What Hypothesis chooses from: small values first, since it shrinks towards them, and those at which rules turn."""

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.model.lives import ALLOCATIONS, HOUR, OFFERINGS
from tests.model.state import State
from tests.model.words import DAY, Catalogue, Subscription

Arguments = dict[str, Any]

PLAIN: Final = "plain"
WITH_AN_ID: Final = "with an id"
ASKED_FIRST: Final = "asked first"
WAYS: Final = st.sampled_from((PLAIN, WITH_AN_ID, ASKED_FIRST))
"""How a call is made; asked first, it is made with validate_only before."""

ALL_THAT_FIT: Final = "all that fit"
ONE_TOO_MANY: Final = "one too many"
TO_ZERO: Final = "to zero"
BELOW_ZERO: Final = "below zero"
TWICE: Final = "twice as many"

WAITS: Final = st.one_of(st.sampled_from((1, HOUR, DAY, 7 * DAY, 31 * DAY, 100 * DAY)), st.integers(0, 40 * DAY))
"""Microseconds to let pass."""
CREDITS: Final = st.sampled_from((100, 250, 1_000, 5_000))
TERMS: Final = st.sampled_from((DAY, 30 * DAY, 95 * DAY, 365 * DAY, 1, 0))
"""From a start to an end; none is refused."""
GRACES: Final = st.sampled_from((None, 0, 1, DAY, 8 * DAY))
STARTS: Final = st.sampled_from((None, 0, 1, 3 * DAY, 40 * DAY, -DAY))
"""From now; absent is now, or the end of what is renewed."""
UNITS: Final = st.one_of(
    st.integers(1, 130), st.sampled_from((ALL_THAT_FIT, ONE_TOO_MANY)), st.sampled_from((0, 10**12, 10**12 + 1))
)
DELTAS: Final = st.one_of(st.integers(-3, 10), st.sampled_from((TO_ZERO, BELOW_ZERO, TWICE)))
PRIORITIES: Final = st.sampled_from((None, 0, 1, 5, -1))
LABELS: Final = st.sampled_from((None, {}, {"team": "a"}, {"team": "b", "site": "n"}))
PRICES: Final = st.sampled_from(("0", "0.3", "25", "40"))
OVERDRAFTS: Final = st.sampled_from((0, 50, 100, 500))
AMENDMENTS: Final = st.dictionaries(
    st.sampled_from(("credits", "start", "end", "grace")), st.integers(0, 6), min_size=1, max_size=2
)
"""Of each field, which of the values that `amended` gives."""
TARGETS: Final = st.sampled_from((*ALLOCATIONS, *(f"{each}~2" for each in OFFERINGS)))
"""Allocations, most of them there."""


def operations() -> SearchStrategy[list[Arguments]]:
    """Of one ApplyOperations."""
    offerings = st.sampled_from((*OFFERINGS, "nothing"))
    units = st.one_of(st.integers(1, 30), st.sampled_from((ALL_THAT_FIT, ONE_TOO_MANY)))
    enable = st.fixed_dictionaries(
        {"op": st.just("enable"), "offering": offerings, "units": units},
        optional={"allocation_id": TARGETS, "priority": st.sampled_from((0, 5)), "labels": st.just({"team": "a"})},
    )
    adjust = st.fixed_dictionaries({"op": st.just("adjust"), "allocation_id": TARGETS, "delta_units": DELTAS})
    disable = st.fixed_dictionaries({"op": st.just("disable"), "allocation_id": TARGETS})
    return st.lists(st.one_of(enable, adjust, disable), min_size=1, max_size=4)


def several() -> SearchStrategy[list[Arguments]]:
    """Allocations to enable together, so small that they often fit and so large that they soon do not."""
    enable = st.builds(
        lambda offering, number, units, priority: {
            "op": "enable",
            "offering": offering,
            "allocation_id": f"{offering}~{number}" if number else offering,
            "units": units,
            "priority": priority,
        },
        st.sampled_from(OFFERINGS),
        st.sampled_from((0, 2)),
        st.sampled_from((1, 5, 20, ALL_THAT_FIT)),
        st.sampled_from((0, 5)),
    )
    return st.lists(enable, min_size=2, max_size=4)


def units_meant(units: int | str, offering: str, state: State, catalogue: Catalogue, now: int) -> int:
    """A number, or what there are credits left for."""
    if isinstance(units, int):
        return units
    left = max(0, state.valid - state.allocated)
    fit = 0
    if offering in catalogue.offerings:
        price = catalogue.price_at(offering, now)
        if price.credits_per_block:
            fit = min(10**9, int(left / price.credits_per_block) * price.block_units)
    return max(1, fit + (units == ONE_TOO_MANY))


def delta_meant(delta: int | str, allocation: str, state: State) -> int:
    if isinstance(delta, int):
        return delta
    there = state.allocations.get(allocation)
    units = there.units if there else 1
    return {TO_ZERO: -units, BELOW_ZERO: -units - 1, TWICE: units}[delta]


def amended(field: str, which: int, old: Subscription, now: int) -> int:
    """A new value of a subscription's field; 0 is the one that it has."""
    over = max(0, now - old.end)
    values = {
        "credits": (old.credits, old.credits * 2, max(1, old.credits // 2), 100, 1_000),
        "start": (old.start, now, now + 1, now - 1, now + DAY, old.start + DAY, old.end - 1),
        "end": (old.end, old.end + 60 * DAY, now, now + 1, now + DAY, old.end - DAY, now + 30 * DAY),
        "grace": (old.grace, 0, 1, DAY, 8 * DAY, over, over + 1),
    }[field]
    return values[which % len(values)]
