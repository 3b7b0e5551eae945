"""Who is called, and with what: several addresses and their health, credentials, and the standard instrumentation."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorClient, aio_client_interceptors
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from earmark import Client, Retry, Tls, errors, sync
from earmark.v1.resources_pb2 import Organization
from earmark.v1.usage_service_pb2 import WatchUsageRequest
from tests.support.certificates import OPENSSL, make_authority, make_certificate

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Standing(grpc.GenericRpcHandler, health_pb2_grpc.HealthServicer):
    """Answers who it is, whatever it is asked, and how it is; writes down what it was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.address = ""
        self.seen: list[dict[str, str | bytes]] = []
        self.health = SERVING
        self.healthy = asyncio.Condition()
        self.asked_of_health = asyncio.Event()
        self.listened_to = asyncio.Event()
        self.peers: set[str] = set()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method.endswith("/WatchUsage"):
            return grpc.unary_stream_rpc_method_handler(self.say_nothing)
        return grpc.unary_unary_rpc_method_handler(self.answer) if "earmark" in handler_call_details.method else None

    async def say_nothing(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        self.listened_to.set()
        await asyncio.Event().wait()
        yield b""

    async def answer(self, request: bytes, context: Any) -> bytes:
        self.peers.add(context.peer())
        self.seen.append(dict(context.invocation_metadata()))
        return Organization(name=f"organizations/{self.name}").SerializeToString()

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        while True:
            yield health_pb2.HealthCheckResponse(status=self.health)
            self.asked_of_health.set()
            async with self.healthy:
                await self.healthy.wait()

    async def become(self, health: Any) -> None:
        async with self.healthy:
            self.health = health
            self.healthy.notify_all()


class Leaving(Standing):
    """Sends every watch away, and writes down whose it was."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.tried = asyncio.Condition()
        self.watchers: list[tuple[float, str]] = []
        """When each came, and its organization."""

    async def say_nothing(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        async with self.tried:
            now = asyncio.get_running_loop().time()
            self.watchers.append((now, WatchUsageRequest.FromString(request).name))
            self.tried.notify_all()
        await context.abort(grpc.StatusCode.UNAVAILABLE)
        yield b""

    async def came(self, times: int, watchers: int) -> None:
        """Returns once each of so many has come so often."""
        async with self.tried:
            await self.tried.wait_for(lambda: [n >= times for n in self._times()] == [True] * watchers)

    def _times(self) -> list[int]:
        return list(Counter(name for _, name in self.watchers).values())


@asynccontextmanager
async def standing(
    name: str, credentials: grpc.ServerCredentials | None = None, kind: type[Standing] = Standing
) -> AsyncIterator[Any]:
    server, service = aio.server(), kind(name)
    server.add_generic_rpc_handlers((service,))
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    add = server.add_insecure_port if credentials is None else lambda at: server.add_secure_port(at, credentials)
    service.address = f"127.0.0.1:{add('127.0.0.1:0')}"
    await server.start()
    try:
        yield service
    finally:
        await server.stop(0)


async def asked(client: Client, times: int) -> list[str]:
    """Who answered."""
    return [(await client.get_organization("o-1")).id for _ in range(times)]


async def test_calls_go_by_turns_to_all_addresses() -> None:
    async with standing("a") as one, standing("b") as other:
        async with Client([one.address, other.address]) as client:
            await one.asked_of_health.wait()
            await other.asked_of_health.wait()
            await asked(client, 2)  # Both are up; that the client sees so takes it another moment.
            assert sorted(set(await asked(client, 10))) == ["a", "b"]
        assert len(one.seen) >= 4
        assert len(other.seen) >= 4


async def test_an_address_where_nobody_listens_costs_no_call() -> None:
    async with standing("a") as one, Client(f"127.0.0.1:1,{one.address}", retry=None) as client:
        assert await asked(client, 10) == ["a"] * 10


async def test_who_is_not_serving_gets_no_calls_until_it_serves_again() -> None:
    async with (
        standing("a") as one,
        standing("b") as other,
        Client([one.address, other.address]) as client,
    ):
        await one.asked_of_health.wait()
        await one.become(NOT_SERVING)
        await until(client, {"b"})
        await one.become(SERVING)
        await until(client, {"a", "b"})
        await other.become(NOT_SERVING)
        await until(client, {"a"})


async def test_one_that_goes_away_in_between_is_not_missed() -> None:
    async with AsyncExitStack() as leaving, standing("b") as other:
        one = await leaving.enter_async_context(standing("a"))
        async with Client([one.address, other.address]) as client:
            await asked(client, 4)
            asking = asyncio.create_task(asked(client, 50))
            await leaving.aclose()
            assert len(await asking) == 50


async def test_nobody_at_all_is_told_within_the_deadline() -> None:
    async with Client(["127.0.0.1:1", "127.0.0.1:2"], timeout_seconds=0.5) as client:
        begun = asyncio.get_running_loop().time()
        with pytest.raises(errors.Unreachable):
            await client.get_organization("o-1")
        assert asyncio.get_running_loop().time() - begun < 0.75


async def test_an_attempt_is_the_only_one_where_nothing_is_tried_again() -> None:
    for retry in (None, Retry(attempts_max=1)):
        async with Client("127.0.0.1:1", retry=retry) as client:
            async with asyncio.timeout(5):
                with pytest.raises(errors.Unreachable):
                    await client.get_organization("o-1")


async def test_several_connections_reach_one_address() -> None:
    async with standing("a") as service, Client(service.address, connections=3) as client:
        async with asyncio.timeout(10):
            while len(service.peers) < 3:
                await asked(client, 3)
        await asked(client, 9)
        assert len(service.peers) == 3


async def test_a_watch_that_hears_nothing_fails_at_a_calls_deadline() -> None:
    begun = asyncio.get_running_loop().time()
    for retry in (None, Retry()):
        async with standing("a") as service, Client(service.address, timeout_seconds=0.4, retry=retry) as client:
            with pytest.raises(errors.Unreachable, match="Nothing was heard"):
                await anext(client.watch_usage("o-1"))
    assert asyncio.get_running_loop().time() - begun < 3


async def test_a_silent_address_leaves_time_for_the_next_one() -> None:
    async with (
        standing("a") as one,
        standing("b") as other,
        Client([one.address, other.address], timeout_seconds=2) as client,
    ):
        watching = asyncio.ensure_future(anext(client.watch_usage("o-1")))
        async with asyncio.timeout(2):
            await asyncio.gather(one.listened_to.wait(), other.listened_to.wait())
        watching.cancel()
        await asyncio.wait([watching])


async def test_each_watch_tries_one_address_after_the_other_whatever_others_try() -> None:
    """Otherwise one of several may come to the same dead address again and again."""

    async def watch(client: Client, organization: str) -> None:
        async with aclosing(client.watch_usage(organization)) as messages:
            async for _ in messages:
                pass

    watchers = ["o-1", "o-2", "o-3"]
    async with (
        standing("a", kind=Leaving) as a,
        standing("b", kind=Leaving) as b,
        Client([a.address, b.address], timeout_seconds=30) as client,
    ):
        watching = [asyncio.create_task(watch(client, each)) for each in watchers]
        async with asyncio.timeout(20):
            await asyncio.gather(a.came(2, len(watchers)), b.came(2, len(watchers)))
        for each in watching:
            each.cancel()
        await asyncio.wait(watching)
    tries = sorted([(*each, "a") for each in a.watchers] + [(*each, "b") for each in b.watchers])
    for name in {name for _, name, _ in tries}:
        places = [place for _, tried, place in tries if tried == name]
        assert all(place != next_one for place, next_one in pairwise(places)), f"{name}: {places}"


async def test_a_client_that_is_closed_ends_what_waits_for_it() -> None:
    async with standing("a") as service:
        client = Client(service.address)
        async with client:
            watching = asyncio.ensure_future(anext(client.watch_usage("o-1")))
            await service.listened_to.wait()
        with pytest.raises(RuntimeError, match="not open"):
            await watching
        with pytest.raises(RuntimeError, match="not open"):
            await client.get_organization("o-1")
        with pytest.raises(RuntimeError, match="entered once"):
            async with client:
                pass


WAITING_THREAD = """
import sys, threading
from earmark import sync

def wait():
    try:
        next(watch)
    except RuntimeError as error:
        print(error)

with sync.Client(sys.argv[1]) as client:
    watch = client.watch_usage("o-1")
    thread = threading.Thread(target=wait)
    thread.start()
    sys.stdin.readline()
thread.join()
"""


async def test_a_thread_that_waits_is_woken_when_its_blocking_client_is_closed() -> None:
    """In a process of its own: gRPC does not wake the loops of several threads reliably."""
    async with standing("a") as service:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WAITING_THREAD, service.address),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await service.listened_to.wait()
        async with asyncio.timeout(20):
            told, _ = await process.communicate(b"\n")
    assert b"not open" in told
    assert process.returncode == 0


async def test_a_blocking_call_where_it_would_wait_for_itself_is_refused() -> None:
    def story() -> str:
        with sync.Client("127.0.0.1:1", timeout_seconds=0.5) as client:
            told: list[str] = []

            def ask(_: errors.EarmarkError) -> None:
                try:
                    client.get_organization("o-1")
                except RuntimeError as error:
                    told.append(str(error))

            with pytest.raises(errors.Unreachable):
                next(client.watch_usage("o-1", on_disconnect=ask))
            return told[0]

    assert "would wait for itself" in await asyncio.to_thread(story)


def test_a_key_without_its_certificate_is_refused_and_never_shown() -> None:
    with pytest.raises(ValueError, match="go together"):
        Tls(client_key=b"secret")
    assert "secret" not in repr(Tls(client_key=b"secret", client_certificate=b"certificate"))


@pytest.mark.skipif(OPENSSL is None, reason="makes its certificates with the command openssl")
async def test_credentials_go_with_every_call_over_tls_only(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "authority")
    own = make_certificate(tmp_path, authority, "server", "DNS:earmark.internal")
    key_and_certificate = (own.key.read_bytes(), own.certificate.read_bytes())
    tls = Tls(root_certificates=authority.certificate.read_bytes(), server_name="earmark.internal")
    token = grpc.access_token_call_credentials("secret")
    async with standing("a", grpc.ssl_server_credentials([key_and_certificate])) as service:
        async with Client(service.address, tls=tls, call_credentials=token) as client:
            assert await asked(client, 2) == ["a"] * 2
        assert [each["authorization"] for each in service.seen] == ["Bearer secret"] * 2
    with pytest.raises(ValueError, match="over TLS only"):
        Client(service.address, call_credentials=token)


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracers(spans: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider


async def test_interceptors_of_the_standard_instrumentation(
    spans: InMemorySpanExporter, tracers: TracerProvider
) -> None:
    interceptors = aio_client_interceptors(  # type: ignore[no-untyped-call]
        tracer_provider=tracers
    )
    async with standing("a") as service, Client(service.address, interceptors=interceptors) as client:
        await client.get_organization("o-1")
    check_traced(service, spans)


async def test_the_standard_instrumentor_needs_no_word_of_the_client(
    spans: InMemorySpanExporter, tracers: TracerProvider
) -> None:
    instrumentor = GrpcAioInstrumentorClient()  # type: ignore[no-untyped-call]
    instrumentor.instrument(tracer_provider=tracers)
    try:
        async with standing("a") as service, Client(service.address) as client:
            await client.get_organization("o-1")
    finally:
        instrumentor.uninstrument()
    check_traced(service, spans)


def check_traced(service: Standing, spans: InMemorySpanExporter) -> None:
    [span] = [each for each in spans.get_finished_spans() if each.name.endswith("GetOrganization")]
    assert span.context
    assert f"{span.context.trace_id:032x}" in str(service.seen[0]["traceparent"])


async def until(client: Client, answering: set[str]) -> None:
    """Returns when only these answer."""
    async with asyncio.timeout(10):
        while set(await asked(client, 6)) != answering:
            pass
