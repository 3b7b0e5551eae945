"""One of the two addresses: a gRPC server that passes calls on to Earmark, or does to them what the case wants."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, cast

import grpc
from google.protobuf import json_format
from grpc import aio
from grpc_health.v1 import health_pb2

from clients.conformance.host.contract import METHODS, Method
from clients.conformance.host.door import HOST, Door, Manner
from clients.conformance.host.faults import ON_THE_WAY, Fault, Status
from clients.conformance.host.journal import Attempt, Journal

DETAILS_KEY: Final = "grpc-status-details-bin"
ACTOR_KEY: Final = "earmark-actor"
OF_GRPC: Final = re.compile(r"(grpc-.*|user-agent|te|content-type|:.*)")
"""Metadata that is each connection's own."""
GARBLED: Final = b"\xff\xff\xff"
HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"
HEALTH_WATCH: Final = "/grpc.health.v1.Health/Watch"
LINGER_SECONDS: Final = 0.02
"""What was written to a stream is on its way to the caller after that; then its connection is cut."""
OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A caller may make sure of its connection as often as it likes.
    ("grpc.http2.min_ping_interval_without_data_ms", 100),
    ("grpc.keepalive_permit_without_calls", 1),
)

Context = aio.ServicerContext[Any, Any]


class Address(grpc.GenericRpcHandler):
    """`journal` is that of the case which runs, and so another one for each."""

    def __init__(self, number: int, upstream: aio.Channel) -> None:
        self.number = number
        self.journal = Journal()
        self._upstream = upstream
        self._door = Door()
        self._server: aio.Server | None = None
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._serving = True
        self._health_changed = asyncio.Event()

    async def start(self) -> str:
        """`host:port`, by which callers come in."""
        await self._door.open()
        await self._serve()
        return f"{HOST}:{self._door.port}"

    async def stop(self) -> None:
        await self._door.close()
        if self._server is not None:
            await self._server.stop(None)
        await asyncio.gather(*self._goodbyes)

    def begin(self, journal: Journal) -> None:
        """From now on it does what this case wants."""
        self.journal = journal
        mine = {each.do for each in journal.faults if each.address == self.number and not each.method}
        self._door.become(Manner.DEAD if "dead" in mine else Manner.MUTE if "mute" in mine else Manner.OPEN)
        self._serving = "not_serving" not in mine
        self._health_changed.set()
        self._health_changed = asyncio.Event()

    async def _serve(self) -> None:
        self._server = aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers((self,))
        self._door.target = self._server.add_insecure_port(f"{HOST}:0")
        await self._server.start()

    async def _say_goodbye(self, fault: Fault) -> None:
        """Tells every connection that no new call is welcome on it (GOAWAY), and ends its calls after a while.

        New connections are welcome.
        """
        leaving = self._server
        assert leaving is not None
        await self._serve()
        goodbye = asyncio.create_task(leaving.stop(fault.milliseconds / 1_000))
        self._goodbyes.add(goodbye)
        goodbye.add_done_callback(self._goodbyes.discard)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Of a method that the contract does not have: None."""
        path = str(handler_call_details.method)
        if path == HEALTH_CHECK:
            return grpc.unary_unary_rpc_method_handler(self._check_health)
        if path == HEALTH_WATCH:
            return grpc.unary_stream_rpc_method_handler(self._watch_health)
        method = METHODS.get(path)
        if method is None:
            return None
        if method.streams:
            return grpc.unary_stream_rpc_method_handler(self._streaming(method))
        return grpc.unary_unary_rpc_method_handler(self._calling(method))

    async def _check_health(self, request: bytes, context: Context) -> bytes:
        return self._health()

    async def _watch_health(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        while True:
            changed = self._health_changed
            yield self._health()
            await changed.wait()

    def _health(self) -> bytes:
        states = health_pb2.HealthCheckResponse
        state = states.SERVING if self._serving else states.NOT_SERVING
        return health_pb2.HealthCheckResponse(status=state).SerializeToString()

    def _calling(self, method: Method) -> Callable[..., Any]:
        async def call(data: bytes, context: Context) -> bytes:
            journal = self.journal
            attempt, faults = self._arrive(journal, method, data, context)
            data = await _on_the_way(method, data, faults)
            last = next((each for each in faults if each.do not in ON_THE_WAY), None)
            return await self._carry_out(journal, attempt, method, data, context, last)

        return call

    def _arrive(
        self, journal: Journal, method: Method, data: bytes, context: Context
    ) -> tuple[Attempt, Sequence[Fault]]:
        actor = dict(context.invocation_metadata() or ()).get(ACTOR_KEY, "")
        seconds = cast("float | None", context.time_remaining())  # Of a call without a deadline: None.
        return journal.arrive(
            method,
            data,
            address=self.number,
            actor=str(actor),
            deadline_ms=None if seconds is None else seconds * 1_000,
        )

    async def _carry_out(
        self,
        journal: Journal,
        attempt: Attempt,
        method: Method,
        data: bytes,
        context: Context,
        last: Fault | None,
    ) -> bytes:
        do = last.do if last else ""
        if do == "swallow":
            await asyncio.Event().wait()
        if do in ("refuse", "cut"):
            return await self._end(journal, attempt, context, last)
        if last and do == "goaway":
            await self._say_goodbye(last)
        answer = await self._ask(method, data, context)
        if do in ("lose", "replace"):
            return await self._end(journal, attempt, context, last)
        if isinstance(answer, Status):
            return await _refuse(journal, attempt, context, answer)
        journal.end(attempt, "OK")
        return answer

    async def _end(self, journal: Journal, attempt: Attempt, context: Context, fault: Fault | None) -> bytes:
        """Never returns an answer: there is a status, or the connection is lost."""
        if fault is not None and fault.status is not None:
            return await _refuse(journal, attempt, context, fault.status)
        journal.end(attempt)
        self._door.cut(context.peer())
        await asyncio.Event().wait()
        raise AssertionError("nobody ends this but gRPC, as it finds that the caller is gone")

    async def _ask(self, method: Method, data: bytes, context: Context) -> bytes | Status:
        """Earmark itself."""
        rpc: aio.UnaryUnaryMultiCallable[bytes, bytes] = self._upstream.unary_unary(method.path)
        try:
            return await rpc(data, timeout=context.time_remaining(), metadata=_passed_on(context))
        except aio.AioRpcError as error:
            return _status(error)

    def _streaming(self, method: Method) -> Callable[..., Any]:
        async def stream(data: bytes, context: Context) -> None:
            journal = self.journal
            attempt, faults = self._arrive(journal, method, data, context)
            data = await _on_the_way(method, data, faults)
            breaks = [each for each in faults if each.do not in ON_THE_WAY]
            if await self._breaks_off(journal, attempt, context, breaks):
                return
            rpc: aio.UnaryStreamMultiCallable[bytes, bytes] = self._upstream.unary_stream(method.path)
            call = rpc(data, metadata=_passed_on(context))
            try:
                async for message in call:
                    await context.write(message)
                    attempt.messages += 1
                    if await self._breaks_off(journal, attempt, context, breaks):
                        return
            except aio.AioRpcError as error:
                await _refuse(journal, attempt, context, _status(error))
            finally:
                call.cancel()

        return stream

    async def _breaks_off(self, journal: Journal, attempt: Attempt, context: Context, breaks: Sequence[Fault]) -> bool:
        """Whether the stream ends here, as if there were no more."""
        fault = next((each for each in breaks if each.after == attempt.messages), None)
        if fault is None:
            return False
        if fault.do == "silence":
            await asyncio.Event().wait()
        if fault.do == "goaway":
            await self._say_goodbye(fault)
            return False
        if fault.do == "end":
            journal.end(attempt, "OK")
            return True
        await asyncio.sleep(LINGER_SECONDS)
        await self._end(journal, attempt, context, fault)
        return True


async def _on_the_way(method: Method, data: bytes, faults: Sequence[Fault]) -> bytes:
    """The request as it is to go on."""
    for fault in faults:
        if fault.do == "delay":
            await asyncio.sleep(fault.milliseconds / 1_000)
        elif fault.do == "garble":
            data = GARBLED
        elif fault.do == "rewrite":
            message = method.request_of(data)
            json_format.ParseDict(dict(fault.fields), message)
            data = message.SerializeToString()
    return data


def _passed_on(context: Context) -> list[tuple[str, Any]]:
    found = context.invocation_metadata() or ()
    return [(key, value) for key, value in found if not OF_GRPC.fullmatch(key)]


def _status(error: aio.AioRpcError) -> Status:
    details = dict(error.trailing_metadata() or ()).get(DETAILS_KEY, b"")
    assert isinstance(details, bytes)
    return Status(error.code(), error.details() or "", details)


async def _refuse(journal: Journal, attempt: Attempt, context: Context, status: Status) -> bytes:
    """Never returns: gRPC ends the call by raising."""
    journal.end(attempt, status.code.name)
    trailing = ((DETAILS_KEY, status.details),) if status.details else ()
    await context.abort(status.code, status.message, trailing)
    raise AssertionError("abort raises")
