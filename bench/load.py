"""Generating load, as cheaply as gRPC for Python can: bytes in, bytes out, answers counted by their status.

A closed loop, so many calls at a time, finds the capacity. An open loop, so many a second whatever becomes of them,
finds the latency: each is measured from the instant at which it was to be sent, so a server that stalls is seen to.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from time import monotonic
from typing import Any, Final, TypeAlias

from grpc import aio

from bench.jobs import CHANNEL_OPTIONS, PROCESS, Answers, Load
from bench.requests import METHODS, requests

OK: Final = "OK"
ARRIVALS_AT_ONCE_MAX: Final = 16
"""Then those that are answered have their turn, however late the next arrivals are."""
CONNECT_SECONDS: Final = 10.0
CHANNELS_MAX: Final = 100
"""Opened in search of enough for each process; far more than it takes where the kernel gives each its share."""

Word: TypeAlias = Callable[[], Awaitable[None]]
"""Says that all is prepared, and returns when the word is given."""


@dataclass(frozen=True, slots=True)
class Way:
    """A method over one connection, and which process is at its other end."""

    call: Any
    process: str


class Tally:
    """Counts what becomes of calls."""

    def __init__(self, begin: float, end: float) -> None:
        self._begin = begin
        self._end = end
        self.finished = 0
        self.codes: Counter[str] = Counter()
        self.latencies_ms: list[float] = []
        self.by_process: Counter[str] = Counter()
        self.first_error = ""

    def ok(self, since: float, process: str) -> None:
        now = monotonic()
        self.codes[OK] += 1
        self.by_process[process] += 1
        if self._begin <= now < self._end:
            self.finished += 1
        if since >= self._begin:
            self.latencies_ms.append(round((now - since) * 1000, 3))

    def failed(self, code: str, why: str | None) -> None:
        self.codes[code] += 1
        self.first_error = self.first_error or f"{code}: {why}"

    def answers(self, seconds: float) -> Answers:
        """The report of so long a time."""
        return Answers(
            self.finished, seconds, dict(self.codes), self.latencies_ms, self.first_error, dict(self.by_process)
        )


async def load(job: Load, word: Word) -> Answers:
    async with ways_of(job) as ways:
        prepared = requests(job)
        await word()
        begin = monotonic() + job.warm_up_seconds
        tally = Tally(begin, begin + job.seconds)
        run = _closed if job.in_flight else _open
        await run(job, ways, prepared, tally, begin + job.seconds)
    return tally.answers(job.seconds)


@asynccontextmanager
async def calls_of(address: str, method: str, channels: int) -> AsyncIterator[list[Any]]:
    """The method over as many connections, each of which is up."""
    async with AsyncExitStack() as stack:
        yield [(await _connect(stack, address)).unary_unary(method) for _ in range(channels)]


@asynccontextmanager
async def ways_of(job: Load) -> AsyncIterator[list[Way]]:
    """As many as the job has channels, to each process of the server equally many, the processes by turns.

    The kernel chooses a process for each new connection: where it chose one too often, that connection is left idle.
    Raises RuntimeError if it does not come to choose every process often enough.
    """
    of_each = job.channels // job.processes
    found: dict[str, list[Way]] = {}
    async with AsyncExitStack() as stack:
        for _ in range(CHANNELS_MAX):
            channel = await _connect(stack, job.address)
            ask: Any = channel.unary_unary(PROCESS)
            process = (await ask(b"")).decode()
            ways = found.setdefault(process, [])
            if len(ways) < of_each:
                ways.append(Way(channel.unary_unary(METHODS[job.call]), process))
            if sum(map(len, found.values())) == of_each * job.processes:
                break
        else:
            raise RuntimeError(f"of {CHANNELS_MAX} connections too few reached some of {job.processes} processes")
        yield [way for by_turns in zip(*found.values(), strict=True) for way in by_turns]


async def _connect(stack: AsyncExitStack, address: str) -> aio.Channel:
    channel: aio.Channel = await stack.enter_async_context(aio.insecure_channel(address, options=CHANNEL_OPTIONS))
    async with asyncio.timeout(CONNECT_SECONDS):
        await channel.channel_ready()
    return channel


async def _closed(job: Load, ways: list[Way], prepared: Iterator[bytes], tally: Tally, end: float) -> None:
    async def caller(way: Way) -> None:
        # A call may take longer than all of it: at least one is measured.
        while (sent := monotonic()) < end or not (tally.latencies_ms or tally.first_error):
            await _send(way, next(prepared), job.timeout_seconds, tally, sent)

    by_turns = cycle(ways)
    async with asyncio.TaskGroup() as group:
        for _ in range(job.in_flight):
            group.create_task(caller(next(by_turns)))


async def _open(job: Load, ways: list[Way], prepared: Iterator[bytes], tally: Tally, end: float) -> None:
    first, by_turns, number = monotonic(), cycle(ways), 0
    async with asyncio.TaskGroup() as group:
        while (due := first + number / job.rate) < end:
            wait = due - monotonic()
            if wait > 0 or number % ARRIVALS_AT_ONCE_MAX == 0:
                await asyncio.sleep(max(0.0, wait))
            group.create_task(_send(next(by_turns), next(prepared), job.timeout_seconds, tally, due))
            number += 1


async def _send(way: Way, request: bytes, timeout_seconds: float, tally: Tally, since: float) -> None:
    try:
        await way.call(request, timeout=timeout_seconds)
    except aio.AioRpcError as error:
        tally.failed(error.code().name, error.details())
    else:
        tally.ok(since, way.process)
