"""A stream that is taken up again wherever it breaks off."""

import asyncio
import copy
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, cast

import grpc

from earmark.errors import EarmarkError
from earmark.messages.channels import Channels
from earmark.messages.connection import Manner
from earmark.messages.retrying import Retry, may_pass

SILENCE_SECONDS = 30.0
"""Three times as long as an allocator is ever silent, unless its settings say otherwise."""
PAUSES = Retry(initial_seconds=0.1, max_seconds=5.0)

Message = TypeVar("Message")
OnDisconnect = Callable[[EarmarkError], None]


async def follow(
    attempt: Callable[[], AbstractAsyncContextManager[grpc.aio.UnaryStreamCall[Any, Message]]],
    channels: Channels,
    manner: Manner,
    *,
    silence_seconds: float,
    on_disconnect: OnDisconnect | None,
) -> AsyncGenerator[Message, None]:
    """The messages of one stream after the other, each opened by `attempt`.

    Raises EarmarkError if nothing could be had within the deadline of a call, and for whatever another attempt would
    not mend; RuntimeError when the client is closed.
    """
    clock = asyncio.get_running_loop().time
    told: EarmarkError | None = None
    delivered, failures, begin_until = False, 0, clock() + manner.timeout_seconds
    # A server that says nothing must leave time for the others.
    first_seconds = manner.timeout_seconds / (channels.count if manner.retry else 1)
    while True:
        try:
            async with attempt() as call:
                while True:
                    patience = silence_seconds
                    if not delivered:
                        patience = min(silence_seconds, first_seconds, max(0.0, begin_until - clock()))
                    message = await _next(call, channels, patience)
                    delivered, failures, told = True, 0, None
                    yield message
        except EarmarkError as error:
            failures += 1
            pause = PAUSES.pause_seconds(failures, error)
            goes_on = delivered or (manner.retry is not None and clock() + pause < begin_until)
            if not (goes_on and _is_mended(error)):
                raise (told if told is not None and _is_silence(error) else error) from error.__cause__
            if error.reason:
                told = copy.copy(error)  # Without its cause, which would keep the connection alive.
            if on_disconnect:
                on_disconnect(error)
            await channels.pause(pause)


async def _next(call: grpc.aio.UnaryStreamCall[Any, Message], channels: Channels, seconds: float) -> Message:
    """Raises EarmarkError, also when nothing comes for so long and when the stream just ends."""
    reading = asyncio.ensure_future(call.read())
    if not await channels.until(reading, seconds):
        raise _lost(f"Nothing was heard for {seconds:g} s.")
    try:
        message = reading.result()
    except grpc.aio.AioRpcError as error:
        raise EarmarkError.from_rpc(error) from error
    except asyncio.CancelledError:
        channels.check_open()
        raise
    finally:
        del reading  # It holds its error, whose traceback holds this frame: the call would live until it is collected.
    if message is grpc.aio.EOF:
        raise _lost("The stream has ended.")
    return cast(Message, message)


def _is_silence(error: EarmarkError) -> bool:
    """That nobody was heard in the end says less than what was heard before."""
    return not error.reason and error.code is grpc.StatusCode.UNAVAILABLE


def _is_mended(error: EarmarkError) -> bool:
    """Whether another attempt may mend it. A stream has no deadline of ours: somebody in between had enough of it."""
    return may_pass(error) or (not error.reason and error.code is grpc.StatusCode.DEADLINE_EXCEEDED)


def _lost(message: str) -> EarmarkError:
    return EarmarkError.of("", grpc.StatusCode.UNAVAILABLE, message)
