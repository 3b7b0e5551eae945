"""More calls than can be carried out: offered by the clock, whatever becomes of those before, and written down."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from google.rpc import error_details_pb2

from earmark import names
from earmark.errors import EarmarkError
from earmark.messages import MessageClient
from services.ledger.store.database import Connection
from tests.support.monitored import Monitored
from tests.support.watching import SENSOR

SAMPLE_SECONDS: Final = 0.1
WATCHED: Final = (
    "earmark_lane_calls",
    "earmark_lane_calls_deepest",
    "earmark_calls_in_flight",
    "process_resident_memory_bytes",
)
OK: Final = "OK"
NOTHING_WAS_CHANGED: Final = ("TOO_MANY_WAITING", "LOCK_TIMEOUT")
LATE_SECONDS_MAX: Final = 0.5
"""A machine that does other things as well may hand an answer over so late."""
LAG_SECONDS_MAX: Final = 0.5
OPEN: Final = ("OUTCOME_UNKNOWN", "DEADLINE_EXCEEDED")


@dataclass(frozen=True, slots=True)
class Ended:
    """One call, and what became of it. Times are in seconds of the monotonic clock."""

    allocation: str
    """Its own: it is enabled once, or never."""
    due: float
    """When it was to be sent."""
    sent: float
    deadline: float
    ended: float
    reason: str
    """OK, a reason of Earmark's, or the code of what comes from gRPC itself."""
    has_retry_info: bool

    @property
    def seconds(self) -> float:
        return self.ended - self.sent


@dataclass
class Caller:
    """Enables allocations, each with a name of its own, and tries nothing again."""

    client: MessageClient
    ended: list[Ended] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def call(self, organization: str, seconds: float, due: float | None = None) -> Ended:
        """Never raises: what became of it is in the answer."""
        clock = asyncio.get_running_loop().time
        allocation, sent = f"a-{next(self._numbers)}", clock()
        reason, details = await self._enable(organization, allocation, seconds)
        has_retry_info = any(isinstance(each, error_details_pb2.RetryInfo) for each in details)
        ended = Ended(allocation, sent if due is None else due, sent, sent + seconds, clock(), reason, has_retry_info)
        self.ended.append(ended)
        return ended

    async def _enable(self, organization: str, allocation: str, seconds: float) -> tuple[str, Sequence[object]]:
        try:
            await self.client.using(timeout_seconds=seconds).enable_allocation(
                organization, offering=SENSOR, units=1, allocation=allocation
            )
        except EarmarkError as error:
            return error.reason or error.code.name, error.details
        return OK, ()

    async def keep_busy(self, organizations: Sequence[str], until: float) -> None:
        """One call after the other to each, as long as that."""

        async def one_after_the_other(organization: str) -> None:
            while asyncio.get_running_loop().time() < until:
                await self.call(organization, 10.0)

        await asyncio.gather(*map(one_after_the_other, organizations))

    async def offer(
        self, shares: Mapping[str, int], deadlines: Sequence[float], rate: float, seconds: float
    ) -> list["asyncio.Task[Ended]"]:
        """So many calls a second, as soon as they are due; returns once the last one is on its way.

        shares: of the calls, by organization. deadlines: each as often as the others.
        """
        clock, chance = asyncio.get_running_loop().time, random.Random(1)
        begun, calls = clock(), []
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            if due > clock():
                await asyncio.sleep(due - clock())
            [organization] = chance.choices(list(shares), list(shares.values()))
            calls.append(asyncio.create_task(self.call(organization, chance.choice(deadlines), due)))
        return calls


@asynccontextmanager
async def peaks(process: Monitored) -> AsyncIterator[dict[str, float]]:
    """The largest of each figure that is watched, from the beginning of the block to its end."""
    most = dict.fromkeys(WATCHED, 0.0)

    def look() -> None:
        samples = process.samples()
        for name in WATCHED:
            most[name] = max(most[name], samples[name, frozenset()])

    async def look_again_and_again() -> None:
        while True:
            await asyncio.to_thread(look)
            await asyncio.sleep(SAMPLE_SECONDS)

    looking = asyncio.create_task(look_again_and_again())
    try:
        yield most
        assert not looking.done(), "the figures could not be read"
    finally:
        looking.cancel()
        await asyncio.wait([looking])


async def enabled(connection: Connection) -> Counter[str]:
    """How often each allocation was enabled, as the ledger says."""
    rows = await connection.fetch("SELECT resource FROM entry WHERE kind = 'ALLOCATION_ENABLED'")
    return Counter(names.id_of(row["resource"]) for row in rows)


def check_ledger(calls: Sequence[Ended], ledger: Counter[str]) -> None:
    """What was acknowledged is in the ledger once, what was refused is not, and nothing is there twice."""
    assert all(times == 1 for times in ledger.values())
    assert all(each.allocation in ledger for each in calls if each.reason == OK)
    assert not any(each.allocation in ledger for each in calls if each.reason in NOTHING_WAS_CHANGED)
    assert ledger.keys() <= {each.allocation for each in calls}


def check_answers(calls: Sequence[Ended]) -> None:
    """Each ended by its deadline, with an answer or with what tells its caller what to do.

    By as much as those who call were late themselves, at worst, they may see an answer late, too.
    """
    assert {each.reason for each in calls} <= {OK, *NOTHING_WAS_CHANGED, *OPEN}
    assert all(each.has_retry_info for each in calls if each.reason in NOTHING_WAS_CHANGED)
    own_lag = max(each.sent - each.due for each in calls)
    assert max(each.ended - each.deadline for each in calls) < LATE_SECONDS_MAX + own_lag


def check_was_offered(calls: Sequence[Ended]) -> None:
    """The calls were sent when they were due: otherwise it was not the service that was tried."""
    lag = quantile((each.sent - each.due for each in calls), 0.99)
    assert lag < LAG_SECONDS_MAX, f"those who call were late, by {lag:.2f} s"


def quantile(values: Iterable[float], share: float) -> float:
    """0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
