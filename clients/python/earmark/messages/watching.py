"""A stream that is taken up again wherever it breaks off."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, cast

import grpc

from earmark.errors import EarmarkError
from earmark.messages.retrying import Retry, may_pass

SILENCE_SECONDS = 30.0
"""Three times as long as an allocator is ever silent, unless its settings say otherwise."""
PAUSES = Retry(initial_seconds=0.1, max_seconds=5.0)

Message = TypeVar("Message")
OnDisconnect = Callable[[EarmarkError], None]


async def follow(
    attempt: Callable[[], AbstractAsyncContextManager[grpc.aio.UnaryStreamCall[Any, Message]]],
    *,
    first_seconds: float,
    silence_seconds: float,
    on_disconnect: OnDisconnect | None,
) -> AsyncGenerator[Message, None]:
    """The messages of one stream after the other, each opened by `attempt`.

    Raises EarmarkError if nothing could be had within `first_seconds`, and for whatever another attempt would not mend.
    """
    clock = asyncio.get_running_loop().time
    delivered, failures, patient_until = False, 0, clock() + first_seconds
    while True:
        try:
            async with attempt() as call:
                while True:
                    message = await _next(call, silence_seconds)
                    delivered, failures = True, 0
                    yield message
        except EarmarkError as error:
            failures += 1
            pause = PAUSES.pause_seconds(failures, error)
            if not may_pass(error) or not (delivered or clock() + pause < patient_until):
                raise
            if on_disconnect:
                on_disconnect(error)
            await asyncio.sleep(pause)


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
    return EarmarkError.of("", grpc.StatusCode.UNAVAILABLE, message)
