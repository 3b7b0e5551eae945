"""The checker believes a true history, and finds every lie in it by the check that is there for it."""

from pathlib import Path

import pytest

from tests.chaos.checks import CHECKS, Report, check_folder
from tests.chaos.history import Fault, Heard
from tests.support.made_up_history import MadeUpHistory
from tests.support.made_up_lies import LIES, Lie, fall_silent, lie_about_the_balance, lie_about_units
from tests.support.made_up_story import a_true_history
from tests.support.processes import run


def test_a_true_history_is_believed(tmp_path: Path) -> None:
    report = judged(a_true_history(), tmp_path)
    assert (report.violated, report.failed) == ([], False), "\n".join(report.lines())


def judged(history: MadeUpHistory, folder: Path, cases_min: int = 1) -> Report:
    history.write(folder)
    return check_folder(folder, cases_min=cases_min, seed=7)


@pytest.mark.parametrize(("lie", "found_by"), [pytest.param(*each, id=each[0].__name__) for each in LIES])
def test_a_lie_is_found(lie: Lie, found_by: set[str], tmp_path: Path) -> None:
    history = a_true_history()
    lie(history)
    report = judged(history, tmp_path)
    assert set(report.violated) == found_by, "\n".join(report.lines())
    assert report.failed


def test_every_check_finds_a_lie() -> None:
    assert {name for _, found_by in LIES for name in found_by} == {check.__name__ for check in CHECKS}


def test_silence_while_redis_is_away_is_no_lie(tmp_path: Path) -> None:
    history = a_true_history()
    fall_silent(history)
    last = history.entries[-1]
    told = next(call.ended for call in history.calls if call.actor == last.actor)
    history.faults.append(Fault("redis_paused", "redis", told + 1, told + 5, ["redis"], 3, "3 notices were held back"))
    assert judged(history, tmp_path).violated == []


def test_silence_for_a_listener_that_was_away_is_no_lie(tmp_path: Path) -> None:
    history = a_true_history()
    fall_silent(history)
    last = history.entries[-1]
    told = next(call.ended for call in history.calls if call.actor == last.actor)
    history.heard.append(Heard(told - 0.1, "disconnected", "", 0, None))
    history.heard.append(Heard(told + 0.1, "connected", "", 0, None))
    assert judged(history, tmp_path).violated == []


def test_silence_after_redis_is_back_is_one(tmp_path: Path) -> None:
    history = a_true_history()
    fall_silent(history)
    ended = history.calls[-1].ended
    history.faults.append(Fault("redis_paused", "redis", 100, ended - 2.1, ["redis"], 3, "3 notices were held back"))
    assert judged(history, tmp_path).violated == ["notices_catch_up"]


def test_too_few_cases_prove_nothing(tmp_path: Path) -> None:
    report = judged(a_true_history(), tmp_path, cases_min=100)
    assert report.failed
    assert "acknowledged_once" in report.failing
    assert "    ! judged fewer than 100 cases, which proves nothing" in report.lines()


def test_the_last_line_counts_the_faults_that_hit_something(tmp_path: Path) -> None:
    history = a_true_history()
    history.faults += [Fault("allocator_killed", "a-1", 1, 2, ["allocator"], hits, "") for hits in (0, 4)]
    lie_about_the_balance(history)
    lines = judged(history, tmp_path).lines()
    assert lines[-1] == f"chaos: seed 7, {len(history.calls)} operations, 1 faults, 1 violations"
    (words,) = [line for line in lines if line.startswith("    - ")]
    assert all(part in words for part in ("o-1", "GetOrganization", "revision", "grace_credits 17 and not 0")), words


def test_the_command_ends_with_1_where_something_is_wrong(tmp_path: Path) -> None:
    true, false = tmp_path / "true", tmp_path / "false"
    true.mkdir()
    false.mkdir()
    history = a_true_history()
    history.write(true)
    lie_about_units(history)
    history.write(false)
    ended = [run("tests.chaos.check", str(folder), "--cases-min", "1", "--seed", "7") for folder in (true, false)]
    assert [each.returncode for each in ended] == [0, 1]
    assert ended[1].stdout.endswith("1 violations\n")
