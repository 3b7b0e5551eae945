"""What a forecast says, case by case; that it comes true is held against the model and over the wire."""

from collections.abc import Iterator
from typing import Any

import pytest

from services.ledger.rules.limits import NAMES_LISTED_MAX
from tests.model.lives import BEGIN, Step
from tests.model.looking import Forecast
from tests.model.words import DAY
from tests.support.memory_store import instead_of_sql
from tests.support.rules_looking import forecast_shown
from tests.support.side_by_side import SideBySide

T = BEGIN
FOR_EVER = T + 10_000 * DAY


@pytest.fixture(autouse=True, scope="module")
def without_a_database() -> Iterator[None]:
    with instead_of_sql():
        yield


@pytest.fixture
def both() -> SideBySide:
    return SideBySide()


def call(both: SideBySide, name: str, *, wait: int = 0, **arguments: Any) -> None:
    both.take(Step(wait, name, arguments))


def buy(both: SideBySide, name: str, credits: int, start: int, end: int, grace: int, **rest: Any) -> None:
    """The instants are days from the beginning."""
    term = {"start": T + start * DAY, "end": T + end * DAY, "grace": grace * DAY}
    call(both, "create_subscription", subscription_id=name, credits=credits, **term, **rest)


def enable(both: SideBySide, name: str, units: int, offering: str = "sensor", priority: int = 0) -> None:
    """A sensor holds 20 credits for each unit, `free` none."""
    call(both, "enable", allocation_id=name, offering=offering, units=units, priority=priority)


def ask(both: SideBySide, until: int = FOR_EVER) -> Forecast:
    return forecast_shown(both.rules.forecast(both.now, until))


def day(number: int) -> int:
    return T + number * DAY


def test_until_is_included_to_the_microsecond(both: SideBySide) -> None:
    buy(both, "s", 100, 0, 10, 5)
    enable(both, "a", 5)
    in_grace, over = (day(10), (0, 100, 100, 0)), (day(15), (0, 0, 0, 100))
    assert ask(both, T) == ask(both, day(10) - 1) == Forecast([], [], [], [])
    assert ask(both, day(10)) == ask(both, day(15) - 1) == Forecast([in_grace], [day(10)], [], [])
    assert ask(both, day(15)) == ask(both) == Forecast([in_grace, over], [day(10)], [day(15)], ["a"])


def test_several_at_one_instant_are_one_point(both: SideBySide) -> None:
    """As one expires a second ends and a third begins; what it is between them nobody sees."""
    buy(both, "old", 100, 0, 10, 10)
    buy(both, "other", 100, 0, 20, 5)
    buy(both, "new", 60, 20, 30, 0)
    enable(both, "a", 10)
    found = ask(both, day(20))
    assert found.points == [(day(10), (100, 100, 200, 0)), (day(20), (60, 100, 0, 200))]
    assert (found.grace_starts, found.coverage_ends, found.suspended) == ([day(10)], [day(20)], ["a"])


def test_a_renewal_as_grace_ends_suspends_nothing(both: SideBySide) -> None:
    buy(both, "s", 100, 0, 10, 5)
    call(both, "create_subscription", subscription_id="r", renews="s", start=day(15), end=day(40), credits=100, grace=0)
    enable(both, "a", 5)
    found = ask(both, day(40) - 1)
    assert found == Forecast([(day(10), (0, 100, 100, 0)), (day(15), (100, 0, 100, 0))], [day(10)], [], [])
    assert ask(both).coverage_ends == [day(40)]


def test_a_smaller_renewal_keeps_what_has_priority(both: SideBySide) -> None:
    buy(both, "s", 100, 0, 10, 5)
    buy(both, "r", 60, 10, 90, 0, renews="s")
    for name, units, priority in (("a", 1, 0), ("b", 2, 5), ("c", 1, 0), ("d", 1, 5)):
        enable(both, name, units, priority=priority)
    found = ask(both, day(15))
    assert found.points == [(day(10), (60, 100, 100, 0)), (day(15), (60, 0, 60, 40))]
    assert (found.grace_starts, found.coverage_ends) == ([day(10)], [day(15)])
    assert found.suspended == ["c", "a"], "the lowest first"


