"""What a seed decides about a campaign's faults."""

from itertools import islice

from tests.chaos.faults import KINDS
from tests.chaos.schedule import Step, schedule


def beginning(seed: int, count: int) -> list[Step]:
    return list(islice(schedule(seed, KINDS), count))


def test_a_seed_replays_its_faults_with_everything_that_is_random_about_them() -> None:
    assert beginning(7, 200) == beginning(7, 200)


def test_another_seed_has_others() -> None:
    assert beginning(7, 20) != beginning(8, 20)


def test_a_short_campaign_is_the_beginning_of_a_long_one_and_has_one_fault_of_each_group() -> None:
    groups = {kind.group for kind in KINDS}
    for seed in range(50):
        assert {step.kind.group for step in beginning(seed, len(groups))} == groups


def test_each_round_has_every_kind_once() -> None:
    names = sorted(kind.name for kind in KINDS)
    for seed in range(20):
        steps = beginning(seed, 3 * len(KINDS))
        for first in range(0, len(steps), len(KINDS)):
            assert sorted(step.kind.name for step in steps[first : first + len(KINDS)]) == names


def test_what_goes_on_beside_a_fault_is_never_another_of_the_same_place() -> None:
    steps = beginning(1, 2_000)
    beside = [step for step in steps if step.beside is not None]
    assert beside
    for step in beside:
        assert step.beside is not None
        assert step.beside.kind.goes_beside
        assert not step.kind.goes_beside
        assert step.beside.beside is None


def test_the_kinds_that_are_asked_for_are_the_only_ones() -> None:
    asked = [kind for kind in KINDS if kind.group == "redis"]
    assert {step.kind.name for step in islice(schedule(3, asked), 50)} == {"redis_killed", "redis_paused"}


def test_without_kinds_there_is_nothing_to_do() -> None:
    assert list(schedule(3, [])) == []
