"""Makes the calls, and tells how each ended."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from tests.fuzz.by_hand import HANDS, send
from tests.fuzz.inputs import Input
from tests.support.http2 import Ending
from tests.support.reflected import Refusal, refusal_from

CHANNELS: Final = 4
SECONDS: Final = 30.0
CODES: Final = {each.value[0]: each.name for each in grpc.StatusCode}
OPTIONS: Final = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 2**20),
]


@dataclass(frozen=True)
class Outcome:
    """How a call ended."""

    code: str
    """OK, the gRPC code, or the way in which gRPC ended what was no call: `reset`, `closed`..."""
    refusal: Refusal | None = None
    answer: Any = None
    """Of a stream the first message; None where it ended before one."""

    @property
    def reason(self) -> str:
        return self.refusal.reason if self.refusal is not None else ""


class Caller:
    """Calls the methods over several connections, with any bytes."""

    def __init__(self, address: str, methods: Mapping[str, MethodDescriptor], channels: list[aio.Channel]) -> None:
        self._address = address
        self.methods = methods
        self._channels = channels

    async def make(self, each: Input) -> Outcome:
        """Never raises for what the server does."""
        method = self.methods[each.method]
        path = f"/{method.containing_service.full_name}/{method.name}"
        if each.hand:
            return _by_hand(await send(HANDS[each.hand], self._address, path, each.data))
        call = self._call(each, method, path)
        if each.kind == "cancelled" and each.number % 2:
            call.cancel()
        try:
            answer = await (call.read() if method.server_streaming else call)
        except aio.AioRpcError as error:
            return Outcome(error.code().name, refusal_from(error))
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
            return Outcome("CANCELLED")
        finally:
            call.cancel()
        if answer is aio.EOF:
            return await _ended(call)
        return Outcome("OK", answer=answer)

    def _call(self, each: Input, method: MethodDescriptor, path: str) -> Any:
        channel = self._channels[each.number % len(self._channels)]
        compression = grpc.Compression.Gzip if each.kind == "compressed" else None
        options: dict[str, Any] = {
            "timeout": SECONDS if each.seconds is None else each.seconds,
            "metadata": each.metadata,
            "compression": compression,
        }
        readable = GetMessageClass(method.output_type).FromString
        if method.client_streaming:
            both: Any = channel.stream_stream(path, None, readable)
            return both(_only(each.data), **options)
        ask: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
        return ask(path, None, readable)(each.data, **options)


@asynccontextmanager
async def calling(address: str, methods: Mapping[str, MethodDescriptor]) -> AsyncIterator[Caller]:
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(aio.insecure_channel(address, OPTIONS)) for _ in range(CHANNELS)]
        yield Caller(address, methods, channels)


async def _only(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _ended(call: Any) -> Outcome:
    """A stream without any message: it may have ended well, or by a refusal that reading did not raise."""
    code = await call.code()
    if code is grpc.StatusCode.OK:
        return Outcome("OK")
    return Outcome(code.name, Refusal(code.name, await call.details()))


def _by_hand(ending: Ending) -> Outcome:
    if ending.how == "trailers" and ending.status is not None:
        return Outcome(CODES.get(ending.status, f"code {ending.status}"))
    return Outcome(ending.how)
