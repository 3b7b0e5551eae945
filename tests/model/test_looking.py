"""What the model shows of an organization, held against the sentences of the specification."""

from __future__ import annotations

import pytest

from tests.model import looking
from tests.model.honest import HonestOrganization
from tests.model.lives import BEGIN, HOUR, small_catalogue
from tests.model.looking import Estimate, Forecast, Held, Step
from tests.model.words import DAY, MOST, Refused

T = BEGIN


@pytest.fixture
def model() -> HonestOrganization:
    """1,000 credits for a hundred days with thirty of grace; a sensor is 20."""
    model = HonestOrganization(small_catalogue(), T)
    model.create_subscription(T, 1_000, T + 100 * DAY, subscription_id="s1")
    return model


def hours(model: HonestOrganization, first: int, last: int, now: int) -> list[Step]:
    return looking.history(model.entries, T + first * HOUR, T + last * HOUR, HOUR, now)


def test_usage_by_offering(model: HonestOrganization) -> None:
    model.enable(T, "sensor", 3)
    model.enable(T, "sensor", 2, allocation_id="sensor~web")
    model.enable(T, "free", 7)
    model.enable(T, "second", 1)
    model.disable(T, "second")
    nothing = Held(0, 0, 0)
    found = looking.usage(model.state)
    assert found.offerings == {"free": (Held(1, 7, 0), nothing), "sensor": (Held(2, 5, 100), nothing)}
    assert found.ending == {30: (0, 0), 60: (0, 0), 90: (0, 0)}
    assert found.subscriptions == {"s1": ("ACTIVE", None)}
    model.settle(T + 130 * DAY)
    found = looking.usage(model.state)
    assert found.offerings == {"free": (Held(1, 7, 0), nothing), "sensor": (nothing, Held(2, 5, 100))}
    assert found.subscriptions == {}


def test_credits_that_end_soon(model: HonestOrganization) -> None:
    now = T + 10 * DAY
    model.create_subscription(now, 5, now + 30 * DAY, subscription_id="s2")
    model.create_subscription(now, 7, now + 90 * DAY, renews="s2", subscription_id="s3")
    assert looking.usage(model.state).ending == {30: (5, 5), 60: (5, 5), 90: (1_005, 5)}


def test_a_peak_is_the_figure_before_unless_something_took_effect_at_the_start(model: HonestOrganization) -> None:
    for at, units in ((T + HOUR // 2, 30), (T + 2 * HOUR, 5), (T + 2 * HOUR + 1, 6), (T + 3 * HOUR + 1, 1)):
        model.enable(at, "sensor", units)
    assert hours(model, -1, 6, T + 4 * HOUR) == [
        Step(T - HOUR, 0, 0, 0, False),
        Step(T, 1_000, 600, 600, False),
        Step(T + HOUR, 1_000, 600, 600, False),
        Step(T + 2 * HOUR, 1_000, 120, 120, False),
        Step(T + 3 * HOUR, 1_000, 20, 120, False),
        Step(T + 4 * HOUR, 1_000, 20, 20, True),
    ]


def test_what_a_call_passes_through_is_no_peak(model: HonestOrganization) -> None:
    operations: list[dict[str, object]] = [
        {"op": "enable", "offering": "sensor", "units": 50},
        {"op": "disable", "allocation_id": "sensor"},
    ]
    model.apply(T + 1, operations, request_id="r")
    assert hours(model, 0, 1, T + HOUR) == [Step(T, 1_000, 0, 0, False)]


def test_a_forecast(model: HonestOrganization) -> None:
    model.enable(T, "sensor", 3)
    model.enable(T, "sensor", 2, allocation_id="sensor~web")
    written = model.forecast(T, T + 130 * DAY)
    assert looking.forecast(written, model.figures()) == Forecast(
        points=[(T + 100 * DAY, (0, 1_000, 100, 0)), (T + 130 * DAY, (0, 0, 0, 100))],
        grace_starts=[T + 100 * DAY],
        coverage_ends=[T + 130 * DAY],
        suspended=["sensor~web", "sensor"],
    )


def test_an_estimate(model: HonestOrganization) -> None:
    model.enable(T, "sensor", 45)
    catalogue = model.catalogue
    catalogue.retire("free")
    found = looking.estimate(model.state, catalogue, [("sensor", 6), ("free", 2)], T)
    assert found == Estimate([(120, 1, False), (0, 1, True)], 120, 100 - 120, 20)
    for lines, reason in (
        ([("free", 1), ("nothing", 1)], "OFFERING_NOT_FOUND"),
        ([("free", 1), ("sensor", MOST)], "LIMIT_EXCEEDED"),
    ):
        with pytest.raises(Refused) as refused:
            looking.estimate(model.state, catalogue, lines, T)
        assert (refused.value.reason, refused.value.index) == (reason, 1)
