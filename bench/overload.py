"""Twice as many calls as can be answered: how many of those that can be are.

So that the lane is the limit and not gRPC, an allocator of its own commits more slowly: its batches are small, and each
commit takes longer by a delay that is chosen so that its capacity is a fifth of that of empty calls. Beside it, without
a bar, the same with the allocator as it is, where the server's processor is the limit.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bench.bench import Bench, rate
from bench.jobs import SLOW_DOWN, Answers, Load
from bench.load import calls_of
from bench.prepare import HOT, SLOW

BATCH_CALLS_MAX: Final = 64
BATCHES_IN_FLIGHT: Final = 4
"""Enough that every batch is full."""
QUIET_SECONDS: Final = 0.2
CAPACITY_OF_NOOP: Final = 0.2
TIMES_CAPACITY: Final = 2.0
DEADLINE_SECONDS: Final = 1.0


async def overload(bench: Bench) -> Mapping[str, float]:
    wanted = CAPACITY_OF_NOOP * bench.known("noop_rps")
    batch = bench.scaled(BATCH_CALLS_MAX)
    with bench.stage.another_allocator("--batch-calls-max", str(batch)) as address:
        job = replace(bench.job("enable", SLOW, in_flight=BATCHES_IN_FLIGHT * batch), address=address)
        undelayed = rate(await bench.run(job))
        delay_seconds = max(0.0, batch / wanted - batch / undelayed)
        async with calls_of(address, SLOW_DOWN, 1) as [slow_down]:
            await slow_down(str(delay_seconds).encode())
        capacity = rate(await bench.run(job))
        slow = await _at_twice(bench, job, capacity)
    fast_capacity = bench.known("hot_rps")
    fast = await _at_twice(bench, bench.job("enable", HOT), fast_capacity)
    await _have_it_over(bench)
    bench.figures.details["overload_goodput"] |= {
        "capacity_rps": round(capacity),
        "delay_ms": round(1000 * delay_seconds, 1),
        "codes": slow.codes,
    }
    bench.figures.details["overload_goodput_undelayed"] |= {"capacity_rps": round(fast_capacity), "codes": fast.codes}
    return {
        "overload_goodput": in_time(slow) / capacity,
        "overload_goodput_undelayed": in_time(fast) / fast_capacity,
    }


async def _at_twice(bench: Bench, job: Load, capacity: float) -> Answers:
    """After a warm-up as long as a call may wait, so that what is measured is how it goes on."""
    return await bench.stage.crew.load(
        replace(
            job,
            in_flight=0,
            rate=TIMES_CAPACITY * capacity,
            warm_up_seconds=DEADLINE_SECONDS,
            timeout_seconds=DEADLINE_SECONDS,
        )
    )


async def _have_it_over(bench: Bench) -> None:
    """Whatever still waits, waits before these."""
    await bench.run(replace(bench.job("enable", HOT, in_flight=1), warm_up_seconds=QUIET_SECONDS))


def in_time(answers: Answers) -> float:
    """A second, of those that were to be sent in the measured time."""
    return sum(each <= 1000 * DEADLINE_SECONDS for each in answers.latencies_ms) / answers.seconds
