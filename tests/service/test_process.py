"""The processes, as whoever operates them meets them: starting, serving, stopping, and saying what is wrong."""

import asyncio
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from earmark import EarmarkError
from earmark.messages import MessageClient
from services.admin import embedded
from services.ledger.store.database import Connection
from tests.support.descendants import all_end, descendants
from tests.support.processes import (
    ADMIN,
    ALLOCATOR,
    DEADLINE_SECONDS,
    EXPIRY,
    NO_REDIS,
    ended,
    environment,
    run,
    running_allocator,
)
from tests.support.service_stories import everything, waits_for_the_lock

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="watches processes by pidfd and /proc")


async def test_stopping_finishes_what_is_under_way(database: str, connection: Connection) -> None:
    with running_allocator(database) as (process, address):
        async with MessageClient(address) as client, grpc.aio.insecure_channel(address) as channel:
            await client.create_organization("o-1")
            health: Any = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(service="earmark.v1.AllocationService"))
            assert (await watch.read()).status == SERVING

            async with connection.transaction():
                await connection.execute("SELECT FROM organization FOR UPDATE")
                under_way = asyncio.create_task(client.update_organization("o-1", display_name="last"))
                await waits_for_the_lock(connection)
                process.terminate()
                assert (await watch.read()).status == NOT_SERVING
                async with MessageClient(address) as late:
                    with pytest.raises(EarmarkError) as caught:
                        await late.get_organization("o-1")
                assert caught.value.code is grpc.StatusCode.UNAVAILABLE
                assert not under_way.done()
            assert (await under_way).organization.display_name == "last"
            assert await ended(process) == 0


async def test_a_watch_of_health_ends_with_the_process(database: str) -> None:
    """It would otherwise keep the process until its time to stop is over."""
    patience = 10 * DEADLINE_SECONDS
    with running_allocator(database, shutdown_seconds=str(patience)) as (process, address):
        async with grpc.aio.insecure_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watches = [health.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", "nothing")]
            assert [(await watch.read()).status for watch in watches] == [SERVING, SERVICE_UNKNOWN]
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
            process.terminate()
            assert [(await watch.read()).status for watch in watches] == [NOT_SERVING, SERVICE_UNKNOWN]
            assert [await watch.code() for watch in watches] == [grpc.StatusCode.UNAVAILABLE] * 2
        assert await ended(process) == 0


def test_a_client_that_knows_only_what_reflection_tells(database: str) -> None:
    with running_allocator(database) as (_, address), grpc.insecure_channel(address) as channel:
        reflected = ProtoReflectionDescriptorDatabase(channel)
        assert [name for name in reflected.get_services() if name.startswith("earmark.")] == [
            f"earmark.v1.{name}Service" for name in ("Allocation", "Catalog", "Organization", "Subscription", "Usage")
        ]
        pool = descriptor_pool.DescriptorPool(reflected)
        method = pool.FindServiceByName("earmark.v1.OrganizationService").FindMethodByName("CreateOrganization")
        ask, answer = (message_factory.GetMessageClass(each) for each in (method.input_type, method.output_type))
        create: Any = channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}", ask.SerializeToString, answer.FromString
        )
        assert create(ask(organization_id="o-1")).organization.name == "organizations/o-1"


@pytest.mark.parametrize("module", [ALLOCATOR, EXPIRY])
@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"calls_max": "many", "shutdown_seconds": "-1"}, "EARMARK_CALLS_MAX='many' is not a whole number; EARMARK_SH"),
        ({"tls_key_file": "key.pem"}, "EARMARK_TLS_CERTIFICATE_FILE and EARMARK_TLS_KEY_FILE go together"),
        ({"listen_address": "127.0.0.1:99999"}, "EARMARK_LISTEN_ADDRESS must be host:port"),
        ({"database_url": "no-url"}, "the database of EARMARK_DATABASE_URL cannot be reached: invalid DSN"),
        ({"database_url": "postgresql://earmark@127.0.0.1:1/x"}, "the database of EARMARK_DATABASE_URL cannot be rea"),
    ],
    ids=["numbers", "pairs", "address", "no URL", "nobody there"],
)
def test_a_bad_setting_is_one_clear_line(module: str, settings: dict[str, str], why: str) -> None:
    check_one_line(run(module, **settings), why)


