"""How many calls a second there can be: closed loops of many calls at a time, against one process and against two."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bench.bench import Bench, rate
from bench.jobs import Load
from bench.prepare import HOT, SPREAD

IN_FLIGHT: Final = 256
SPREAD_ORGANIZATIONS: Final = 1_000
PROCESSES: Final = 2


def full(bench: Bench, call: str, organization: str = "") -> Load:
    return bench.job(call, organization, in_flight=bench.scaled(IN_FLIGHT))


def full_spread(bench: Bench, call: str, prefix: str) -> Load:
    """Over all organizations of that prefix, by turns."""
    return replace(full(bench, call, prefix), organizations=bench.scaled(SPREAD_ORGANIZATIONS))


async def two_processes(bench: Bench) -> Mapping[str, float]:
    """The loads of `noop_rps` and so on, over as many connections, of which each process has half.

    They run only as long as this takes: idle, they would still hear what the others do.
    """
    loads = {
        "noop_2p_rps": full(bench, "noop"),
        "hot_2p_rps": full(bench, "enable", HOT),
        "spread_2p_rps": full_spread(bench, "enable", SPREAD),
        "check_2p_rps": full(bench, "check", HOT),
    }
    measured: dict[str, float] = {}
    with bench.stage.another_allocator("--processes", str(PROCESSES)) as address:
        for key, load in loads.items():
            answers = await bench.run(replace(load, address=address, processes=PROCESSES))
            bench.figures.details[key]["calls_by_process"] = list(answers.by_process.values())
            measured[key] = rate(answers)
    return measured
