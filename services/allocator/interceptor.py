"""What stands before every handler: room, readable bytes, and errors that are always ours."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
from grpc import aio
from grpc_status import rpc_status

from services.allocator.errors import status_of
from services.ledger.lane import internal_error
from services.ledger.rules.refusal import FieldViolation, Reason, Refused

log = logging.getLogger(__name__)

OPEN_TO_ALL: Final = "/grpc."
"""Health and reflection answer to the last."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """Stands for a message whose bytes are none."""

    why: str


class Gate(aio.ServerInterceptor):
    """Lets calls in while there is room and the process is not stopping, and turns what fails into a refusal."""

    def __init__(self, calls_max: int) -> None:
        self._calls_max = calls_max
        self._calls = 0
        self._stopping = False

    def close(self) -> None:
        """From now on new calls are told to go elsewhere."""
        self._stopping = True

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = handler_call_details.method
        guarded = not method.startswith(OPEN_TO_ALL)
        return grpc.unary_unary_rpc_method_handler(
            self._wrapped(method, handler.unary_unary, guarded=guarded),
            request_deserializer=_tolerant(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _wrapped(self, method: str, behavior: Any, *, guarded: bool) -> Any:
        async def call(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
            self._calls += 1
            try:
                if guarded:
                    self._check()
                if isinstance(request, Malformed):
                    raise _malformed(method, request)
                return await behavior(request, context)
            except Refused as refused:
                await _abort(context, refused)
            except (asyncio.CancelledError, aio.AbortError):
                raise
            except Exception:
                log.exception("%s failed", method)
                await _abort(context, internal_error())
            finally:
                self._calls -= 1

        return call

    def _check(self) -> None:
        if self._stopping:
            raise Refused(Reason.SHUTTING_DOWN, "this process is stopping; nothing was changed, call another one")
        if self._calls > self._calls_max:
            raise Refused(
                Reason.TOO_MANY_WAITING,
                f"{self._calls_max} calls are under way in this process; nothing was changed, try again in a moment",
                {"waiting": str(self._calls_max)},
            )


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


def _malformed(method: str, malformed: Malformed) -> Refused:
    why = f"the bytes sent are no request of {method} ({malformed.why[:200]})"
    return Refused(Reason.MALFORMED_MESSAGE, why, violations=(FieldViolation("", why),))


async def _abort(context: aio.ServicerContext[Any, Any], refused: Refused) -> None:
    status = rpc_status.to_status(status_of(refused))
    context.set_trailing_metadata(tuple(status.trailing_metadata or ()))
    await context.abort(status.code, status.details or "", tuple(status.trailing_metadata or ()))
