"""Processes that are told to stop while the standby is gone: no commit ends, and they do all the same."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import grpc
import pytest

from earmark import EarmarkError
from earmark.messages import MessageClient
from services.admin import embedded
from services.ledger.store.database import Connection
from services.ledger.store.migrate import migrate
from tests.support.books import comes_true
from tests.support.cluster import Cluster, cluster
from tests.support.processes import EXPIRY, NO_REDIS, ended, environment, running_allocator

SHUTDOWN_SECONDS: Final = 1.0
STOPS_WITHIN_SECONDS: Final = 2 * SHUTDOWN_SECONDS + 3.0
"""Twice that, as is documented, and a little more: for the notices, for the connections, and for a slow machine."""
DEADLINE_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 30.0
WAIT_FOR_THE_STANDBY: Final = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
EXPIRIES: Final = "SELECT count(*) FROM entry WHERE kind = 'SUBSCRIPTION_EXPIRED'"
UPDATES: Final = "SELECT count(*) FROM entry WHERE kind = 'ORGANIZATION_UPDATED'"


@pytest.fixture
def pair() -> Iterator[Cluster]:
    with cluster() as pair:
        yield pair


@pytest.fixture
async def primary(pair: Cluster) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(pair.primary.url)
    await migrate(connection)
    yield connection
    await connection.close()


async def failure_of(call: "asyncio.Task[object]") -> EarmarkError:
    with pytest.raises(EarmarkError) as caught:
        await call
    return caught.value


async def commit_waits(connection: Connection) -> None:
    """Returns once one waits for the standby."""

    async def waits() -> bool:
        return bool(await connection.fetchval(WAIT_FOR_THE_STANDBY))

    await comes_true(waits)


async def test_it_stops_in_time_and_its_callers_know_that_they_do_not_know(pair: Cluster, primary: Connection) -> None:
    settings = {"shutdown_seconds": str(SHUTDOWN_SECONDS)}
    with running_allocator(pair.primary.url, log_level="ERROR", **settings) as (process, address):
        async with MessageClient(address, timeout_seconds=PATIENCE_SECONDS) as patient:
            hasty = patient.using(timeout_seconds=DEADLINE_SECONDS)
            await patient.create_organization("hasty")
            await patient.create_organization("patient")
            await asyncio.to_thread(pair.lose_standby)
            calls = [
                asyncio.create_task(each.update_organization(name, display_name="new", request_id="r-1"))
                for each, name in ((hasty, "hasty"), (patient, "patient"))
            ]
            await commit_waits(primary)
            process.terminate()
            async with asyncio.timeout(STOPS_WITHIN_SECONDS):
                assert await ended(process) == 0
            told = await failure_of(calls[0])
            cut_off = await failure_of(calls[1])
    assert told.reason == "OUTCOME_UNKNOWN"
    assert (cut_off.code, cut_off.reason) in [(grpc.StatusCode.CANCELLED, ""), (grpc.StatusCode.UNAVAILABLE, "")]
    assert cut_off.is_outcome_open
    assert await primary.fetchval(UPDATES) == 0  # The commits are still waiting: nobody cancelled them.
    await the_same_calls_find_out(pair, primary)


async def the_same_calls_find_out(pair: Cluster, primary: Connection) -> None:
    """From another process, once the standby is back: each was carried out once."""
    await asyncio.to_thread(pair.start_standby)
    with running_allocator(pair.primary.url) as (_, address):
        async with MessageClient(address) as client:
            for each in ("hasty", "patient"):
                answer = await client.update_organization(each, display_name="new", request_id="r-1")
                assert answer.balance.revision == 2
    assert await primary.fetchval(UPDATES) == 2


async def test_a_worker_stops_in_time_and_the_commit_that_hangs_is_not_cancelled(
    pair: Cluster, primary: Connection
) -> None:
    settings = environment(
        database_url=pair.primary.url,
        redis_url=NO_REDIS,
        shutdown_seconds=str(SHUTDOWN_SECONDS),
        log_level="ERROR",
    )
    with (
        running_allocator(pair.primary.url) as (_, address),
        embedded.child([sys.executable, "-m", EXPIRY], env=settings) as worker,
    ):
        await comes_true(lambda: is_connected(primary, "earmark-expiry"))
        async with MessageClient(address) as client:
            await client.create_organization("ends")
            end = datetime.now(UTC) + timedelta(seconds=1.5)
            await client.create_subscription("ends", credits=10, end_time=end, grace_period=timedelta())
        await asyncio.to_thread(pair.lose_standby)
        await commit_waits(primary)
        worker.terminate()
        async with asyncio.timeout(STOPS_WITHIN_SECONDS):
            assert await ended(worker) == 0
    assert await primary.fetchval(EXPIRIES) == 0
    await asyncio.to_thread(pair.start_standby)
    await comes_true(lambda: is_settled(primary))


async def is_connected(connection: Connection, name: str) -> bool:
    return bool(await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", name))


async def is_settled(connection: Connection) -> bool:
    return bool(await connection.fetchval(EXPIRIES) == 1)
