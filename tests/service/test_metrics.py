"""Metrics and probes over HTTP: what the processes count, when they are ready, and what a database away looks like."""

import asyncio
import socket
import time
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from earmark.messages import MessageClient
from earmark.v1.usage_service_pb2 import WatchUsageRequest
from earmark.v1.usage_service_pb2_grpc import UsageServiceStub
from services.allocator.metrics import AllocatorMetrics
from services.ledger.store.database import Connection, Pool
from services.runtime.monitoring import Monitoring, http_server
from tests.conftest import Advance
from tests.support.monitored import Monitored, get, monitored_process, serving_at, until
from tests.support.processes import ALLOCATOR, DEADLINE_SECONDS, EXPIRY, ended, run
from tests.support.proxy import Fate, relayed
from tests.support.service_stories import YEAR, buy, refused, waits_for_the_lock

NOBODY = "redis://127.0.0.1:1/0"
GET = "earmark.v1.OrganizationService/GetOrganization"
CREATE = "earmark.v1.OrganizationService/CreateOrganization"
WATCH = "earmark.v1.UsageService/WatchUsage"
UPDATE = "earmark.v1.OrganizationService/UpdateOrganization"


async def value(process: Monitored, name: str, **labels: str) -> float:
    return await asyncio.to_thread(lambda: process.value(name, **labels))


async def status(process: Monitored, path: str) -> int:
    return (await asyncio.to_thread(process.get, path))[0]


async def stopped(process: Monitored) -> None:
    """To be waited for where a relay of ours is on its way: at the end of the block nothing would be relayed."""
    process.child.terminate()
    assert await ended(process.child) == 0


async def test_what_an_allocator_counts(database: str) -> None:
    with monitored_process(ALLOCATOR, database_url=database, redis_url=NOBODY, database_connections="7") as process:
        async with MessageClient(await asyncio.to_thread(serving_at, process)) as client:
            await client.create_organization("o-1")
            await client.update_organization("o-1", display_name="first")
            await refused(client.get_organization("o-9"), "ORGANIZATION_NOT_FOUND")
            await refused(client.get_organization("_"), "INVALID_FIELD")
        samples = await asyncio.to_thread(process.samples)
        calls = {
            tuple(sorted(labels)): number for (name, labels), number in samples.items() if name == "earmark_calls_total"
        }
        assert calls == {
            (("method", CREATE), ("reason", "OK")): 1,
            (("method", UPDATE), ("reason", "OK")): 1,
            (("method", GET), ("reason", "ORGANIZATION_NOT_FOUND")): 1,
            (("method", GET), ("reason", "INVALID_FIELD")): 1,
        }
        assert await value(process, "earmark_call_seconds_count", method=GET) == 2
        for each in ("lane_wait_seconds", "batch_calls", "commit_seconds"):
            assert await value(process, f"earmark_{each}_count") == 2, each
        assert await value(process, "earmark_lock_wait_seconds_count") == 1  # The update is decided before the lock.
        assert await value(process, "earmark_batch_calls_sum") == 2
        assert await value(process, "earmark_calls_in_flight") == 0
        assert await value(process, "earmark_lane_calls") == 0
        assert await value(process, "earmark_database_up") == 1
        assert await value(process, "earmark_database_connections_max") == 7
        assert await value(process, "process_resident_memory_bytes") > 0
        await until(lambda: process.value("earmark_notice_failures_total") > 0)
        assert await value(process, "earmark_notices_waiting") == 1


async def test_calls_that_wait_are_seen_waiting(database: str, connection: Connection) -> None:
    with monitored_process(ALLOCATOR, database_url=database, redis_url=NOBODY) as process:
        async with MessageClient(await asyncio.to_thread(serving_at, process)) as client:
            await client.create_organization("o-1")
            async with connection.transaction():
                await connection.execute("SELECT FROM organization FOR UPDATE")
                first = asyncio.create_task(client.update_organization("o-1", display_name="first"))
                await waits_for_the_lock(connection)
                others = [asyncio.create_task(client.update_organization("o-1", display_name=each)) for each in "abc"]
                await until(lambda: process.value("earmark_lane_calls") == 4)
                assert await value(process, "earmark_lane_calls_deepest") == 3
                assert await value(process, "earmark_calls_in_flight") == 4
            await asyncio.gather(first, *others)
        assert await value(process, "earmark_lane_calls") == 0
        assert await value(process, "earmark_batch_calls_bucket", le="2.0") == 2
        assert await value(process, "earmark_batch_calls_bucket", le="4.0") == 3
        assert await value(process, "earmark_batch_calls_sum") == 5


