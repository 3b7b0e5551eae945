"""The clients of `make chaos`, against a service that is well: everybody has something to do, and writes it down."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest

from services.admin import embedded
from tests.chaos.history import CALLS, NOTICES, WATCHES, Call, Heard, Seen, read_all
from tests.chaos.load.plan import Plan
from tests.chaos.load.watching import SNAPSHOT
from tests.chaos.load.wishing import MUTATIONS, WEIGHTS
from tests.support.processes import DEADLINE_SECONDS, EXPIRY, environment, running_allocator

CALLS_MIN: Final = 900
"""Enough for the rarest of them: some four seconds."""
RESUMED_MIN: Final = 3
ORGANIZATIONS: Final = 6
PREPARED: Final = {"CreateOffering", "CreateOrganization"}


@pytest.fixture
def addresses(database: str, redis: embedded.Server, notice_prefix: str, sound: None) -> Iterator[list[str]]:
    """Of two allocators; an expiry worker runs beside them."""
    settings = {"redis_url": redis.url, "notice_prefix": notice_prefix}
    env = environment(database_url=database, log_level="ERROR", **settings)
    with (
        running_allocator(database, **settings) as (_, first),
        running_allocator(database, **settings) as (_, second),
        embedded.child([sys.executable, "-m", EXPIRY], env=env),
    ):
        yield [first, second]


@contextmanager
def load(plan: Plan) -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-m", "tests.chaos.load", json.dumps(asdict(plan))]
    with subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """The next line; empty at the end."""
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(process.stdout.readline() or b"{}")
    return line


@pytest.fixture
def plan(addresses: list[str], redis: embedded.Server, notice_prefix: str, tmp_path: Path) -> Plan:
    return Plan(addresses, redis.url, notice_prefix, seed=1, folder=str(tmp_path), organizations=ORGANIZATIONS)


def test_everybody_has_something_to_do_and_writes_it_down(plan: Plan) -> None:
    with load(plan) as process:
        assert told(process) == {"ready": True}
        while (line := told(process)) and (line["calls"] < CALLS_MIN or line["resumed"] < RESUMED_MIN):
            pass
        assert process.stdin is not None
        process.stdin.write(b"drain\n")
        process.stdin.flush()
        last: dict[str, Any] = {}
        while line := told(process):
            last = line
        assert process.wait(DEADLINE_SECONDS) == 0
    assert last["behind"] == 0, "every watcher has seen the newest revision"
    assert last["in_flight"] == 0
    check_calls(list(read_all(plan.path, CALLS, Call)), last)
    check_watches(list(read_all(plan.path, WATCHES, Seen)), last)
    check_notices(list(read_all(plan.path, NOTICES, Heard)), last)


def check_calls(calls: list[Call], told: dict[str, Any]) -> None:
    """Every method occurs, mostly with success, and each call is told apart from all others."""
    assert len(calls) == told["calls"]
    outcomes = Counter(each.outcome for each in calls)
    assert {outcome: told[outcome] for outcome in outcomes} == outcomes
    assert outcomes["ok"] > outcomes["refused"] > outcomes["open"]
    assert {each.method for each in calls if each.outcome == "ok"} == {*WEIGHTS, *PREPARED}
    assert {each.reason for each in calls} >= {"INSUFFICIENT_CREDITS", "ETAG_MISMATCH"}
    assert all((each.answer is None) == (each.outcome != "ok") for each in calls)
    by_client = Counter(each.client for each in calls)
    assert sum(name.startswith(("sdk-", "together-", "plain-")) for name in by_client) == 12
    assert {(each.client, each.number) for each in calls} == {
        (client, number) for client, made in by_client.items() for number in range(1, made + 1)
    }
    check_ids(calls)


def check_ids(calls: list[Call]) -> None:
    """What is repeated is the same; what has no id has an actor that nobody else has."""
    first: dict[str, Call] = {}
    repeated = 0
    for each in calls:
        if each.request_id:
            other = first.setdefault(each.request_id, each)
            assert (each.method, each.request) == (other.method, other.request)
            if other is not each and other.outcome == each.outcome == "ok":
                assert each.answer == other.answer
                repeated += 1
    assert repeated > 5
    actors = Counter(each.actor for each in calls)
    without = [each for each in calls if each.method in MUTATIONS and not each.request_id]
    assert without
    assert all(actors[each.actor] == 1 for each in without)


def check_watches(seen: list[Seen], told: dict[str, Any]) -> None:
    """One by the SDK for each organization, and plain ones later; each goes on where it was."""
    assert sum(each.what == "entry" for each in seen) == told["watched"] > 0
    assert len({each.watcher for each in seen if each.watcher.startswith("sdk-")}) == ORGANIZATIONS
    assert any(each.watcher.startswith("plain-") for each in seen)
    at: dict[str, int] = {}
    for each in seen:
        match each.what:
            case "began":
                assert each.watcher not in at
            case "snapshot":
                assert at[each.watcher] == SNAPSHOT, "it asked for one, once"
            case _:
                assert each.revision == at[each.watcher] + 1
        at[each.watcher] = each.revision


def check_notices(heard: list[Heard], told: dict[str, Any]) -> None:
    assert [each.what for each in heard if each.what != "notice"] == ["connected", "disconnected"]
    notices = [each for each in heard if each.what == "notice"]
    assert len(notices) == told["heard"] > 0
    assert all(each.balance and int(each.balance["revision"]) == each.revision for each in notices)
