"""How every call is made: to whom, for how long, and what becomes of its errors."""

import asyncio
import copy
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar, cast

import grpc
from grpc import aio

from earmark.errors import EarmarkError
from earmark.messages.channels import Channels, Tls
from earmark.messages.retrying import Retry, may_pass

ACTOR_METADATA: Final = "earmark-actor"
TIMEOUT_SECONDS: Final = 10.0
TIMEOUT_SECONDS_MAX: Final = 86_400.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Manner:
    """How calls are made: who asks, their deadline, and whether they are tried again."""

    actor: str
    timeout_seconds: float
    retry: Retry | None

    def __post_init__(self) -> None:
        if not (self.actor.isascii() and self.actor.isprintable()):
            raise ValueError("the actor may hold printable ASCII characters only")
        if not 0 < self.timeout_seconds <= TIMEOUT_SECONDS_MAX:
            raise ValueError(
                f"a call needs some time: timeout_seconds must be above 0, at most {TIMEOUT_SECONDS_MAX:g}"
            )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return ((ACTOR_METADATA, self.actor),) if self.actor else ()


class Connection:
    """An async context manager, to be entered once. The services' methods are in its subclasses.

    addresses: `host:port`, or several of them, in a list or separated by commas: calls go to those that are up.
    actor: who asks, as the ledger will say; the identity of a client certificate goes before it.
    timeout_seconds: the deadline of each call, its retries included.
    retry: None: nothing is tried again.
    call_credentials: what gRPC sends with every call, such as a token; over TLS only.
    interceptors: of `grpc.aio`, such as those of OpenTelemetry's instrumentation.
    connections: to each address. More than one reaches several processes that share a port.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        actor: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
        retry: Retry | None = None,
        tls: Tls | None = None,
        call_credentials: grpc.CallCredentials | None = None,
        interceptors: Sequence[aio.ClientInterceptor] = (),
        connections: int = 1,
    ) -> None:
        self._manner = Manner(actor, timeout_seconds, retry)
        self._channels = Channels(
            addresses,
            tls=tls,
            call_credentials=call_credentials,
            interceptors=interceptors,
            connections=connections,
        )

    async def __aenter__(self) -> Self:
        self._channels.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channels.close()

    def using(self, *, actor: str | None = None, timeout_seconds: float | None = None) -> Self:
        """The same client over the same connections, for another actor or with another deadline."""
        other = copy.copy(self)
        other._manner = Manner(
            self._manner.actor if actor is None else actor,
            self._manner.timeout_seconds if timeout_seconds is None else timeout_seconds,
            self._manner.retry,
        )
        return other

    @property
    def manner(self) -> Manner:
        return self._manner

    @property
    def _channel(self) -> aio.Channel:
        self._channels.check_open()
        return cast(aio.Channel, self._channels)

    async def _call(self, rpc: aio.UnaryUnaryMultiCallable[Any, Answer], request: Any, request_id: str = "") -> Answer:
        """Raises EarmarkError."""
        clock = asyncio.get_running_loop().time
        end, failures = clock() + self._manner.timeout_seconds, 0
        last: EarmarkError | None = None
        while True:
            try:
                return await self._attempt(rpc, request, request_id, end - clock())
            except EarmarkError as error:
                last = error.after(last)
                failures += 1
                pause = pause_seconds(self._manner.retry, failures, error)
                if pause is None or clock() + pause >= end:
                    raise
            await self._channels.pause(pause)

    async def _attempt(
        self,
        rpc: aio.UnaryUnaryMultiCallable[Any, Answer],
        request: Any,
        request_id: str = "",
        seconds: float | None = None,
    ) -> Answer:
        self._channels.check_open()
        timeout = self._manner.timeout_seconds if seconds is None else seconds
        try:
            return await rpc(request, timeout=timeout, metadata=self._manner.metadata)
        except aio.AioRpcError as error:
            raise EarmarkError.from_rpc(error, request_id) from error
        except (asyncio.CancelledError, aio.UsageError):
            task = asyncio.current_task()
            if task is None or not task.cancelling():  # It is not the caller who wants no more of it.
                self._channels.check_open()
            raise

    async def _mutate(self, rpc: aio.UnaryUnaryMultiCallable[Any, Answer], request: Any) -> Answer:
        """A call that carries a request id: the caller's, or a new one. It stays the same however often it is sent."""
        request.request_id = request.request_id or new_request_id()
        return await self._call(rpc, request, request.request_id)

    async def _pages(self, rpc: aio.UnaryUnaryMultiCallable[Any, Any], request: Any) -> AsyncIterator[Any]:
        """The answers to a list call, page after page."""
        while True:
            page = await self._call(rpc, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def pause_seconds(retry: Retry | None, failures: int, error: EarmarkError) -> float | None:
    """Before the next attempt; None if there is to be none."""
    if retry is None or not may_pass(error) or (retry.attempts_max is not None and failures >= retry.attempts_max):
        return None
    return retry.pause_seconds(failures, error)


def new_request_id() -> str:
    return str(uuid.uuid4())
