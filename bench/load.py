"""Generating load, as cheaply as gRPC for Python can: bytes in, bytes out, answers counted by their status.

A closed loop, so many calls at a time, finds the capacity. An open loop, so many a second whatever becomes of them,
finds the latency: each is measured from the instant at which it was to be sent, so a server that stalls is seen to.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from time import monotonic
from typing import Any, Final, TypeAlias

from grpc import aio

from bench.jobs import CHANNEL_OPTIONS, Answers, Load
from bench.requests import METHODS, requests

OK: Final = "OK"
ARRIVALS_AT_ONCE_MAX: Final = 16
"""Then those that are answered have their turn, however late the next arrivals are."""
CONNECT_SECONDS: Final = 10.0

Word: TypeAlias = Callable[[], Awaitable[None]]
"""Says that all is prepared, and returns when the word is given."""


class Tally:
    """Counts what becomes of calls."""

    def __init__(self, begin: float, end: float) -> None:
        self._begin = begin
        self._end = end
        self.finished = 0
        self.codes: Counter[str] = Counter()
        self.latencies_ms: list[float] = []
        self.first_error = ""

    def ok(self, since: float) -> None:
        now = monotonic()
        self.codes[OK] += 1
        if self._begin <= now < self._end:
            self.finished += 1
        if since >= self._begin:
            self.latencies_ms.append(round((now - since) * 1000, 3))

    def failed(self, error: aio.AioRpcError) -> None:
        code = error.code().name
        self.codes[code] += 1
        self.first_error = self.first_error or f"{code}: {error.details()}"


async def load(job: Load, word: Word) -> Answers:
    async with calls_of(job.address, METHODS[job.call], job.channels) as calls:
        prepared = requests(job)
        await word()
        begin = monotonic() + job.warm_up_seconds
        tally = Tally(begin, begin + job.seconds)
        run = _closed if job.in_flight else _open
        await run(job, calls, prepared, tally, begin + job.seconds)
    return Answers(tally.finished, job.seconds, dict(tally.codes), tally.latencies_ms, tally.first_error)


@asynccontextmanager
async def calls_of(address: str, method: str, channels: int) -> AsyncIterator[list[Any]]:
    """The method over as many connections, each of which is up."""
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(aio.insecure_channel(address, options=CHANNEL_OPTIONS))
            for _ in range(channels)
        ]
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.gather(*(channel.channel_ready() for channel in opened))
        yield [channel.unary_unary(method) for channel in opened]


async def _closed(job: Load, calls: list[Any], prepared: Iterator[bytes], tally: Tally, end: float) -> None:
    async def caller(call: Any) -> None:
        # A call may take longer than all of it: at least one is measured.
        while (sent := monotonic()) < end or not (tally.latencies_ms or tally.first_error):
            await _send(call, next(prepared), job.timeout_seconds, tally, sent)

    callers = cycle(calls)
    async with asyncio.TaskGroup() as group:
        for _ in range(job.in_flight):
            group.create_task(caller(next(callers)))


async def _open(job: Load, calls: list[Any], prepared: Iterator[bytes], tally: Tally, end: float) -> None:
    first, callers, number = monotonic(), cycle(calls), 0
    async with asyncio.TaskGroup() as group:
        while (due := first + number / job.rate) < end:
            wait = due - monotonic()
            if wait > 0 or number % ARRIVALS_AT_ONCE_MAX == 0:
                await asyncio.sleep(max(0.0, wait))
            group.create_task(_send(next(callers), next(prepared), job.timeout_seconds, tally, due))
            number += 1


async def _send(call: Any, request: bytes, timeout_seconds: float, tally: Tally, since: float) -> None:
    try:
        await call(request, timeout=timeout_seconds)
    except aio.AioRpcError as error:
        tally.failed(error)
    else:
        tally.ok(since)