def check_one_line(done: "subprocess.CompletedProcess[str]", why: str) -> None:
    own = [line for line in done.stderr.splitlines() if "add_port.cc" not in line]  # gRPC has its own say
    assert len(own) == 1, done.stderr
    assert why in own[0]
    assert own[0].startswith("earmark-")
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("module", [ALLOCATOR, EXPIRY])
async def test_a_database_without_its_schema(module: str, postgres: embedded.Server) -> None:
    done = await asyncio.to_thread(run, module, database_url=postgres.url)
    check_one_line(done, "the database holds no Earmark schema; run: earmark-admin migrate")


async def test_a_port_that_is_taken_and_a_file_that_is_not_there(database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = await asyncio.to_thread(run, ALLOCATOR, database_url=database, listen_address=address, log_level="ERROR")
        check_one_line(done, f"cannot listen on {address}")
    files = {"tls_certificate_file": "none.pem", "tls_key_file": "none.pem"}
    done = await asyncio.to_thread(run, ALLOCATOR, database_url=database, log_level="ERROR", **files)
    check_one_line(done, "No such file or directory: 'none.pem'")


async def test_the_expiry_worker_settles_at_once_and_stops(
    database: str, client: MessageClient, organization: str, connection: Connection
) -> None:
    command = [sys.executable, "-m", EXPIRY]
    with embedded.child(
        command, env=environment(database_url=database, redis_url=NO_REDIS, log_level="ERROR")
    ) as process:
        await connected(connection, "earmark-expiry")
        end = datetime.now(UTC) + timedelta(seconds=3)
        await client.create_subscription(organization, credits=1, end_time=end, grace_period=timedelta())
        late = await settled_late_by(connection, "SUBSCRIPTION_EXPIRED")
        assert timedelta() <= late < timedelta(seconds=3)
        process.terminate()
        assert await ended(process) == 0


async def connected(connection: Connection, application: str) -> None:
    """Returns once a process of that name works on the database."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await connection.fetchval(asked, application):  # noqa: ASYNC110 - nobody else can tell us
            await asyncio.sleep(0.01)


async def settled_late_by(connection: Connection, kind: str) -> timedelta:
    """Once there is such an entry: how long after its instant it was written, by the database's clock."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            late: timedelta | None = await connection.fetchval(
                "SELECT recorded_time - effective_time FROM entry WHERE kind = $1", kind
            )
            if late is not None:
                return late
            await asyncio.sleep(0.01)


@needs_linux
async def test_all_of_earmark_until_ctrl_c() -> None:
    command = [sys.executable, "-m", ADMIN, "up", "--ephemeral", "--listen", "127.0.0.1:0"]
    env = environment(log_level="ERROR")
    with embedded.child(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        addresses = await asyncio.to_thread(printed_addresses, process)
        assert addresses["Postgres"].startswith("postgresql://")
        assert addresses["Redis"].startswith("redis://")
        async with MessageClient(addresses["gRPC"]) as client:
            assert len(await everything(client.list_offerings())) == 42
            await client.create_organization("o-1")

        started = list(descendants(process.pid))
        assert len(started) >= 4  # Postgres, Redis, the allocator and the worker, and who guards them.
        with all_end(started):
            process.send_signal(signal.SIGINT)
            assert await ended(process) == 0


def printed_addresses(process: embedded.Child) -> dict[str, str]:
    """What the greeting says is where."""
    assert process.stdout is not None
    found: dict[str, str] = {}
    while "data" not in found:
        line = process.stdout.readline().decode()
        assert line, "it ended without a greeting"
        name, _, value = line.strip().partition(" ")
        found[name] = value.strip()
    return found
