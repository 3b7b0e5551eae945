"""The gate before streams: what they yield, how they are refused, how many there may be, and what is counted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2
from prometheus_client import CollectorRegistry

from earmark import EarmarkError
from services.allocator.interceptor import Gate
from services.allocator.metrics import AllocatorMetrics
from services.ledger.rules.refusal import Reason, Refused

Watch = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
YIELDING, WRITING = "/earmark.test.Watches/Yielding", "/earmark.test.Watches/Writing"


class Watches:
    """Two watches that say the same: what was asked, once as a message and once in bytes, then the end asked for."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def yielding(self, request: StringValue, context: Any) -> AsyncIterator[StringValue | bytes]:
        try:
            yield request
            yield request.SerializeToString()
            await end(request.value)
        finally:
            self.closed.set()

    async def writing(self, request: StringValue, context: Any) -> None:
        await context.write(request)
        await context.write(request.SerializeToString())
        await end(request.value)


async def end(wanted: str) -> None:
    if wanted == "refused":
        raise Refused(Reason.ETAG_MISMATCH, "it was refused", {"etag": "1"})
    if wanted == "a bug":
        raise ZeroDivisionError
    if wanted == "never":
        await asyncio.Event().wait()


@asynccontextmanager
async def served(gate: Gate, watches: Watches) -> AsyncIterator[grpc.aio.Channel]:
    handlers = {
        path.rpartition("/")[2]: grpc.unary_stream_rpc_method_handler(
            behavior, request_deserializer=StringValue.FromString, response_serializer=StringValue.SerializeToString
        )
        for path, behavior in ((YIELDING, watches.yielding), (WRITING, watches.writing))
    }
    server = grpc.aio.server(interceptors=[gate])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("earmark.test.Watches", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def gate(registry: CollectorRegistry) -> Gate:
    return Gate(calls_max=1, watches_max=1, metrics=AllocatorMetrics(registry))


@pytest.fixture
def watches() -> Watches:
    return Watches()


@pytest.fixture
async def channel(gate: Gate, watches: Watches) -> AsyncIterator[grpc.aio.Channel]:
    async with served(gate, watches) as channel:
        yield channel


@pytest.fixture
def counted(registry: CollectorRegistry) -> Callable[[str, str], float]:
    def count(path: str, reason: str) -> float:
        labels = {"method": path.removeprefix("/"), "reason": reason}
        return registry.get_sample_value("earmark_calls_total", labels) or 0.0

    return count


def asking(text: str) -> bytes:
    return StringValue(value=text).SerializeToString()


async def read(channel: grpc.aio.Channel, path: str, request: bytes) -> tuple[list[str], EarmarkError | None]:
    """All that comes, and what ended it."""
    watch: Watch = channel.unary_stream(path)
    messages: list[str] = []
    try:
        async for each in watch(request):
            messages.append(StringValue.FromString(each).value)
    except grpc.aio.AioRpcError as error:
        return messages, EarmarkError.from_rpc(error)
    return messages, None


@pytest.mark.parametrize("path", [YIELDING, WRITING])
async def test_messages_and_bytes_pass_as_they_are(
    channel: grpc.aio.Channel, counted: Callable[[str, str], float], path: str
) -> None:
    assert await read(channel, path, asking("plain")) == (["plain", "plain"], None)
    assert counted(path, "OK") == 1


@pytest.mark.parametrize("path", [YIELDING, WRITING])
@pytest.mark.parametrize(
    ("wanted", "code", "reason"),
    [
        ("refused", grpc.StatusCode.ABORTED, "ETAG_MISMATCH"),
        ("a bug", grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
async def test_what_fails_is_a_refusal_after_what_came_before(
    channel: grpc.aio.Channel,
    counted: Callable[[str, str], float],
    path: str,
    wanted: str,
    code: grpc.StatusCode,
    reason: str,
) -> None:
    messages, error = await read(channel, path, asking(wanted))
    assert messages == [wanted, wanted]
    assert error is not None
    assert (error.code, error.reason) == (code, reason)
    assert counted(path, reason) == 1


async def test_bytes_that_are_no_request(channel: grpc.aio.Channel) -> None:
    messages, error = await read(channel, YIELDING, b"\xff\xff")
    assert messages == []
    assert error is not None
    assert (error.reason, YIELDING in error.message) == ("MALFORMED_MESSAGE", True)


async def test_more_watches_than_there_is_room_for(
    channel: grpc.aio.Channel,
    watches: Watches,
    registry: CollectorRegistry,
    counted: Callable[[str, str], float],
) -> None:
    watch: Watch = channel.unary_stream(YIELDING)
    first = watch(asking("never"))
    await first.read()
    labels = {"method": YIELDING.removeprefix("/")}
    assert registry.get_sample_value("earmark_streams_open", labels) == 1
    assert registry.get_sample_value("earmark_calls_in_flight") == 0

    _, error = await read(channel, YIELDING, asking("plain"))
    assert error is not None
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "TOO_MANY_WAITING")
    assert error.metadata == {"waiting": "1"}
    assert isinstance(error.details[1], error_details_pb2.RetryInfo)

    first.cancel()
    await watches.closed.wait()  # What it yields from is closed with it.
    assert await read(channel, WRITING, asking("plain")) == (["plain", "plain"], None)
    assert counted(YIELDING, "CANCELLED") == 1
    assert registry.get_sample_value("earmark_streams_open", labels) == 0


async def test_a_stopping_process_lets_no_watch_in(channel: grpc.aio.Channel, gate: Gate) -> None:
    gate.close()
    messages, error = await read(channel, YIELDING, asking("plain"))
    assert messages == []
    assert error is not None
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")


async def test_a_method_that_is_not_there_is_not_counted(
    channel: grpc.aio.Channel, registry: CollectorRegistry
) -> None:
    _, error = await read(channel, "/earmark.test.Watches/NoSuch", b"")
    assert error is not None
    assert error.code is grpc.StatusCode.UNIMPLEMENTED
    assert not any(
        sample.labels for metric in registry.collect() for sample in metric.samples if "NoSuch" in str(sample)
    )
