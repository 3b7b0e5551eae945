"""Listening: many watches of one organization, or one subscriber of its notices, and when each revision was in hand."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from time import monotonic
from typing import Any, Final

from grpc import aio

from bench.jobs import CHANNEL_OPTIONS, Heard, Subscribe, Watch
from bench.requests import USAGE
from earmark.v1 import usage_service_pb2 as usage
from services.notices.listener import Listener

RESUME_TOKEN: Final = re.compile(rb"([0-9]+):[0-9a-f]{64}\Z")
"""What every message of a watch ends with; it begins with the newest revision that the message brings."""
RESUME_TOKEN_BYTES_MAX: Final = 84
READY_SECONDS: Final = 20.0


async def watch(job: Watch, word: Callable[[], Awaitable[None]]) -> Heard:
    """Nothing else of a message is decoded: a hundred watchers in one process would be slower than what they watch."""
    request = usage.WatchUsageRequest(name=f"organizations/{job.organization}").SerializeToString()
    heard: list[list[tuple[int, float]]] = [[] for _ in range(job.watchers)]
    async with AsyncExitStack() as stack:
        channels: list[Any] = [
            await stack.enter_async_context(aio.insecure_channel(job.address, options=CHANNEL_OPTIONS))
            for _ in range(min(job.channels, job.watchers))
        ]
        streams: list[Any] = [
            channels[number % len(channels)].unary_stream(f"{USAGE}/WatchUsage")(request)
            for number in range(job.watchers)
        ]
        async with asyncio.timeout(READY_SECONDS):
            await asyncio.gather(*(stream.read() for stream in streams))  # Their snapshots.
        following = [asyncio.create_task(_follow(*each)) for each in zip(streams, heard, strict=True)]
        await word()
        await _stop(following)
    return Heard(heard)


async def subscribe(job: Subscribe, word: Callable[[], Awaitable[None]]) -> Heard:
    """With the listener that the allocator itself uses."""
    heard: list[tuple[int, float]] = []

    def hear(organization: str, revision: int) -> None:
        if organization == job.organization:
            heard.append((revision, monotonic()))

    listener = Listener(job.redis_url, job.prefix, hear)
    listening = asyncio.create_task(listener.run())
    async with asyncio.timeout(READY_SECONDS):
        await listener.connected.wait()
    await word()
    await _stop([listening])
    return Heard([heard])


async def _follow(stream: Any, heard: list[tuple[int, float]]) -> None:
    while (message := await stream.read()) is not aio.EOF:
        now = monotonic()
        found = RESUME_TOKEN.search(message[-RESUME_TOKEN_BYTES_MAX:])
        assert found is not None, "a message of a watch ends with its resume token"
        heard.append((int(found[1]), now))


async def _stop(tasks: "list[asyncio.Task[Any]]") -> None:
    """What failed before is raised."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
