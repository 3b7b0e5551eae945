"""The bench measures every row, says so of what it could not, and judges by the run's own figures."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from bench.__main__ import ROWS, chosen
from bench.bench import checked, rate
from bench.crew import BenchError, crew
from bench.figures import Figures, percentile, rounded
from bench.following import delays_ms
from bench.jobs import Answers, Heard, Load
from bench.naive import Naive
from bench.requests import requests
from bench.targets import TARGETS
from earmark.v1 import allocation_service_pb2 as pb
from services.admin.catalog_file import SAMPLE_CATALOG, load_catalog
from services.ledger.ledger import Ledger
from services.ledger.rules.commands import Call, CreateOrganization, EnableAllocation
from services.ledger.store.database import Connection, Pool
from tests.support.processes import environment

KEYS = {key for row in ROWS for key in row.keys}
OF_TWO_PROCESSES = {"noop_2p_rps", "hot_2p_rps", "spread_2p_rps", "check_2p_rps"}
SECONDS_MAX = 100


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> tuple["subprocess.CompletedProcess[str]", Path]:
    """A run of everything that is over soon, and the folder of its file."""
    folder = tmp_path_factory.mktemp("bench")
    options = ["--rounds", "1", "--seconds", "0.1", "--scale", "0.01", "--output", str(folder / "bench.json")]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *options],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    return done, folder


def test_every_key_is_measured_and_written(hurried: tuple["subprocess.CompletedProcess[str]", Path]) -> None:
    done, folder = hurried
    assert done.returncode == 0, done.stdout + done.stderr
    written: dict[str, Any] = json.loads((folder / "bench.json").read_text())
    assert written["failures"] == []
    assert written.keys() >= KEYS
    for key in KEYS - {"overload_goodput", "overload_goodput_undelayed"}:
        assert written[key]["min"] > 0, key
    assert written["machine"]["cores"] >= 1
    assert {"entry", "allocation", "request"} <= written["bytes_per_call"]["tables"].keys()
    assert written["bytes_per_call"]["tables"]["entry"]["rows"] == 1
    assert {"allocator", "expiry"} <= written["rss_mb"].keys()
    for key in OF_TWO_PROCESSES:
        [one, other] = written[key]["calls_by_process"]
        assert min(one, other) > 0, key
    for key in KEYS:
        assert re.search(rf"\b{key} ", done.stdout), key


def test_nothing_but_the_file_is_left(hurried: tuple["subprocess.CompletedProcess[str]", Path]) -> None:
    _, folder = hurried
    assert [each.name for each in folder.iterdir()] == ["bench.json"]


def test_what_a_row_needs_is_measured_before_it() -> None:
    assert [row.keys[0] for row in chosen(frozenset({"watch"}))] == ["hot_rps", "watch_p99_ms"]
    assert [row.keys[0] for row in chosen(frozenset({"overload_goodput"}))] == [
        "noop_rps",
        "hot_rps",
        "overload_goodput",
    ]
    assert [row.keys[0] for row in chosen(frozenset({"slow_neighbour"}))] == ["spread_rps", "slow_neighbour_p99_ms"]
    assert chosen(frozenset()) == list(ROWS)


def test_a_call_that_fails_fails_its_row() -> None:
    answers = Answers(finished=10, seconds=2.0, codes={"OK": 10}, latencies_ms=[1.0])
    assert rate(checked(answers)) == 5
    with pytest.raises(BenchError, match=r"\{'UNAVAILABLE': 1\}; the first: UNAVAILABLE: later"):
        checked(Answers(10, 1.0, {"OK": 10, "UNAVAILABLE": 1}, [], "UNAVAILABLE: later"))
    with pytest.raises(BenchError, match="no call was answered"):
        checked(Answers(0, 1.0))
    with pytest.raises(BenchError, match="within the measured time"):
        rate(checked(Answers(0, 1.0, {"OK": 1}, [1_200.0])))


def test_bounds_that_are_no_ratios_are_scaled_by_the_empty_call() -> None:
    figures = Figures()
    figures.add({"noop_rps": 3_350, "naive_hot_rps": 200, "hot_rps": 1_700, "noop_p50_ms": 0.5, "commit_p50_ms": 1.5})
    figures.add({"no_slow_neighbour_p99_ms": 30})

    def met(key: str, value: float) -> bool:
        return TARGETS[key].met(value, figures.known)

    assert (met("batch_ops_per_s", 10_000), met("batch_ops_per_s", 9_999)) == (True, False)
    assert (met("hot_p99_ms", 79.9), met("hot_p99_ms", 80)) == (True, False)
    assert (met("hot_rps", 1_675), met("hot_rps", 1_674)) == (True, False)
    assert (met("single_p50_ms", 5.9), met("single_p50_ms", 6.0)) == (True, False)
    assert (met("replay_rps", 1_700), met("replay_rps", 1_699)) == (True, False)
    assert (met("slow_neighbour_p99_ms", 59.9), met("slow_neighbour_p99_ms", 60)) == (True, False)
    assert TARGETS.keys() <= KEYS
    with pytest.raises(KeyError, match="naive_spread_rps"):
        met("spread_rps", 1.0)


def test_a_commit_is_in_hand_with_the_first_message_that_goes_so_far() -> None:
    commits = [(3, 10.0), (5, 10.010), (9, 10.020), (12, 10.030)]
    heard = Heard([[(4, 10.001), (8, 10.013), (9, 10.021)], [(2, 9.0), (12, 10.040)]])
    assert [round(each) for each in delays_ms(commits, heard)] == [3, 1, 40, 30, 20, 10]
    with pytest.raises(BenchError, match="heard nothing"):
        delays_ms(commits, Heard([[]]))


def test_percentiles_are_values_that_were_measured() -> None:
    assert [percentile([3.0, 1.0, 2.0, 4.0], percent) for percent in (0, 50, 75, 99)] == [1.0, 2.0, 3.0, 4.0]
    assert [rounded(value) for value in (0, 0.012344, 1.23456, 123.456, 12_345.6)] == [0, 0.01234, 1.235, 123.5, 12_346]


async def test_the_usual_way_does_what_the_ledger_does(pool: Pool, connection: Connection) -> None:
    await load_catalog(connection, SAMPLE_CATALOG)
    ledger, naive = Ledger(pool), Naive(pool)
    for organization in ("ours", "usual"):
        await ledger.change(organization, Call(CreateOrganization(overdraft_unlimited=True)), 5)
    await ledger.change("ours", Call(EnableAllocation("web-1", "crem-core", 3), "once"), 5)
    request = pb.EnableAllocationRequest(
        parent="organizations/usual",
        allocation_id="web-1",
        offering="offerings/crem-core",
        units=3,
        request_id="once",
    )
    answer = await naive.enable(request)
    assert await naive.enable(request) == answer
    assert (answer.balance.revision, answer.balance.allocated_credits) == (2, 60)
    await ledger.drained()
    for table, columns in {
        "organization": "valid_credits, allocated_credits, revision, usage_revision, open_allocations",
        "allocation": "allocation, offering, state, units, credits, price_version, enabled_revision, changed_revision",
        "entry": "revision, kind, resource, request_id, allocated_delta, allocated_credits, last",
        "offering_usage": "offering, enabled_allocations, enabled_units, enabled_credits, free_units",
        "request": "request_id, meaning",
    }.items():
        query = f"SELECT {columns} FROM {table} WHERE organization = $1 ORDER BY {columns}"
        assert await connection.fetch(query, "ours") == await connection.fetch(query, "usual"), table


async def test_workers_are_there_for_the_next_job_after_one_that_failed() -> None:
    async def answer(_: bytes, context: object) -> bytes:
        return b"one process"

    class Anything(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    server = aio.server()
    server.add_generic_rpc_handlers((Anything(),))
    job = Load(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", "noop", in_flight=2, channels=2, seconds=0.05)
    await server.start()
    try:
        async with crew() as workers:
            with pytest.raises(BenchError, match="ZeroDivisionError"):
                await workers.load(replace(job, processes=0))
            done = await workers.load(job)
    finally:
        await server.stop(0)
    assert done.codes.keys() == {"OK"}


def test_a_worker_that_is_faster_than_any_does_not_run_out_of_requests() -> None:
    hasty = Load("", "batch", organization="o", in_flight=1, warm_up_seconds=0, seconds=0.001)
    sent = list(islice(requests(hasty), 100))
    assert len(set(sent)) == 100
