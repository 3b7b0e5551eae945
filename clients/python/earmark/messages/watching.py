"""A stream that is taken up again wherever it breaks off."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, cast

import grpc
from google.rpc import error_details_pb2

from earmark.errors import EarmarkError

SILENCE_SECONDS = 30.0
"""Three times as long as an allocator is ever silent, unless its settings say otherwise."""
DELAY_SECONDS_MIN = 0.1
DELAY_SECONDS_MAX = 5.0

# What gRPC itself makes of a connection that is lost, reset or cut off by something in between.
_BROKEN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
)

Message = TypeVar("Message")
OnDisconnect = Callable[[EarmarkError], None]


async def follow(
    attempt: Callable[[], AbstractAsyncContextManager[grpc.aio.UnaryStreamCall[Any, Message]]],
    *,
    silence_seconds: float,
    on_disconnect: OnDisconnect | None,
) -> AsyncGenerator[Message, None]:
    """The messages of one stream after the other, each opened by `attempt`.

    Raises EarmarkError if the first attempt delivers nothing, and for whatever another attempt would not mend.
    """
    delivered, failures = False, 0
    while True:
        try:
            async with attempt() as call:
                while True:
                    message = await _next(call, silence_seconds)
                    delivered, failures = True, 0
                    yield message
        except EarmarkError as error:
            if not (delivered and _may_pass(error)):
                raise
            if on_disconnect:
                on_disconnect(error)
            await asyncio.sleep(_delay_seconds(failures, error))
            failures += 1


async def _next(call: grpc.aio.UnaryStreamCall[Any, Message], silence_seconds: float) -> Message:
    """Raises EarmarkError, also when nothing comes for so long and when the stream just ends."""
    try:
        async with asyncio.timeout(silence_seconds):
            message = await call.read()
    except TimeoutError:
        raise _lost(f"Nothing was heard for {silence_seconds:g} s.") from None
    except grpc.aio.AioRpcError as error:
        raise EarmarkError.from_rpc(error) from error
    if message is grpc.aio.EOF:
        raise _lost("The stream has ended.")
    return cast(Message, message)


def _lost(message: str) -> EarmarkError:
    return EarmarkError(reason="", code=grpc.StatusCode.UNAVAILABLE, message=message, metadata={}, details=())


def _may_pass(error: EarmarkError) -> bool:
    return error.code is grpc.StatusCode.UNAVAILABLE or (not error.reason and error.code in _BROKEN)


def _delay_seconds(failures: int, error: EarmarkError) -> float:
    """Doubled with each failure in a row, up to half of it left to chance; never less than the server asks for."""
    longest = min(DELAY_SECONDS_MAX, DELAY_SECONDS_MIN * (1 << min(failures, 10)))
    asked = [
        float(detail.retry_delay.ToTimedelta().total_seconds())
        for detail in error.details
        if isinstance(detail, error_details_pb2.RetryInfo)
    ]
    return max([longest * random.uniform(0.5, 1), *asked])