def test_only_the_first_date_tells_what_it_suspends(both: SideBySide) -> None:
    buy(both, "s", 40, 0, 10, 0)
    buy(both, "t", 20, 0, 20, 0)
    enable(both, "a", 1)
    enable(both, "b", 2)
    found = ask(both)
    assert found.coverage_ends == [day(10), day(20)]
    assert found.suspended == ["b"]
    assert found.grace_starts == [], "without a period of grace none begins"


def test_an_overdraft_without_bound_carries_everything(both: SideBySide) -> None:
    buy(both, "s", 100, 0, 10, 5)
    call(both, "update_organization", overdraft_unlimited=True)
    enable(both, "a", 50)
    assert ask(both) == Forecast([(day(10), (0, 100, 1_000, 0)), (day(15), (0, 0, 1_000, 0))], [], [], [])


def test_an_overdraft_carries_its_part(both: SideBySide) -> None:
    """Grace begins to carry when more is allocated than valid credits and overdraft together."""
    buy(both, "s", 100, 0, 10, 5)
    buy(both, "t", 100, 0, 20, 5)
    call(both, "update_organization", overdraft_limit=60)
    enable(both, "a", 8)
    found = ask(both)
    assert found.grace_starts == [day(20)]
    assert (found.coverage_ends, found.suspended) == ([day(25)], ["a"])


def test_what_is_suspended_at_first_comes_back_with_a_start(both: SideBySide) -> None:
    buy(both, "s", 60, 0, 10, 0)
    enable(both, "a", 1)
    enable(both, "b", 2)
    call(both, "settle", wait=11 * DAY)
    buy(both, "t", 50, 30, 50, 1)
    assert both.rules.tables.organization is not None
    assert both.rules.tables.organization.figures.suspended == 60
    found = ask(both)
    assert found.points == [
        (day(30), (50, 0, 20, 40)),
        (day(50), (0, 50, 20, 40)),
        (day(51), (0, 0, 0, 60)),
    ]
    assert (found.grace_starts, found.coverage_ends, found.suspended) == ([day(50)], [day(51)], ["a"])


def test_what_holds_nothing_needs_no_grace_and_is_never_suspended(both: SideBySide) -> None:
    buy(both, "s", 60, 0, 10, 5)
    enable(both, "a", 7, "free")
    assert ask(both) == Forecast([(day(10), (0, 60, 0, 0)), (day(15), (0, 0, 0, 0))], [], [], [])
    enable(both, "b", 1)
    assert ask(both).suspended == ["b"]


def test_grace_that_carries_already_does_not_begin(both: SideBySide) -> None:
    """It does when another purchase has carried in between."""
    buy(both, "s", 60, 0, 10, 60)
    enable(both, "a", 3)
    call(both, "settle", wait=10 * DAY)
    assert ask(both).grace_starts == []
    buy(both, "t", 60, 20, 30, 0)
    assert ask(both).grace_starts == [day(30)]


def test_a_reminder_is_no_point(both: SideBySide) -> None:
    buy(both, "s", 60, 0, 100, 30)
    found = ask(both)
    assert [at for at, _ in found.points] == [day(100), day(130)]


def test_the_names_of_the_first_and_the_number_of_all(both: SideBySide) -> None:
    buy(both, "s", 5_000, 0, 10, 0)
    count = NAMES_LISTED_MAX + 20
    for number in range(count):
        enable(both, f"a-{number:03}", 1)
    found = both.rules.forecast(both.now, FOR_EVER).suspended
    assert found.total == count
    assert list(found.first) == [f"a-{number:03}" for number in range(count - 1, count - 1 - NAMES_LISTED_MAX, -1)]
