"""The ledger's rules held against the honest model, after every step of random lives of an organization."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.lives import Step, life
from tests.support.memory_store import instead_of_sql
from tests.support.side_by_side import SideBySide, live, settled_in_parts

BLOCK = 25
STEPS = 60
LOOKING_EVERY = 10
"""So many steps are taken between two looks."""


@pytest.fixture(autouse=True, scope="module")
def without_a_database() -> Iterator[None]:
    with instead_of_sql():
        yield


@pytest.mark.parametrize("first", range(0, 300, BLOCK))
def test_they_agree_after_every_step(first: int) -> None:
    for seed in range(first, first + BLOCK):
        both = SideBySide()
        dice = random.Random(seed)
        for number, step in enumerate(life(seed, STEPS)):
            try:
                both.take(step)
                if number % LOOKING_EVERY == seed % LOOKING_EVERY:
                    both.look(dice)
            except AssertionError as difference:
                difference.add_note(f"step {number} of life({seed}, {STEPS}): {step}")
                raise
        both.look_back()


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 10**9), kept=st.lists(st.booleans(), min_size=40, max_size=40))
def test_they_agree_on_parts_of_lives(seed: int, kept: list[bool]) -> None:
    """What fails here is shrunk to the few steps that it takes."""
    live(steps_kept(life(seed, len(kept)), kept))


@pytest.mark.parametrize("seed", range(10))
def test_settling_at_once_and_in_parts_write_the_same(seed: int) -> None:
    both = SideBySide()
    for step in life(seed, STEPS):
        at_once, in_parts = settled_in_parts(both.rules, both.now, both.now + step.wait)
        assert at_once == in_parts
        both.take(step)


def steps_kept(steps: Sequence[Step], kept: Sequence[bool]) -> list[Step]:
    """Some of the steps, at the instants at which they were to be taken."""
    taken, waited = [], 0
    for step, keep in zip(steps, kept, strict=True):
        waited += step.wait
        if keep:
            taken.append(replace(step, wait=waited))
            waited = 0
    return taken
