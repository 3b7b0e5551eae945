"""What stands before every handler: room, readable bytes, and errors that are always ours."""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, NoReturn, TypeAlias

import grpc
from grpc import aio

from services.allocator.errors import CODES, status_of
from services.allocator.metrics import OK, AllocatorMetrics
from services.ledger.refusals import internal_error
from services.ledger.rules.refusal import FieldViolation, Reason, Refused

log = logging.getLogger(__name__)

OPEN_TO_ALL: Final = "/grpc."
"""Health and reflection answer to the last."""

STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"
"""Where gRPC's own libraries look for a google.rpc.Status."""

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(frozen=True, slots=True)
class Malformed:
    """Stands for a message whose bytes are none."""

    why: str


class Gate(aio.ServerInterceptor):
    """Lets calls and watches in while there is room and the process is not stopping; what fails becomes a refusal."""

    def __init__(self, calls_max: int, watches_max: int, metrics: AllocatorMetrics) -> None:
        self._calls_max = calls_max
        self._watches_max = watches_max
        self._metrics = metrics
        self._calls = 0
        self._watches = 0
        self._call_ended = asyncio.Event()
        self._stopping = False
        self._handlers: dict[str, MethodHandler] = {}
        metrics.count_calls(lambda: self._calls)

    def close(self) -> None:
        """From now on new calls and watches are told to go elsewhere."""
        self._stopping = True

    async def drained(self) -> None:
        """Returns when no call is under way; watches may be."""
        while self._calls:
            self._call_ended.clear()
            await self._call_ended.wait()

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[MethodHandler | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "MethodHandler | None":
        method = handler_call_details.method
        if method in self._handlers:
            return self._handlers[method]
        handler = await continuation(handler_call_details)
        if handler is None:  # Anybody can make up names: they are not kept.
            return None
        self._handlers[method] = self._wrapped(method, handler)
        return self._handlers[method]

    def _wrapped(self, method: str, handler: MethodHandler) -> MethodHandler:
        guarded = not method.startswith(OPEN_TO_ALL)
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._call(method, handler.unary_unary, guarded=guarded),
                request_deserializer=_tolerant(handler.request_deserializer),
                response_serializer=handler.response_serializer,
            )
        if handler.unary_stream is not None and guarded:
            return grpc.unary_stream_rpc_method_handler(
                self._watch(method, handler.unary_stream),
                request_deserializer=_tolerant(handler.request_deserializer),
                response_serializer=_passing_bytes(handler.response_serializer),
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                _open_stream(method, handler.unary_stream, _readable),
                request_deserializer=_tolerant(handler.request_deserializer),
                response_serializer=handler.response_serializer,
            )
        return grpc.stream_stream_rpc_method_handler(
            _open_stream(method, handler.stream_stream, _all_readable),
            request_deserializer=_tolerant(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _call(self, method: str, behavior: Any, *, guarded: bool) -> Any:
        metrics = self._metrics.of(method)

        async def answer(request: Any, context: Context) -> Any:
            if guarded:
                self._check(self._calls, self._calls_max, "calls")
            return await behavior(_readable(method, request), context)

        async def call(request: Any, context: Context) -> Any:
            self._calls += 1
            begun = perf_counter()

            def ended(reason: str) -> None:
                metrics.call_ended(reason, perf_counter() - begun)

            try:
                return await _refusing(method, context, answer(request, context), ended)
            finally:
                self._calls -= 1
                self._call_ended.set()

        return call

    def _watch(self, method: str, behavior: Any) -> Any:
        """Whether the behavior yields its messages or writes them, they are written one after the other."""
        metrics = self._metrics.of(method)
        yields = inspect.isasyncgenfunction(behavior)

        async def answer(request: Any, context: Context) -> None:
            self._check(self._watches, self._watches_max, "watches")
            if not yields:
                await behavior(_readable(method, request), context)
                return
            async with aclosing(behavior(_readable(method, request), context)) as messages:
                async for message in messages:
                    await context.write(message)

        async def watch(request: Any, context: Context) -> None:
            self._watches += 1
            metrics.stream_began()
            try:
                await _refusing(method, context, answer(request, context), metrics.stream_ended)
            finally:
                self._watches -= 1

        return watch

    def _check(self, under_way: int, most: int, what: str) -> None:
        if self._stopping:
            raise stopping()
        if under_way > most:
            raise Refused(
                Reason.TOO_MANY_WAITING,
                f"{most} {what} are under way in this process; nothing was changed, try again in a moment",
                {"waiting": str(most)},
            )


def stopping() -> Refused:
    return Refused(Reason.SHUTTING_DOWN, "this process is stopping; nothing was changed, call another one")


async def _refusing(method: str, context: Context, work: Awaitable[Any], ended: Callable[[str], None]) -> Any:
    """What the work returns; what it raises leaves as a refusal. Before that, `ended` is told OK or the reason."""
    try:
        result = await work
    except Refused as refused:
        ended(refused.reason)
        await _abort(context, refused)
    except asyncio.CancelledError:
        ended("DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED")
        raise
    except aio.AbortError:
        ended(context.code().name)
        raise
    except Exception as error:
        if context.done() and type(error).__module__.startswith("grpc."):  # Nobody was there to take what was sent.
            ended("CANCELLED")
            raise asyncio.CancelledError from error
        ended(Reason.INTERNAL)
        log.exception("%s failed", method)
        await _abort(context, internal_error())
    ended(OK)
    return result


def _readable(method: str, request: Any) -> Any:
    if isinstance(request, Malformed):
        why = f"the bytes sent are no request of {method} ({request.why[:200]})"
        raise Refused(Reason.MALFORMED_MESSAGE, why, violations=(FieldViolation("", why),))
    return request


async def _all_readable(method: str, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _readable(method, request)


def _open_stream(method: str, behavior: Any, read: Callable[[str, Any], Any]) -> Any:
    """Of health or reflection: neither counted nor kept out, but what cannot be read is refused here too."""

    async def answer(sent: Any, context: Context) -> None:
        async with aclosing(behavior(read(method, sent), context)) as messages:
            async for message in messages:
                await context.write(message)

    async def stream(sent: Any, context: Context) -> None:
        await _refusing(method, context, answer(sent, context), lambda _: None)

    return stream


def _tolerant(deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """What cannot be read becomes a value, since a deserializer that raises ends the call as UNKNOWN."""
    if deserializer is None:
        return None

    def deserialize(data: bytes) -> Any:
        try:
            return deserializer(data)
        except Exception as error:
            return Malformed(str(error))

    return deserialize


def _passing_bytes(serializer: Callable[[Any], bytes] | None) -> Callable[[Any], bytes] | None:
    """A message for many watchers is serialized once, by whoever sends it."""
    if serializer is None:
        return None
    return lambda message: message if isinstance(message, bytes) else serializer(message)


async def _abort(context: Context, refused: Refused) -> NoReturn:
    status = status_of(refused)
    details = ((STATUS_DETAILS_KEY, status.SerializeToString()),)
    try:
        await context.abort(CODES[refused.reason], status.message, details)
    except aio.AbortError:
        raise
    except Exception as error:  # Whoever called is gone.
        raise asyncio.CancelledError from error
