"""Watches and Redis: notices make them quick, and whatever becomes of these, each revision comes once and in time.

The writer's allocator is another process than the watched one, so that only notices or looking can tell of a commit.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from earmark.messages import MessageClient
from services.admin import embedded
from tests.support.bare_redis import bare_redis
from tests.support.lying_redis import LIES, lying_redis
from tests.support.processes import running_allocator
from tests.support.watching import (
    PROMISED_SECONDS,
    Watching,
    check_folds,
    make_watched,
    watching,
    write,
)

OUTAGE_SECONDS = 2.2
"""Longer than a revision may be late."""
QUICK_SECONDS = 0.25
"""Less than the time between two looks: so late is nobody whom a notice has reached."""
FLOODS, FLOOD_SECONDS = 60, 0.02
FLOOD = "for number = 1, 50 do redis.call('PUBLISH', KEYS[1], ARGV[1]) end"
"""Fifty notices in one command of Redis: 2,500 a second."""


@dataclass
class Writer:
    """Writes through one allocator, and knows when each answer came."""

    client: MessageClient
    answered: dict[int, float] = field(default_factory=dict)

    async def write(self, count: int = 1) -> int:
        revision = 0
        for _ in range(count):
            revision = await write(self.client, 1)
            self.answered[revision] = time.monotonic()
        return revision

    async def write_for(self, seconds: float) -> int:
        end = time.monotonic() + seconds
        revision = 0
        while time.monotonic() < end:
            revision = await self.write()
            await asyncio.sleep(0.01)
        return revision

    def lateness(self, watch: Watching) -> list[float]:
        """Of each revision that was written here: from its answer to its arrival, in seconds."""
        return [watch.arrived[revision] - answered for revision, answered in self.answered.items()]


@asynccontextmanager
async def two_allocators(database: str, redis_url: str, prefix: str) -> AsyncIterator[tuple[Writer, Watching]]:
    """One is written through, the other one is watched."""
    with (
        running_allocator(database, redis_url=redis_url, notice_prefix=prefix) as (_, written),
        running_allocator(database, redis_url=redis_url, notice_prefix=prefix) as (_, watched),
    ):
        async with MessageClient(written) as client:
            await make_watched(client)
            async with watching(watched) as watch:
                await watch.begins()
                yield Writer(client), watch


async def test_notices_make_watches_quick(
    database: str, redis: embedded.Server, notice_prefix: str, sound: None
) -> None:
    async with two_allocators(database, redis.url, notice_prefix) as (writer, watch):
        async with asyncio.timeout(20):  # The listener connects a moment after its process serves.
            while True:
                await watch.reaches(await writer.write())
                if writer.lateness(watch)[-1] < 0.05:
                    break
        writer.answered.clear()
        for _ in range(20):
            await watch.reaches(await writer.write())
        check_folds(watch)
        assert sorted(writer.lateness(watch))[10] < QUICK_SECONDS / 2


async def test_redis_absent_paused_killed_replaced_and_back(database: str, notice_prefix: str, sound: None) -> None:
    """All in one watch, under load; at first there is none at all."""
    with embedded.redis() as first:
        port, url = first.port, first.url
    async with two_allocators(database, url, notice_prefix) as (writer, watch):
        await watch.reaches(await writer.write_for(1.0), PROMISED_SECONDS)
        with embedded.redis(port=port) as second:
            await writer.write_for(1.0)
            os.kill(second.pid, signal.SIGSTOP)
            await writer.write_for(OUTAGE_SECONDS)
            os.kill(second.pid, signal.SIGCONT)
            await writer.write_for(0.5)
            os.kill(second.pid, signal.SIGKILL)
            await writer.write_for(OUTAGE_SECONDS)
        for name in ("garbage", "yes to everything", "silence"):
            async with lying_redis(LIES[name], port):
                await writer.write_for(0.4)
        with embedded.redis(port=port):
            await watch.reaches(await writer.write_for(1.0), PROMISED_SECONDS)
            check_folds(watch)
            lateness = writer.lateness(watch)
            assert max(lateness) < PROMISED_SECONDS
            assert min(lateness[-10:]) < QUICK_SECONDS, "notices are heard again"


async def test_false_notices(database: str, redis: embedded.Server, notice_prefix: str, sound: None) -> None:
    """Floods of revisions that are not there, always the same, of somebody else, and of what is no notice at all."""
    async with two_allocators(database, redis.url, notice_prefix) as (writer, watch), bare_redis(redis) as liar:
        writing = asyncio.create_task(writer.write_for(FLOODS * FLOOD_SECONDS))
        for number in range(FLOODS):
            channel = notice_prefix + ("o-1" if number % 3 else f"nobody-{number}")
            await liar.ask("EVAL", FLOOD, "1", channel, LYING_PAYLOADS[number % len(LYING_PAYLOADS)])
            await asyncio.sleep(FLOOD_SECONDS)
        await watch.reaches(await writing, PROMISED_SECONDS)
        check_folds(watch)
        assert max(writer.lateness(watch)) < PROMISED_SECONDS


LYING_PAYLOADS = (
    '{"organization": "organizations/o-1", "revision": "9223372036854775807"}',
    '{"organization": "organizations/o-1", "revision": "1"}',
    '{"organization": "organizations/o-2", "revision": "1000000"}',
    '{"revision": "-5"}',
    '{"revision": 7}',
    "[" * 1_000,
    b"\xff\xfe\x00",
    "",
)
