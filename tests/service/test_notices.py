"""Notices between processes: what a plain Redis client hears of real allocators and workers."""

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import json_format

from earmark import EarmarkError
from earmark.messages import MessageClient
from earmark.v1 import notice_pb2
from services.admin import embedded
from services.ledger.store.database import Connection
from tests.support.bare_redis import BareRedis, bare_redis, subscribed
from tests.support.books import comes_true
from tests.support.processes import EXPIRY, NO_REDIS, ended, environment, running_allocator
from tests.support.service_stories import kinds

MUTE = "tests.support.mute_allocator"
PROMISED_SECONDS = 2.0
"""A notice is late by no more, whatever died."""


@pytest.fixture
async def ear(redis: embedded.Server, notice_prefix: str) -> AsyncIterator[BareRedis]:
    async with subscribed(redis, notice_prefix + "o-1") as client:
        yield client


WITHOUT_SECOND_LOOK = """
from services.expiry import republish
from services.expiry.__main__ import main
republish.LOOK_SECONDS = (1000.0, 1000.0)
main()
"""


@contextmanager
def running_worker(database: str, redis_url: str, prefix: str, program: str = "") -> Iterator[embedded.Child]:
    env = environment(database_url=database, redis_url=redis_url, notice_prefix=prefix, log_level="ERROR")
    with embedded.child([sys.executable, *(("-c", program) if program else ("-m", EXPIRY))], env=env) as child:
        yield child


async def somebody_listens(redis: embedded.Server, prefix: str) -> None:
    """Returns when a process hears the notices of all organizations."""
    async with bare_redis(redis) as client:

        async def reaches_somebody() -> bool:
            receivers: int = await client.ask("PUBLISH", prefix + "nobody", "")
            return receivers > 0

        await comes_true(reaches_somebody)


async def test_a_call_to_a_process_is_heard_by_a_plain_client(
    database: str, redis: embedded.Server, notice_prefix: str, ear: BareRedis
) -> None:
    with running_allocator(database, redis_url=redis.url, notice_prefix=notice_prefix) as (process, address):
        async with MessageClient(address) as client:
            answer = await client.create_organization("o-1", display_name="Acme")
            channel, heard = await ear.hears()
            assert channel == notice_prefix + "o-1"
            assert json_format.ParseDict(heard, notice_pb2.Notice()) == notice_pb2.Notice(
                organization="organizations/o-1", revision=1, balance=answer.organization.balance
            )
        process.terminate()
        assert await ended(process) == 0


async def test_a_process_killed_between_commit_and_notice(
    database: str, redis: embedded.Server, notice_prefix: str, ear: BareRedis, connection: Connection
) -> None:
    """The worker has heard no notice of what it finds committed, and publishes it."""
    with (
        running_worker(database, redis.url, notice_prefix),
        running_allocator(database, module=MUTE, redis_url=redis.url, notice_prefix=notice_prefix) as (
            process,
            address,
        ),
    ):
        await somebody_listens(redis, notice_prefix)
        async with MessageClient(address) as client:
            with pytest.raises(EarmarkError):
                await client.create_organization("o-1")
        died = time.monotonic()
        assert await ended(process) == -signal.SIGKILL
        assert await kinds(connection, "o-1") == ["ORGANIZATION_CREATED"]
        _, heard = await ear.hears()
        assert time.monotonic() - died < PROMISED_SECONDS
        assert heard["revision"] == heard["balance"]["revision"] == "1"


async def test_what_the_worker_settles_is_heard(
    database: str, redis: embedded.Server, notice_prefix: str, ear: BareRedis, client: MessageClient
) -> None:
    """The calls go to an allocator that tells nobody, and this worker never gets to publish what it did not hear."""
    await client.create_organization("o-1")
    with running_worker(database, redis.url, notice_prefix, WITHOUT_SECOND_LOOK) as worker:
        end = datetime.now(UTC) + timedelta(seconds=2)
        await client.create_subscription("o-1", credits=5, end_time=end, grace_period=timedelta())
        await ear.hears_until(3)
        worker.terminate()
        assert await ended(worker) == 0


async def test_without_redis_everything_works(database: str, notice_prefix: str, connection: Connection) -> None:
    settings = {"redis_url": NO_REDIS, "notice_prefix": notice_prefix}
    with running_worker(database, NO_REDIS, notice_prefix) as worker:
        with running_allocator(database, **settings) as (process, address):
            async with MessageClient(address) as client:
                await client.create_organization("o-1")
                end = datetime.now(UTC) + timedelta(seconds=1)
                await client.create_subscription("o-1", credits=5, end_time=end, grace_period=timedelta())

            async def settled() -> bool:
                return (await kinds(connection, "o-1"))[-1] == "SUBSCRIPTION_EXPIRED"

            await comes_true(settled)
            process.terminate()
            assert await ended(process) == 0
        worker.terminate()
        assert await ended(worker) == 0


async def test_a_redis_that_is_paused_slows_no_call_down_and_catches_up(database: str, notice_prefix: str) -> None:
    calls = 50
    with (
        embedded.redis() as own,
        running_allocator(database, redis_url=own.url, notice_prefix=notice_prefix) as (_, address),
    ):
        async with MessageClient(address) as client, subscribed(own, notice_prefix + "o-1") as ear:
            await client.create_organization("o-1")
            await ear.hears_until(1)
            os.kill(own.pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                for each in range(calls):
                    await client.update_organization("o-1", overdraft_limit=each + 1)
                assert time.monotonic() - began < calls * 0.1
            finally:
                os.kill(own.pid, signal.SIGCONT)
            await ear.hears_until(1 + calls, PROMISED_SECONDS)
