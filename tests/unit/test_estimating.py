"""What an estimate recommends to buy is always enough, whatever has happened to an organization before."""

import random
from collections.abc import Iterator, Sequence
from copy import deepcopy

import pytest

from services.ledger.rules.answers import Answer
from services.ledger.rules.commands import ApplyOperations, Call, Command, CreateSubscription, EnableAllocation
from services.ledger.rules.limits import CREDITS_MAX
from services.ledger.rules.model import AllocationState
from tests.model import looking
from tests.model.lives import OFFERINGS, life
from tests.model.words import DAY
from tests.support.memory_store import instant, instead_of_sql
from tests.support.rules_looking import estimate_shown
from tests.support.side_by_side import Rules, SideBySide

STEPS = 40


@pytest.fixture(autouse=True, scope="module")
def without_a_database() -> Iterator[None]:
    with instead_of_sql():
        yield


def test_what_is_recommended_is_always_enough() -> None:
    """For the lines, each an allocation of its own, and for all that is suspended to come back."""
    bought = resumed = 0
    for seed in range(700, 730):
        both = SideBySide()
        dice = random.Random(seed)
        for number, step in enumerate(life(seed, STEPS)):
            both.take(step)
            if number % 4 == 0:
                found = follow_the_estimate(deepcopy(both.rules), both.now, dice)
                bought += found[0] > 0
                resumed += found[1]
    assert bought > 100
    assert resumed > 20


def follow_the_estimate(rules: Rules, now: int, dice: random.Random) -> tuple[int, int]:
    """(credits that were bought, allocations that resumed)"""
    catalogue = rules.tables.catalogue
    lines = [(dice.choice(OFFERINGS), dice.choice((1, 2, 50, 51, 10**6))) for _ in range(dice.choice((1, 3)))]
    lines = [line for line in lines if not catalogue.offerings[line[0]].retired]
    estimate = estimate_shown(rules.tables, lines, now)
    assert isinstance(estimate, looking.Estimate)
    suspended = _suspended(rules)
    for number, credits in enumerate(_parts(estimate.recommended)):
        _accepted(rules, CreateSubscription(f"enough-{number}", credits, instant(now + 9 * DAY)), now)
    if estimate.recommended:
        assert not _suspended(rules)
    if lines:
        _accepted(rules, ApplyOperations(tuple(_new(lines))), now)
    return estimate.recommended, len(suspended) - len(_suspended(rules))


def _parts(credits: int) -> list[int]:
    """As many purchases as it takes."""
    whole, rest = divmod(credits, CREDITS_MAX)
    return [CREDITS_MAX] * whole + [rest] * (rest > 0)


def _new(lines: Sequence[tuple[str, int]]) -> list[EnableAllocation]:
    return [EnableAllocation(f"new-{number}", *line) for number, line in enumerate(lines)]


def _accepted(rules: Rules, command: Command, now: int) -> None:
    [verdict] = rules.carry_out([Call(command)], now)
    assert isinstance(verdict, Answer), verdict


def _suspended(rules: Rules) -> list[str]:
    return [key for key, each in rules.tables.allocations.items() if each.state is AllocationState.SUSPENDED]
