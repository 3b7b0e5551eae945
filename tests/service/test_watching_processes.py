"""Watches of real allocator processes: one is killed or told to stop, or somebody reads nothing for a long time."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2

from earmark.messages import MessageClient
from earmark.v1.usage_service_pb2 import WatchUsageResponse
from services.ledger.store.database import Connection
from tests.support.monitored import monitored_process, serving_at, until
from tests.support.processes import ALLOCATOR, NO_REDIS, ended, running_allocator
from tests.support.service_stories import waits_for_the_lock
from tests.support.watching import (
    allocating,
    check_folds,
    check_gapless,
    end_of,
    make_watched,
    multiply,
    own_channel,
    raw_balances_watch,
    raw_watch,
    read_up_to,
    watching,
    write,
    write_much,
    written_to,
)

STOP_SECONDS = 2.5
"""A process that has nothing but watches to end stops within this, however long it may wait for calls."""
MIB = 2**20
ENTRIES_AT_ONCE = 1_000
VOLUME_BYTES = 100 * MIB
GROWTH_BYTES_MAX = 48 * MIB
ENTRIES_AT_A_TIME = 26_000
LONG_ID = "o" * 128

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
async def writer(database: str, sound: None) -> AsyncIterator[MessageClient]:
    """By way of an allocator of its own, which tells the watched one nothing."""
    async with allocating(database) as server, MessageClient(server.address, timeout_seconds=60) as client:
        await make_watched(client, "o-1")
        yield client


async def test_a_killed_process_under_load(database: str, writer: MessageClient) -> None:
    """Each of many goes on at the other process from where it was: nothing twice, nothing left out."""
    async with AsyncExitStack() as stack:
        process, address = stack.enter_context(running_allocator(database))
        _, other_address = stack.enter_context(running_allocator(database))
        other = await stack.enter_async_context(MessageClient(other_address))
        watches = [await stack.enter_async_context(watching(address)) for _ in range(10)]
        async with written_to(writer), written_to(other):
            for each in watches:
                await each.brings(lambda: len(each.entries) >= 10)  # noqa: B023 - it is asked before the next one
            process.kill()
            for each in watches:
                error = await each.ends()
                assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "")
            resumed = [
                await stack.enter_async_context(watching(other_address, resume_token=each.token)) for each in watches
            ]
        last = await write(writer, 1)
        for before, after in zip(watches, resumed, strict=True):
            await after.reaches(last)
            check_folds(before)
            check_gapless(after, after=before.revisions[-1], up_to=last)


async def test_a_process_that_is_told_to_stop_under_load(database: str, writer: MessageClient) -> None:
    """Watches end at once, after the last whole message, and say why; the process ends without waiting for them."""
    async with AsyncExitStack() as stack:
        process, address = stack.enter_context(running_allocator(database, shutdown_seconds="60"))
        channel = await stack.enter_async_context(own_channel(address))
        watches = [await stack.enter_async_context(watching(channel)) for _ in range(10)]
        balances = raw_balances_watch(channel)
        async with written_to(writer):
            for each in watches:
                await each.brings(lambda: len(each.entries) >= 10)  # noqa: B023 - it is asked before the next one
            process.terminate()
            async with asyncio.timeout(STOP_SECONDS):
                errors = [*[await each.ends() for each in watches], await end_of(balances)]
                assert await ended(process) == 0
        for error in errors:
            assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
            assert error_details_pb2.RetryInfo in map(type, error.details)
        last = await write(writer, 1)
        for each in watches:
            check_folds(each)
            async with allocating(database) as other, watching(other.address, resume_token=each.token) as resumed:
                await resumed.reaches(last)
                check_gapless(resumed, after=each.revisions[-1], up_to=last)


async def test_stopping_beside_a_reader_that_reads_nothing(
    database: str, writer: MessageClient, connection: Connection
) -> None:
    """Its message is stuck, and with it its end: it is cut off, and calls under way finish all the same."""
    async with AsyncExitStack() as stack:
        process, address = stack.enter_context(running_allocator(database, shutdown_seconds="60"))
        channel = await stack.enter_async_context(own_channel(address))
        stuck = raw_watch(channel)
        assert isinstance(await stuck.read(), WatchUsageResponse)
        await write_much(writer, ENTRIES_AT_ONCE)
        last = await write_much(writer, ENTRIES_AT_ONCE)
        async with watching(address, after_revision=1) as reader, MessageClient(address) as client:
            await reader.reaches(last)
            async with connection.transaction():
                await connection.execute("SELECT FROM organization WHERE organization = 'o-1' FOR UPDATE")
                call = asyncio.create_task(client.update_organization("o-1", display_name="last"))
                await waits_for_the_lock(connection)
                process.terminate()
                assert (await reader.ends()).reason == "SHUTTING_DOWN"
                assert not call.done()
            assert (await call).organization.display_name == "last"
            async with asyncio.timeout(STOP_SECONDS):
                assert await ended(process) == 0
        error = await end_of(stuck)
        assert error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@needs_linux
async def test_a_reader_that_stops_reading(database: str, connection: Connection) -> None:
    """More than a hundred MiB wait for it, in Postgres and not in the process; then it gets everything."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(allocating(database))
        writer = await stack.enter_async_context(MessageClient(server.address, timeout_seconds=60))
        await make_watched(writer, LONG_ID)
        process = stack.enter_context(monitored_process(ALLOCATOR, database_url=database, redis_url=NO_REDIS))
        channel = await stack.enter_async_context(own_channel(await asyncio.to_thread(serving_at, process)))
        watch = raw_watch(channel, LONG_ID)
        assert isinstance(await watch.read(), WatchUsageResponse)
        memory = [memory_bytes(process.child.pid)]

        def remember() -> None:
            memory.append(memory_bytes(process.child.pid))

        def almost_all_was_read() -> bool:
            remember()
            return process.value("earmark_watch_lag_revisions") > 0.9 * ENTRIES_AT_A_TIME

        await write_much(writer, ENTRIES_AT_ONCE, LONG_ID)
        await writer.update_organization(LONG_ID, display_name="\N{CYCLONE}" * 256)
        last = await multiply(connection, ENTRIES_AT_A_TIME, LONG_ID)
        await until(almost_all_was_read)
        assert await read_up_to(watch, 1, last, remember) > VOLUME_BYTES
        assert max(memory) - memory[0] < GROWTH_BYTES_MAX


def memory_bytes(pid: int) -> int:
    """What the process has in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
