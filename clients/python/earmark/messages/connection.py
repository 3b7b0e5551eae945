"""The channel to an allocator, and how every call is made."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import grpc

from earmark.errors import EarmarkError

ACTOR_METADATA = "earmark-actor"
TIMEOUT_SECONDS = 10.0
# Earmark is an internal service: what the environment says of a way out to the web does not lead to it.
CHANNEL_OPTIONS = (("grpc.enable_http_proxy", 0),)
# Otherwise gRPC hands every channel to an address the one connection that it has, also a dead one.
OWN_CHANNEL_OPTIONS = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))
NOT_OPEN = "the client is not open: use `async with MessageClient(...) as client`"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Tls:
    """PEM bytes. Without root certificates: gRPC's own. With a client key and its certificate: mutual TLS."""

    root_certificates: bytes | None = None
    client_key: bytes | None = None
    client_certificate: bytes | None = None


class Connection:
    """An async context manager, to be entered once. The services' methods are in its subclasses.

    address: `host:port`.
    actor: who asks, as the ledger will say; the identity of a client certificate goes before it.
    timeout_seconds: the deadline of each call.
    """

    def __init__(
        self,
        address: str,
        *,
        actor: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
        tls: Tls | None = None,
    ) -> None:
        if not (actor.isascii() and actor.isprintable()):
            raise ValueError("the actor may hold printable ASCII characters only")
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._metadata = ((ACTOR_METADATA, actor),) if actor else ()
        self._tls = tls
        self._open_channel: grpc.aio.Channel | None = None
        self._own_channels: set[grpc.aio.Channel] = set()

    async def __aenter__(self) -> Self:
        self._open_channel = self._new_channel(CHANNEL_OPTIONS)
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in [self._channel, *self._own_channels]:
            await channel.close()

    def _new_channel(self, options: Sequence[tuple[str, int]]) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(self._address, options=options)
        credentials = grpc.ssl_channel_credentials(
            self._tls.root_certificates, self._tls.client_key, self._tls.client_certificate
        )
        return grpc.aio.secure_channel(self._address, credentials, options=options)

    @asynccontextmanager
    async def _own_channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """A channel that shares its connection with no other, for one attempt of a watch."""
        if self._open_channel is None:
            raise RuntimeError(NOT_OPEN)
        channel = self._new_channel(OWN_CHANNEL_OPTIONS)
        self._own_channels.add(channel)
        try:
            yield channel
        finally:
            self._own_channels.discard(channel)
            await channel.close()

    @property
    def _channel(self) -> grpc.aio.Channel:
        if self._open_channel is None:
            raise RuntimeError(NOT_OPEN)
        return self._open_channel

    async def _call(
        self, rpc: grpc.aio.UnaryUnaryMultiCallable[Any, Answer], request: Any, request_id: str = ""
    ) -> Answer:
        """Raises EarmarkError."""
        try:
            return await rpc(request, timeout=self._timeout_seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise EarmarkError.from_rpc(error, request_id) from error

    async def _mutate(self, rpc: grpc.aio.UnaryUnaryMultiCallable[Any, Answer], request: Any) -> Answer:
        """A call that carries a request id: the caller's, or a new one."""
        request.request_id = request.request_id or new_request_id()
        return await self._call(rpc, request, request.request_id)

    async def _pages(self, rpc: grpc.aio.UnaryUnaryMultiCallable[Any, Any], request: Any) -> AsyncIterator[Any]:
        """The answers to a list call, page after page."""
        while True:
            page = await self._call(rpc, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def new_request_id() -> str:
    return str(uuid.uuid4())