async def test_watches_are_seen_and_counted_as_they_end(database: str) -> None:
    with monitored_process(ALLOCATOR, database_url=database, redis_url=NOBODY) as process:
        address = await asyncio.to_thread(serving_at, process)
        async with MessageClient(address) as client, grpc.aio.insecure_channel(address) as channel:
            await client.create_organization("o-1")
            watch = UsageServiceStub(channel).WatchUsage(WatchUsageRequest(name="organizations/o-1"))
            await watch.read()
            assert await value(process, "earmark_watchers") == 1
            assert await value(process, "earmark_streams_open", method=WATCH) == 1
            watch.cancel()
            await until(lambda: process.value("earmark_calls_total", method=WATCH, reason="CANCELLED") == 1)
            assert await value(process, "earmark_streams_open", method=WATCH) == 0
            await until(lambda: process.value("earmark_watchers") == 0)


async def test_a_database_that_is_away_shows_in_the_metrics_and_not_in_readiness(database: str) -> None:
    async with relayed(database) as proxy:
        with monitored_process(ALLOCATOR, database_url=proxy.url, redis_url=NOBODY) as process:
            async with MessageClient(await asyncio.to_thread(serving_at, process)) as client:
                await client.create_organization("o-1")
                proxy.shut()
                error = await refused(client.get_organization("o-1"), "DATABASE_UNAVAILABLE")
                assert error.code is grpc.StatusCode.UNAVAILABLE
                assert isinstance(error.details[1], error_details_pb2.RetryInfo)
                assert [await status(process, path) for path in ("/readyz", "/livez")] == [200, 200]
                assert await value(process, "earmark_database_up") == 0
                assert await value(process, "earmark_database_failures_total") == 1
                assert await value(process, "earmark_calls_total", method=GET, reason="DATABASE_UNAVAILABLE") == 1

                await proxy.open()
                await client.get_organization("o-1")
                assert await value(process, "earmark_database_up") == 1
            await stopped(process)


async def test_a_commit_that_is_lost_is_counted(database: str) -> None:
    async with relayed(database) as proxy:
        with monitored_process(ALLOCATOR, database_url=proxy.url, redis_url=NOBODY) as process:
            async with MessageClient(await asyncio.to_thread(serving_at, process)) as client:
                lost = proxy.at("COMMIT", Fate.CUT_AFTER, for_good=True)
                call = asyncio.create_task(client.create_organization("o-1"))
                await lost.sprung.wait()
                await until(lambda: process.value("earmark_commits_unconfirmed") == 1)
                assert await value(process, "earmark_commits_lost_total") == 1
                await proxy.open()
                await call
                assert await value(process, "earmark_commits_unconfirmed") == 0
            await stopped(process)


async def test_an_allocator_is_ready_from_serving_to_stopping(database: str, connection: Connection) -> None:
    async with relayed(database) as proxy:
        held = proxy.at("SELECT", Fate.HOLD_BEFORE)
        with monitored_process(ALLOCATOR, database_url=proxy.url, redis_url=NOBODY) as process:
            await held.sprung.wait()
            assert [await status(process, path) for path in ("/readyz", "/livez")] == [503, 200]
            held.release()
            address = await asyncio.to_thread(serving_at, process)
            assert [await status(process, path) for path in ("/readyz", "/livez")] == [200, 200]
            async with MessageClient(address) as client, grpc.aio.insecure_channel(address) as channel:
                await client.create_organization("o-1")
                health: Any = health_pb2_grpc.HealthStub(channel)
                watch = health.Watch(health_pb2.HealthCheckRequest())
                await watch.read()
                async with connection.transaction():
                    await connection.execute("SELECT FROM organization FOR UPDATE")
                    under_way = asyncio.create_task(client.update_organization("o-1", display_name="last"))
                    await waits_for_the_lock(connection)
                    process.child.terminate()
                    await watch.read()
                    assert [await status(process, path) for path in ("/readyz", "/livez")] == [503, 200]
                await under_way
            assert await ended(process.child) == 0


