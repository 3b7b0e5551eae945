"""The client that speaks in the words of the domain."""

import copy
from collections.abc import Sequence
from typing import Self

import grpc
from grpc import aio

from earmark.calls.allocations import Allocations
from earmark.calls.catalog import Catalog
from earmark.calls.organizations import Organizations
from earmark.calls.subscriptions import Subscriptions
from earmark.calls.usage import Looking
from earmark.coalescing import Coalescer
from earmark.messages import MessageClient
from earmark.messages.channels import Tls
from earmark.messages.connection import TIMEOUT_SECONDS
from earmark.messages.retrying import Retry

RETRY = Retry()


class Client(Allocations, Subscriptions, Organizations, Catalog, Looking):
    """One method for each RPC; it answers with the types of `earmark.types`, a list or a watch with an async iterator.

        async with Client("127.0.0.1:50051") as client:
            change = await client.enable("my-organization", offering="endpoint-sensor", units=100)
            print(change.balance.available_credits)

    What exists is named by its id or its resource name, what is new by its id. Every method raises EarmarkError, of
    the class of its reason; ValueError and TypeError mean that nothing was sent.

    It is entered once, and used on the event loop that it was entered on. When it is closed, what is still under way
    ends with RuntimeError, as does what is begun later; calls that travel together are finished first.

    What may pass is tried again within the deadline. A mutation keeps its request id, a new one unless one is given,
    so it takes effect at most once.

    addresses: `host:port`, or several of them, in a list or separated by commas: calls go to those that are up.
    actor: who asks, as the ledger will say; the identity of a client certificate goes before it.
    timeout_seconds: the deadline of each call, its retries included.
    retry: how often and when; None: nothing is tried again.
    call_credentials: what gRPC sends with every call, such as a token; over TLS only.
    interceptors: of `grpc.aio`, such as those of OpenTelemetry's instrumentation.
    connections: to each address. More than one reaches several processes that share a port.
    coalesce: whether `enable`, `adjust` and `disable` calls that are made at the same time travel together. Each has
        its own answer all the same; its allocation comes without labels.
    """

    def __init__(  # noqa: PLR0913 - a keyword for each thing that may be chosen
        self,
        addresses: str | Sequence[str],
        *,
        actor: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
        retry: Retry | None = RETRY,
        tls: Tls | None = None,
        call_credentials: grpc.CallCredentials | None = None,
        interceptors: Sequence[aio.ClientInterceptor] = (),
        connections: int = 1,
        coalesce: bool = False,
    ) -> None:
        self._messages = MessageClient(
            addresses,
            actor=actor,
            timeout_seconds=timeout_seconds,
            retry=retry,
            tls=tls,
            call_credentials=call_credentials,
            interceptors=interceptors,
            connections=connections,
        )
        self._coalescer = Coalescer(self._messages) if coalesce else None

    async def __aenter__(self) -> Self:
        await self._messages.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._coalescer:
                await self._coalescer.close()
        finally:
            await self._messages.__aexit__()

    def using(self, *, actor: str | None = None, timeout_seconds: float | None = None) -> Self:
        """The same client over the same connections, for another actor or with another deadline."""
        other = copy.copy(self)
        other._messages = self._messages.using(actor=actor, timeout_seconds=timeout_seconds)
        return other

    @property
    def messages(self) -> MessageClient:
        """The layer below: the same calls, which answer with the messages of the contract."""
        return self._messages
