"""The client's watches, against a server that breaks off as it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import Default
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from earmark import EarmarkError
from earmark.messages import MessageClient, watching
from earmark.messages.retrying import Retry
from earmark.v1.resources_pb2 import Balance, Entry
from earmark.v1.usage_service_pb2 import (
    EntryRun,
    Heartbeat,
    UsageSnapshot,
    WatchBalancesRequest,
    WatchBalancesResponse,
    WatchUsageRequest,
    WatchUsageResponse,
)

SILENCE = "silence"
PAUSE = "pause"
PAUSE_SECONDS = 0.3
END = "end"


class ScriptedServer(grpc.GenericRpcHandler):
    """Each attempt plays the next script: messages, a status to fail with, SILENCE, a PAUSE, or END as if all were
    well."""

    def __init__(self) -> None:
        self.address = "127.0.0.1:0"
        self.requests: list[Any] = []
        self.peers: list[str] = []
        self.actors: list[Any] = []
        self.scripts: list[list[Message | str]] = []
        self.silent = asyncio.Event()
        self.left = asyncio.Event()

    async def start(self) -> None:
        self.server = grpc.aio.server(handlers=[self])
        self.address = f"127.0.0.1:{self.server.add_insecure_port(self.address)}"
        await self.server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        service, name = handler_call_details.method.strip("/").split("/")
        if not service.startswith("earmark."):  # Who has no health is taken to be healthy.
            return None
        method = Default().FindServiceByName(service).methods_by_name[name]
        return grpc.unary_stream_rpc_method_handler(
            self.play,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    async def play(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.requests.append(request)
        self.peers.append(context.peer())
        self.actors.append(dict(context.invocation_metadata()).get("earmark-actor"))
        for act in self.scripts.pop(0):
            if act == END:
                return
            if act == PAUSE:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if act == SILENCE:
                await self._wait_for_the_end()
            if isinstance(act, status_pb2.Status):
                await context.abort_with_status(rpc_status.to_status(act))
            yield act

    async def _wait_for_the_end(self) -> None:
        self.silent.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    await scripted.start()
    yield scripted
    await scripted.server.stop(grace=None)


@pytest.fixture
async def client(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MessageClient]:
    monkeypatch.setattr(watching, "PAUSES", Retry(initial_seconds=0.001))
    async with MessageClient(server.address, actor="night-shift") as opened:
        yield opened


def entry(revision: int) -> WatchUsageResponse:
    run = EntryRun(entries=[Entry(revision=revision)])
    return WatchUsageResponse(entries=run, revision=revision, resume_token=f"{revision}:aa")


def balances(revision: int) -> WatchBalancesResponse:
    return WatchBalancesResponse(balances=[Balance(revision=revision)])


def failure(code: int, reason: str = "", retry_seconds: int | None = None) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message="The rule, and the way out.")
    if reason:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="earmark"))
    if retry_seconds is not None:
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=retry_seconds)))
    return status


SHUTTING_DOWN = failure(code_pb2.UNAVAILABLE, "SHUTTING_DOWN")


async def take(messages: AsyncIterator[Any], count: int) -> list[int]:
    """The revisions of the next messages."""
    return [(await anext(messages)).revision for _ in range(count)]


async def test_a_watch_that_breaks_off_goes_on_after_the_last_message(
    server: ScriptedServer, client: MessageClient
) -> None:
    server.scripts = [[entry(8), entry(9), SHUTTING_DOWN], [entry(10), SILENCE]]
    lost: list[EarmarkError] = []
    async with aclosing(client.watch_usage("o-1", after_revision=7, on_disconnect=lost.append)) as messages:
        assert await take(messages, 3) == [8, 9, 10]
    assert server.requests == [
        WatchUsageRequest(name="organizations/o-1", after_revision=7),
        WatchUsageRequest(name="organizations/o-1", resume_token="9:aa"),
    ]
    assert [error.reason for error in lost] == ["SHUTTING_DOWN"]
    assert server.actors == ["night-shift", "night-shift"]


async def test_after_a_snapshot_its_own_token_is_where_a_watch_goes_on(
    server: ScriptedServer, client: MessageClient
) -> None:
    snapshot = WatchUsageResponse(snapshot=UsageSnapshot(), revision=5, resume_token="5:aa")
    server.scripts = [[snapshot, SHUTTING_DOWN], [entry(6), SILENCE]]
    async with aclosing(client.watch_usage("o-1")) as messages:
        assert await take(messages, 2) == [5, 6]
    first, second = server.requests
    assert first.WhichOneof("start") is None
    assert second.resume_token == "5:aa"


async def test_a_heartbeat_carries_a_token_too(server: ScriptedServer, client: MessageClient) -> None:
    heartbeat = WatchUsageResponse(heartbeat=Heartbeat(), revision=7, resume_token="7:aa")
    server.scripts = [[heartbeat, SHUTTING_DOWN], [entry(8), SILENCE]]
    async with aclosing(client.watch_usage("o-1", resume_token="7:00")) as messages:
        await take(messages, 2)
    assert [request.resume_token for request in server.requests] == ["7:00", "7:aa"]


async def test_attempts_go_on_until_one_succeeds_each_longer_after_the_last(
    server: ScriptedServer, client: MessageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    class Noted(Retry):
        def pause_seconds(self, failures: int, error: EarmarkError) -> float:
            counted.append(failures)
            return 0

    monkeypatch.setattr(watching, "PAUSES", Noted())
    server.scripts = [[entry(1), SHUTTING_DOWN], [SHUTTING_DOWN], [entry(2), SHUTTING_DOWN], [entry(3), SILENCE]]
    async with aclosing(client.watch_usage("o-1")) as messages:
        assert await take(messages, 3) == [1, 2, 3]
    assert counted == [1, 2, 1]


async def test_a_server_that_comes_back_is_found_again(server: ScriptedServer, client: MessageClient) -> None:
    server.scripts = [[entry(1), SILENCE], [entry(2), SILENCE]]
    gone = asyncio.Event()
    async with aclosing(client.watch_usage("o-1", on_disconnect=lambda _: gone.set())) as messages:
        assert await take(messages, 1) == [1]
        await server.silent.wait()
        following = asyncio.create_task(take(messages, 1))
        await server.server.stop(grace=None)
        await gone.wait()
        await server.start()
        assert await following == [2]


async def test_silence_is_a_lost_connection_and_another_one_is_made(
    server: ScriptedServer, client: MessageClient
) -> None:
    server.scripts = [[entry(1), SILENCE], [entry(2), SILENCE]]
    lost: list[EarmarkError] = []
    watch = client.watch_usage("o-1", silence_seconds=0.5, on_disconnect=lost.append)
    async with aclosing(watch) as messages:
        assert await take(messages, 2) == [1, 2]
        await server.left.wait()
    assert (lost[0].code, lost[0].message) == (grpc.StatusCode.UNAVAILABLE, "Nothing was heard for 0.5 s.")
    assert server.requests[1].resume_token == "1:aa"
    assert len(set(server.peers)) == 2


async def test_heartbeats_are_no_silence(server: ScriptedServer, client: MessageClient) -> None:
    heartbeat = WatchUsageResponse(heartbeat=Heartbeat(), revision=7, resume_token="7:aa")
    server.scripts = [[PAUSE, heartbeat] * 4]
    lost: list[EarmarkError] = []
    watch = client.watch_usage("o-1", silence_seconds=1, on_disconnect=lost.append)
    async with aclosing(watch) as messages:
        assert await take(messages, 4) == [7] * 4
    assert lost == []


@pytest.mark.parametrize(
    "broken",
    [
        END,
        failure(code_pb2.INTERNAL),
        failure(code_pb2.UNKNOWN),
        failure(code_pb2.CANCELLED),
        failure(code_pb2.UNAVAILABLE, "DATABASE_UNAVAILABLE", retry_seconds=0),
    ],
    ids=str,
)
async def test_whatever_breaks_a_connection_is_survived(
    server: ScriptedServer, client: MessageClient, broken: Message | str
) -> None:
    server.scripts = [[entry(1), broken], [entry(2), SILENCE]]
    async with aclosing(client.watch_usage("o-1")) as messages:
        assert await take(messages, 2) == [1, 2]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (code_pb2.OUT_OF_RANGE, "HISTORY_REPLACED"),
        (code_pb2.OUT_OF_RANGE, "REVISION_NOT_REACHED"),
        (code_pb2.NOT_FOUND, "ORGANIZATION_NOT_FOUND"),
        (code_pb2.INVALID_ARGUMENT, "INVALID_FIELD"),
        (code_pb2.INTERNAL, "INTERNAL"),
        (code_pb2.UNIMPLEMENTED, ""),
        (code_pb2.PERMISSION_DENIED, ""),
    ],
)
async def test_what_another_attempt_would_not_mend_is_raised(
    server: ScriptedServer, client: MessageClient, code: int, reason: str
) -> None:
    server.scripts = [[entry(1), SHUTTING_DOWN], [failure(code, reason)]]
    messages = client.watch_usage("o-1")
    assert await take(messages, 1) == [1]
    with pytest.raises(EarmarkError) as raised:
        await anext(messages)
    assert (raised.value.code.value[0], raised.value.reason) == (code, reason)


@pytest.mark.parametrize("first", [SHUTTING_DOWN, failure(code_pb2.UNAVAILABLE), SILENCE, END], ids=str)
async def test_a_first_attempt_that_brings_nothing_is_raised(
    server: ScriptedServer, client: MessageClient, first: Message | str
) -> None:
    server.scripts = [[first], [entry(1)]]
    with pytest.raises(EarmarkError) as raised:
        await anext(client.watch_usage("o-1", silence_seconds=0.3))
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE
    assert len(server.requests) == 1


async def test_nobody_at_the_address_is_said_at_once() -> None:
    async with MessageClient("127.0.0.1:1") as client:
        with pytest.raises(EarmarkError) as raised:
            await anext(client.watch_balances())
    assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.UNAVAILABLE, "")


async def test_a_watch_of_balances_begins_anew(server: ScriptedServer, client: MessageClient) -> None:
    server.scripts = [[balances(1), SHUTTING_DOWN], [balances(1), balances(2), SILENCE]]
    lost: list[EarmarkError] = []
    watch = client.watch_balances("o-1", "organizations/o-2", on_disconnect=lost.append)
    async with aclosing(watch) as messages:
        found = [(await anext(messages)).balances[0].revision for _ in range(3)]
    assert found == [1, 1, 2]
    assert server.requests == [WatchBalancesRequest(names=["organizations/o-1", "organizations/o-2"])] * 2
    assert [error.reason for error in lost] == ["SHUTTING_DOWN"]


async def test_whoever_stops_listening_leaves_the_server(server: ScriptedServer, client: MessageClient) -> None:
    server.scripts = [[entry(1), SILENCE]]
    async with aclosing(client.watch_usage("o-1")) as messages:
        await take(messages, 1)
        await server.silent.wait()
        assert not server.left.is_set()
    await server.left.wait()


async def test_a_watch_begins_in_one_place(server: ScriptedServer, client: MessageClient) -> None:
    with pytest.raises(ValueError, match="either a revision or a resume token"):
        await anext(client.watch_usage("o-1", after_revision=0, resume_token="1:aa"))
    assert server.requests == []


def test_delays_double_up_to_five_seconds_on_top_of_what_is_asked_for() -> None:
    bare, asked = (EarmarkError.from_status(failure(code_pb2.UNAVAILABLE, retry_seconds=each)) for each in (None, 7))
    for failures, longest in [(1, 0.1), (2, 0.2), (6, 3.2), (7, 5.0), (1000, 5.0)]:
        delays = [watching.PAUSES.pause_seconds(failures, bare) for _ in range(100)]
        assert longest / 2 <= min(delays) < max(delays) <= longest
        assert 7 + longest / 2 <= watching.PAUSES.pause_seconds(failures, asked) <= 7 + longest
