"""The table of cases for every language, run with the Python client: clients/conformance/README.md."""

import inspect
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import grpc
import pytest

import earmark
from clients.conformance.host import expectations, faults
from clients.conformance.host.contract import BY_NAME
from earmark.v1.error_reason_pb2 import ErrorReason
from tests.support.conformance import TABLES, Case, load_cases
from tests.support.conformance_client import OPTIONS, async_caller, sync_caller
from tests.support.conformance_host import HostError, HostProcess, host_process
from tests.support.conformance_mutants import NOTICED_BY, Mutate
from tests.support.conformance_run import STEP_KEYS, Failed, run_case

CASES = load_cases()
NAMED = {case.name: case for case in CASES}
BLOCKING = [case for case in CASES if case.table not in ("addresses", "retries") and not case.told.get("ordered")]
"""What is tried again, and where, is decided below what the two differ in. Threads begin their calls in no order."""
CASE_KEYS = {"name", "world", "client", "ordered", "faults", "steps", "attempts"}
MUTANT_SECONDS = 2.0
PAGE = (TABLES / "README.md").read_text()
CALL_ROW = re.compile(r"^\| `(\w+)` \| ([A-Z]\w+) \|", re.MULTILINE)


@pytest.fixture(scope="module")
async def host() -> AsyncIterator[HostProcess]:
    async with host_process() as host:
        yield host


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_case(host: HostProcess, case: Case) -> None:
    await run_case(case, host, async_caller)


@pytest.mark.parametrize("case", BLOCKING, ids=lambda case: case.name)
async def test_case_with_the_blocking_client(host: HostProcess, case: Case) -> None:
    await run_case(case, host, sync_caller)


@pytest.mark.parametrize("mutate", NOTICED_BY, ids=lambda mutate: mutate.__name__)
async def test_a_client_that_does_otherwise_is_noticed(
    host: HostProcess, mutate: Mutate, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    for name in NOTICED_BY[mutate]:
        with pytest.raises(Failed):
            await run_case(NAMED[name], host, async_caller, MUTANT_SECONDS)
    await run_case(NAMED["get_offering"], host, async_caller)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"steps": [{"call": "get_offering", "with": {"offering": "sensor"}, "answer": {"unit": "GB"}}]}, "unit"),
        ({"steps": [{"call": "get_offering", "with": {"offering": "sensor"}, "answer": {"units": "x"}}]}, "absent"),
        ({"steps": [{"call": "list_offerings", "with": {}, "contains": [{"id": "none"}]}]}, "none of the items"),
        ({"steps": [{"call": "get_offering", "with": {"offering": "sensor"}, "error": {}}]}, "was to fail"),
        ({"steps": [{"call": "get_offering", "with": {"offering": "none"}}]}, "OFFERING_NOT_FOUND"),
        ({"attempts": [{"method": "GetOffering", "count": 2}]}, "1 attempts, not 2"),
        ({"attempts": [{"method": "GetOffering", "same_request_ids": True}]}, "without a request id"),
        ({"attempts": [{"method": "GetOffering", "actor": "somebody"}]}, "actors"),
        ({"attempts": [{"method": "GetOffering", "addresses": [2]}]}, "addresses"),
        ({"attempts": [{"method": "GetOffering", "requests": [{"name": "offerings/free"}]}]}, "offerings/sensor"),
    ],
)
async def test_a_case_that_is_told_wrongly_fails(host: HostProcess, change: Mapping[str, Any], problem: str) -> None:
    with pytest.raises(Failed, match=problem):
        await run_case(Case("", {**NAMED["get_offering"].told, **change}), host, async_caller)


async def test_what_the_host_does_not_understand(host: HostProcess) -> None:
    """It says so, and goes on."""
    for bad in (
        {"world": "another"},
        {"faults": [{"do": "cut", "method": "GetNothing"}]},
        {"faults": [{"do": "lose", "method": "WatchUsage"}]},
        {"faults": [{"do": "refuse", "method": "GetUsage"}]},
        {"faults": [{"do": "cut", "method": "GetUsage", "atempts": [1]}]},
        {"faults": [{"do": "rewrite", "method": "GetUsage", "set": {"page_size": 2}}]},
        {"faults": [{"do": "dead"}]},
        {"attempts": [{"method": "GetUsage", "counts": 1}]},
        {"attempts": [{"count": 1}]},
    ):
        with pytest.raises(HostError):
            await host.do("begin", case=bad)
    with pytest.raises(HostError, match="begin, advance and end"):
        await host.do("begun")
    await run_case(NAMED["get_offering"], host, async_caller)


def test_every_reason_is_provoked() -> None:
    provoked = {error.get("reason") for case in CASES for error in _values_of("error", case.told) if error}
    assert set(ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"} <= provoked


def test_every_code_comes_without_a_reason() -> None:
    statuses = [status for case in CASES for status in _values_of("status", case.told)]
    bare = {status["code"] for status in statuses if "reason" not in status}
    assert bare == {code.name for code in grpc.StatusCode} - {"OK"}


def test_every_method_has_a_plain_answer() -> None:
    """The page lists all methods of the contract, and all calls of the client; the table has an answer of each."""
    calls = dict(CALL_ROW.findall(PAGE))
    answered = {step.get("call", step.get("watch")) for step in _steps("answers") if "error" not in step}
    assert sorted(calls.values()) == sorted(BY_NAME)
    assert set(calls) == answered - {None}
    methods = {name for name, each in inspect.getmembers(earmark.Client) if callable(each) and name[0] != "_"}
    assert methods - {"using"} == set(calls)


def test_no_case_hides_another() -> None:
    assert len(NAMED) == len(CASES)
    assert all(case.told.keys() <= CASE_KEYS for case in CASES)


def test_the_page_explains_every_word() -> None:
    words = {*CASE_KEYS, *OPTIONS, *STEP_KEYS, *expectations.KEYS}
    words |= {*faults.OF_AN_ADDRESS, *faults.ON_THE_WAY, *faults.OF_CALLS, *faults.OF_STREAMS}
    words |= {key for case in CASES for error in _values_of("error", case.told) for key in error or ()}
    assert {word for word in words if not re.search(rf"`[^`\n]*\b{word}\b[^`\n]*`", PAGE)} == set()


def _values_of(key: str, told: Any) -> Iterator[Any]:
    """However deep they lie."""
    if isinstance(told, list):
        for each in told:
            yield from _values_of(key, each)
    elif isinstance(told, Mapping):
        for name, value in told.items():
            if name == key:
                yield value
            yield from _values_of(key, value)


def _steps(table: str) -> Iterator[Mapping[str, Any]]:
    for case in CASES:
        if case.table == table:
            yield from case.told["steps"]
