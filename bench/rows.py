"""The rows that are measured in every round."""

from collections.abc import Mapping
from time import monotonic
from typing import Final

from bench.bench import WARM_UP_SECONDS_MAX, Bench, Row, checked, latency, rate
from bench.capacity import IN_FLIGHT, full, full_spread, two_processes
from bench.following import notices, watches
from bench.jobs import Callers
from bench.large import LARGE
from bench.neighbour import slow_neighbour
from bench.overload import overload
from bench.prepare import BATCH, BATCH_ALONE, HOT, NAIVE_HOT, NAIVE_SPREAD, SDK, SPREAD

BATCHES_IN_FLIGHT: Final = 4

Figures = Mapping[str, float]


async def noop(bench: Bench) -> Figures:
    together = await bench.run(full(bench, "noop"))
    alone = await bench.run(bench.job("noop", in_flight=1))
    return {"noop_rps": rate(together), "noop_p50_ms": latency(alone, 50)}


async def commit(bench: Bench) -> Figures:
    """A row of about an entry's size, inserted and committed by one statement."""
    connection = bench.stage.connection
    await connection.execute("CREATE TABLE IF NOT EXISTS bench_commit (content text)")
    statement = await connection.prepare("INSERT INTO bench_commit (content) VALUES ($1)")
    taken_ms: list[float] = []
    end = monotonic() + bench.seconds
    while (begun := monotonic()) < end:
        await statement.fetch("x" * 500)
        taken_ms.append((monotonic() - begun) * 1000)
    taken_ms.sort()
    return {"commit_p50_ms": taken_ms[len(taken_ms) // 2]}


async def naive_hot(bench: Bench) -> Figures:
    return {"naive_hot_rps": rate(await bench.run(full(bench, "naive", NAIVE_HOT)))}


async def naive_spread(bench: Bench) -> Figures:
    return {"naive_spread_rps": rate(await bench.run(full_spread(bench, "naive", NAIVE_SPREAD)))}


async def hot(bench: Bench) -> Figures:
    capacity = rate(await bench.run(full(bench, "enable", HOT)))
    half = await bench.run(bench.job("enable", HOT, rate=capacity / 2))
    return {"hot_rps": capacity, "hot_p50_ms": latency(half, 50), "hot_p99_ms": latency(half, 99)}


async def spread(bench: Bench) -> Figures:
    return {"spread_rps": rate(await bench.run(full_spread(bench, "enable", SPREAD)))}


async def single(bench: Bench) -> Figures:
    return {"single_p50_ms": latency(await bench.run(bench.job("enable", HOT, in_flight=1)), 50)}


async def batch(bench: Bench) -> Figures:
    several = bench.job("batch", BATCH, in_flight=BATCHES_IN_FLIGHT)
    alone = bench.job("batch", BATCH_ALONE, in_flight=1)
    return {
        "batch_ops_per_s": several.operations * rate(await bench.run(several)),
        "batch1_ops_per_s": alone.operations * rate(await bench.run(alone)),
    }


async def replay(bench: Bench) -> Figures:
    return {"replay_rps": rate(await bench.run(full(bench, "replay", HOT)))}


async def check(bench: Bench) -> Figures:
    return {"check_rps": rate(await bench.run(full(bench, "check", HOT)))}


async def sdk(bench: Bench) -> Figures:
    def callers(*, coalesce: bool) -> Callers:
        return Callers(
            bench.stage.address,
            SDK,
            coalesce,
            in_flight=bench.scaled(IN_FLIGHT),
            warm_up_seconds=min(WARM_UP_SECONDS_MAX, bench.seconds),
            seconds=bench.seconds,
        )

    return {
        f"sdk_{name}_ops_per_s": rate(checked(await bench.stage.crew.call(callers(coalesce=coalesce))))
        for name, coalesce in (("plain", False), ("coalesced", True))
    }


async def usage(bench: Bench) -> Figures:
    return {"usage_p99_ms": latency(await bench.run(bench.job("usage", LARGE, in_flight=1)), 99)}


async def history(bench: Bench) -> Figures:
    return {"history_p99_ms": latency(await bench.run(bench.job("history", LARGE, in_flight=1)), 99)}


async def history_hours(bench: Bench) -> Figures:
    return {"history_hours_p99_ms": latency(await bench.run(bench.job("history_hours", LARGE, in_flight=1)), 99)}


ROUND: Final = (
    Row(("noop_rps", "noop_p50_ms"), noop),
    Row(("commit_p50_ms",), commit),
    Row(("naive_hot_rps",), naive_hot),
    Row(("naive_spread_rps",), naive_spread),
    Row(("hot_rps", "hot_p50_ms", "hot_p99_ms"), hot),
    Row(("spread_rps",), spread),
    Row(("single_p50_ms",), single),
    Row(("batch_ops_per_s", "batch1_ops_per_s"), batch),
    Row(("sdk_plain_ops_per_s", "sdk_coalesced_ops_per_s"), sdk),
    Row(("replay_rps",), replay),
    Row(("check_rps",), check),
    Row(("noop_2p_rps", "hot_2p_rps", "spread_2p_rps", "check_2p_rps"), two_processes),
    Row(("slow_neighbour_p99_ms", "no_slow_neighbour_p99_ms"), slow_neighbour, needs=("spread_rps",)),
    Row(("watch_p99_ms",), watches, needs=("hot_rps",)),
    Row(("notice_p99_ms",), notices, needs=("hot_rps",)),
    Row(("usage_p99_ms",), usage),
    Row(("history_p99_ms",), history),
    Row(("history_hours_p99_ms",), history_hours),
    Row(("overload_goodput", "overload_goodput_undelayed"), overload, needs=("noop_rps", "hot_rps")),
)
OF_LARGE: Final = frozenset({"usage_p99_ms", "history_p99_ms", "history_hours_p99_ms"})
"""They need the large organization, which takes a while to make."""
