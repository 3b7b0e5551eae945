"""When a threshold is crossed, and when it is armed again."""

import pytest

from services.ledger.rules.consequences import threshold
from services.ledger.rules.model import Figures


def crossed(*allocated: int, valid: int = 100) -> list[int]:
    """What is crossed as an organization's allocated credits go so, one call after the other; 0 is nothing."""
    level, found = 0, []
    for credits in allocated:
        percent, level = threshold(Figures(valid=valid, allocated=credits), level)
        found.append(percent)
    return found


def test_each_threshold_is_told_once_on_the_way_up() -> None:
    assert crossed(74, 75, 76, 89, 90, 99, 100, 101) == [0, 75, 0, 0, 90, 0, 100, 0]


def test_a_leap_over_several_tells_the_highest() -> None:
    assert crossed(0, 95) == [0, 90]
    assert crossed(0, 100) == [0, 100]


@pytest.mark.parametrize(("percent", "slack_from"), [(75, 70), (90, 85), (100, 95)])
def test_five_points_below_it_is_armed_again(percent: int, slack_from: int) -> None:
    assert crossed(percent, slack_from + 1, percent) == [percent, 0, 0]
    assert crossed(percent, slack_from, percent) == [percent, 0, percent]


def test_only_what_was_armed_again_is_told_again() -> None:
    assert crossed(100, 86, 100) == [100, 0, 100]
    assert crossed(100, 86, 95) == [100, 0, 0]
    assert crossed(100, 0, 80, 92) == [100, 0, 75, 90]


def test_while_nothing_is_valid_the_level_stays() -> None:
    assert threshold(Figures(valid=0, grace=100, allocated=50), 90) == (0, 90)
    assert threshold(Figures(valid=0), 75) == (0, 75)


def test_an_overdraft_counts_for_nothing() -> None:
    assert threshold(Figures(valid=100, allocated=150, overdraft_limit=1_000), 0) == (100, 100)
    assert threshold(Figures(valid=100, allocated=75, overdraft_unlimited=True), 0) == (75, 75)


def test_no_rounding() -> None:
    """75 % of 10^12 + 1 credits is a quarter of a credit more than 750,000,000,000."""
    valid = 10**12 + 1
    assert threshold(Figures(valid=valid, allocated=750_000_000_000), 0) == (0, 0)
    assert threshold(Figures(valid=valid, allocated=750_000_000_001), 0) == (75, 75)


def test_more_credits_arm_it_again_as_a_decrease_does() -> None:
    _, level = threshold(Figures(valid=100, allocated=80), 0)
    percent, level = threshold(Figures(valid=200, allocated=80), level)
    assert (percent, level) == (0, 0)
    assert threshold(Figures(valid=100, allocated=80), level) == (75, 75)
