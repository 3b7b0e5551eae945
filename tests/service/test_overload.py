"""Five times as many calls as the lanes can take, for a while: who gets an answer, and what the others get."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from earmark.messages import MessageClient
from services.ledger.store.database import Connection
from tests.support.monitored import Monitored, monitored_process, serving_at, until
from tests.support.overload import (
    LATE_SECONDS_MAX,
    OK,
    Caller,
    Ended,
    check_answers,
    check_ledger,
    check_was_offered,
    enabled,
    peaks,
    quantile,
)
from tests.support.processes import NO_REDIS
from tests.support.slow_committing_allocator import QUEUE_CALLS_MAX, WAITING_CALLS_MAX
from tests.support.watching import make_watched

SECONDS: Final = float(os.environ.get("EARMARK_TEST_OVERLOAD_SECONDS", "8"))
MODULE: Final = "tests.support.slow_committing_allocator"
HOT: Final = "hot"
COOL: Final = tuple(f"cool-{number}" for number in range(10))
SHARES: Final = {HOT: 10, **dict.fromkeys(COOL, 1)}
"""Each is offered more than its lane takes, the hot one much more."""
TIMES: Final = 5
DEADLINES: Final = (1.0, 3.0)
MEASURE_SECONDS: Final = 2.0
RECOVERY_SECONDS: Final = 1.0
"""From the last call that is too many until all lanes are empty; and for one call after that."""
UNBOUNDED_SECONDS: Final = 2.0
GOODPUT_SHARE_MIN: Final = 0.5
MIB: Final = 2**20
GROWTH_BYTES_MAX: Final = 48 * MIB


@dataclass
class Overload:
    """What was seen."""

    seconds: float
    capacity: float
    """Calls a second that the lanes took when nobody had to wait long."""
    calls: list[Ended]
    most: dict[str, float]
    """The peaks while it lasted."""
    memory_before: float
    drained_after: float
    """Seconds after the last call was sent, until nothing waited in any lane."""

    @property
    def goodput(self) -> float:
        return sum(each.reason == OK for each in self.calls) / self.seconds

    @property
    def growth(self) -> float:
        return self.most["process_resident_memory_bytes"] - self.memory_before

    def __str__(self) -> str:
        refusals = [each.seconds * 1e3 for each in self.calls if each.reason == "TOO_MANY_WAITING"]
        lags = [(each.sent - each.due) * 1e3 for each in self.calls]
        return "; ".join(
            (
                f"overload: {self.seconds:g} s, the lanes took {self.capacity:.0f} calls/s",
                f"{len(self.calls) / self.seconds:.0f}/s were offered and {self.goodput:.0f}/s answered OK",
                str(dict(Counter(each.reason for each in self.calls))),
                f"refused in {quantile(refusals, 0.5):.0f} ms (p50), {quantile(refusals, 0.99):.0f} ms (p99)",
                f"the latest end {max(each.ended - each.deadline for each in self.calls):+.2f} s after its deadline",
                f"at most {self.most['earmark_lane_calls']:.0f} calls in all lanes",
                f"{self.most['earmark_lane_calls_deepest']:.0f} waiting in one",
                f"{self.most['earmark_calls_in_flight']:.0f} in flight",
                f"memory grew by {self.growth / MIB:.1f} MiB",
                f"lanes empty after {self.drained_after:.2f} s",
                f"the load was late by {quantile(lags, 0.99):.0f} ms (p99)",
            )
        )


async def overloaded(process: Monitored, caller: Caller, seconds: float) -> Overload:
    clock = asyncio.get_running_loop().time
    await caller.keep_busy([*SHARES, *SHARES], clock() + MEASURE_SECONDS)
    capacity = sum(each.reason == OK for each in caller.ended) / MEASURE_SECONDS
    memory = await asyncio.to_thread(process.value, "process_resident_memory_bytes")
    async with peaks(process) as most:
        calls = await caller.offer(SHARES, DEADLINES, TIMES * capacity, seconds)
        ended = clock()
        await until(lambda: process.value("earmark_lane_calls") == 0)
        drained_after = clock() - ended
    return Overload(seconds, capacity, list(await asyncio.gather(*calls)), most, memory, drained_after)


@asynccontextmanager
async def slow_allocator(database: str, **settings: str) -> AsyncIterator[tuple[Monitored, Caller]]:
    """A process of its own, and who calls it."""
    with monitored_process(MODULE, database_url=database, redis_url=NO_REDIS, **settings) as process:
        async with MessageClient(await asyncio.to_thread(serving_at, process)) as client:
            await make_watched(client, *SHARES)
            yield process, Caller(client)


async def test_five_times_what_the_lanes_can_take(database: str, connection: Connection, sound: None) -> None:
    async with slow_allocator(database) as (process, caller):
        seen = await overloaded(process, caller, SECONDS)
        fresh = await asyncio.gather(*(caller.call(each, RECOVERY_SECONDS) for each in SHARES))
    print(seen)
    check_was_offered(seen.calls)
    assert seen.most["earmark_lane_calls"] <= WAITING_CALLS_MAX + 1  # One may be about to be refused.
    assert seen.most["earmark_lane_calls_deepest"] <= QUEUE_CALLS_MAX
    assert seen.growth < GROWTH_BYTES_MAX
    check_answers(seen.calls)
    check_ledger(caller.ended, await enabled(connection))
    assert seen.goodput > GOODPUT_SHARE_MIN * seen.capacity
    assert seen.drained_after < RECOVERY_SECONDS + LATE_SECONDS_MAX
    assert [each.reason for each in fresh] == [OK] * len(SHARES)


async def test_without_bounds_it_is_seen_that_there_are_none(database: str) -> None:
    """The same, but that everybody is let in: far more wait, and for nothing."""
    async with slow_allocator(database, test_unbounded="1") as (process, caller):
        seen = await overloaded(process, caller, UNBOUNDED_SECONDS)
    print(seen)
    check_was_offered(seen.calls)
    assert seen.most["earmark_lane_calls"] > 2 * WAITING_CALLS_MAX
    assert seen.most["earmark_lane_calls_deepest"] > 2 * QUEUE_CALLS_MAX
    assert seen.drained_after > RECOVERY_SECONDS + LATE_SECONDS_MAX
    check_answers(seen.calls)