async def test_a_worker_is_ready_once_it_has_a_schema(database: str) -> None:
    async with relayed(database) as proxy:
        held = proxy.at("SELECT", Fate.HOLD_BEFORE)
        with monitored_process(EXPIRY, database_url=proxy.url, redis_url=NOBODY) as process:
            await held.sprung.wait()
            assert [await status(process, path) for path in ("/readyz", "/livez")] == [503, 200]
            held.release()
            await until(lambda: process.get("/readyz") == (200, "ready\n"))
            proxy.shut()
            await until(lambda: process.value("earmark_database_up") == 0)
            await until(lambda: process.value("earmark_sweep_failures_total") > 0)
            assert [await status(process, path) for path in ("/readyz", "/livez")] == [200, 200]
            await proxy.open()
            await until(lambda: process.value("earmark_database_up") == 1)
            await stopped(process)


async def test_how_late_a_worker_is(
    database: str, client: MessageClient, organization: str, pool: Pool, advance: Advance
) -> None:
    await buy(client, organization, 10)
    await advance(2 * YEAR)
    async with pool.acquire() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM organization FOR UPDATE")
        with monitored_process(EXPIRY, database_url=database, redis_url=NOBODY) as process:
            await until(lambda: process.value("earmark_oldest_due_seconds") >= YEAR.total_seconds())
            assert await value(process, "earmark_settled_organizations_total") == 0
            await transaction.rollback()
            await until(lambda: process.value("earmark_settled_organizations_total") == 1)
            assert await value(process, "earmark_settled_entries_total") >= 2
            await until(lambda: process.value("earmark_oldest_due_seconds") == 0)
            assert await value(process, "earmark_sweeps_total") > 0
            assert await value(process, "earmark_notice_listener_connected") == 0


async def test_an_organization_that_cannot_be_settled_rests(
    database: str, client: MessageClient, organization: str, connection: Connection, advance: Advance
) -> None:
    await buy(client, organization, 10)
    await connection.execute("ALTER TABLE entry ADD CONSTRAINT none CHECK (false) NOT VALID")
    await advance(2 * YEAR)
    with monitored_process(EXPIRY, database_url=database, redis_url=NOBODY) as process:
        await until(lambda: process.value("earmark_resting_organizations") == 1)


@pytest.mark.parametrize("module", [ALLOCATOR, EXPIRY])
def test_an_address_that_cannot_be_had_is_one_clear_line(module: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run(module, metrics_address=address)
    [line] = done.stderr.splitlines()
    assert line == f"earmark-{module.rpartition('.')[2]}: cannot serve metrics on {address}: Address already in use"
    assert (done.returncode, done.stdout) == (1, "")

    done = run(module, metrics_address="127.0.0.1:70000")
    [line] = done.stderr.splitlines()
    assert line.endswith("EARMARK_METRICS_ADDRESS must be host:port, the port 0 to 65535")
    assert (done.returncode, done.stdout) == (1, "")


async def test_liveness_fails_while_the_event_loop_stands_still() -> None:
    monitoring = Monitoring(asyncio.Event(), still_seconds_max=0.2)
    async with http_server("127.0.0.1:0", monitoring) as server:
        url = f"http://127.0.0.1:{server.server_port}/livez"
        end = time.monotonic() + DEADLINE_SECONDS
        while get(url) != (503, "the event loop stands still\n"):  # Asked by the loop itself, which so stands still.
            assert time.monotonic() < end
        ticking = asyncio.create_task(monitoring.tick())
        await asyncio.sleep(0)
        assert get(url) == (200, "alive\n")
        ticking.cancel()


def can_bind(family: socket.AddressFamily, host: str) -> bool:
    try:
        with socket.create_server((host, 0), family=family):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:0",
        "localhost:0",
        pytest.param("[::1]:0", marks=pytest.mark.skipif(not can_bind(socket.AF_INET6, "::1"), reason="needs IPv6")),
    ],
)
async def test_what_is_where(address: str) -> None:
    async with http_server(address, Monitoring(asyncio.Event())) as server:
        host = address.rpartition(":")[0]
        url = f"http://{host}:{server.server_port}"
        answers = {
            path: (await asyncio.to_thread(get, url + path))[0] for path in ("/metrics", "/livez", "/readyz", "/")
        }
    assert answers == {"/metrics": 200, "/livez": 200, "/readyz": 503, "/": 404}


def test_watchers_are_asked_at_each_scrape() -> None:
    registry = CollectorRegistry()
    watchers = [1]
    AllocatorMetrics(registry).watch(lambda: len(watchers), lambda: sum(watchers))
    watchers.append(6)
    assert registry.get_sample_value("earmark_watchers") == 2
    assert registry.get_sample_value("earmark_watch_lag_revisions") == 7
