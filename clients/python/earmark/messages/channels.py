"""The connections to the allocators: calls go by turns to those that are up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import grpc
from grpc import aio

READY: Final = grpc.ChannelConnectivity.READY
NOT_OPEN: Final = "the client is not open: use it in a `with` block, `async with` for the async one"
FAILED: Final = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)

CHANNEL_OPTIONS: Final = (
    # Earmark is an internal service: what the environment says of a way out to the web does not lead to it.
    ("grpc.enable_http_proxy", 0),
    # Otherwise gRPC hands every channel to an address the one connection that it has, also a dead one.
    ("grpc.use_local_subchannel_pool", 1),
    # An allocator that is back is found soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    (
        "grpc.service_config",
        # Whoever says that it is NOT_SERVING gets no more calls. gRPC looks at health with this policy only.
        '{"loadBalancingConfig":[{"round_robin":{}}],'
        '"healthCheckConfig":{"serviceName":"earmark.v1.AllocationService"}}',
    ),
)


@dataclass(frozen=True)
class Tls:
    """PEM bytes. Without root certificates: gRPC's own. With a client key and its certificate: mutual TLS.

    server_name: the name in the allocators' certificate, where it is not that of the address.
    Raises ValueError where a key comes without its certificate, or a certificate without its key.
    """

    root_certificates: bytes | None = None
    client_key: bytes | None = field(default=None, repr=False)
    client_certificate: bytes | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.client_key is None) != (self.client_certificate is None):
            raise ValueError("a client key and its certificate go together: give both, or neither")

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.root_certificates, self.client_key, self.client_certificate)


def split_addresses(addresses: str | Sequence[str]) -> tuple[str, ...]:
    """Raises ValueError if there is none, or one is empty."""
    split = tuple(each.strip() for each in (addresses.split(",") if isinstance(addresses, str) else addresses))
    if not split or not all(split):
        raise ValueError(f"{addresses!r}: an address is `host:port`; several are separated by commas, or a list")
    return split


class Channels:
    """One channel or more to each address. Open, use, close; once.

    connections: channels to each address. More than one reaches several processes that share a port.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        tls: Tls | None,
        call_credentials: grpc.CallCredentials | None,
        interceptors: Sequence[aio.ClientInterceptor],
        connections: int,
    ) -> None:
        if call_credentials is not None and tls is None:
            raise ValueError("call credentials are sent over TLS only: give `tls` as well")
        if connections < 1:
            raise ValueError("there must be at least one connection to each address")
        self._addresses = split_addresses(addresses) * connections
        self._tls = tls
        self._call_credentials = call_credentials
        self._interceptors = tuple(interceptors)
        self._open: list[aio.Channel] = []
        self._own: set[aio.Channel] = set()
        self._turns = count()
        self._closed: asyncio.Future[None] | None = None

    @property
    def count(self) -> int:
        return len(self._addresses)

    @property
    def is_open(self) -> bool:
        return self._closed is not None and not self._closed.done()

    def check_open(self) -> None:
        """Raises RuntimeError before it is open, and once it is closed."""
        if not self.is_open:
            raise RuntimeError(NOT_OPEN)

    def open(self) -> None:
        if self._closed is not None:
            raise RuntimeError("a client is entered once: make another one")
        self._closed = asyncio.get_running_loop().create_future()
        self._open = [self._new(address) for address in self._addresses]
        for channel in self._open:
            channel.get_state(try_to_connect=True)

    async def close(self) -> None:
        """Ends the calls that are under way; no more can be made."""
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        await asyncio.gather(*(channel.close() for channel in [*self._open, *self._own]))

    async def until(self, work: "asyncio.Future[Any]", seconds: float) -> bool:
        """Whether it was done within the time; else it is cancelled. Raises RuntimeError if this is closed before."""
        self.check_open()
        assert self._closed is not None
        try:
            await asyncio.wait([work, self._closed], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.check_open()
            return work.done()
        finally:
            if not work.done():
                work.cancel()

    async def pause(self, seconds: float) -> None:
        """Raises RuntimeError as soon as this is closed."""
        await self.until(asyncio.ensure_future(asyncio.sleep(seconds)), seconds + 1)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Callable[..., Awaitable[Any]]:
        """As of a channel; each call goes to one that is up, by turns."""
        methods = [channel.unary_unary(*args, **kwargs) for channel in self._open]
        if len(methods) == 1:
            only: Callable[..., Awaitable[Any]] = methods[0]
            return only

        async def call(request: Any, *, timeout: float, metadata: Any) -> Any:
            begun = asyncio.get_running_loop().time()
            which = await self._pick(timeout)
            left = timeout - (asyncio.get_running_loop().time() - begun)
            return await methods[which](request, timeout=left, metadata=metadata)

        return call

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Stubs ask for it; streams have channels of their own."""
        return None

    def turns(self) -> Iterator[int]:
        """Of one watch: it begins where the calls of all are, and then no other one's attempts skip an address."""
        return count(next(self._turns))

    @asynccontextmanager
    async def own(self, turns: Iterator[int]) -> AsyncIterator[aio.Channel]:
        """A channel for one attempt of a watch, to the address whose turn it is."""
        self.check_open()
        channel = self._new(self._addresses[next(turns) % len(self._addresses)])
        self._own.add(channel)
        try:
            yield channel
        finally:
            self._own.discard(channel)
            await channel.close()

    async def _pick(self, seconds: float) -> int:
        """The next channel that is up. If none is, the first to come up within that time; or any, if all are down."""
        try:
            async with asyncio.timeout(seconds / 2):
                while True:
                    first = next(self._turns)
                    by_turns = [(first + each) % len(self._open) for each in range(len(self._open))]
                    states = {each: self._open[each].get_state(try_to_connect=True) for each in by_turns}
                    ready = next((each for each in by_turns if states[each] is READY), None)
                    if ready is not None:
                        return ready
                    connecting = {each: state for each, state in states.items() if state not in FAILED}
                    if not connecting:
                        return by_turns[0]
                    await self._change(connecting)
        except TimeoutError:
            return next(self._turns) % len(self._open)

    async def _change(self, states: Mapping[int, grpc.ChannelConnectivity]) -> None:
        """Returns when one of these channels is no longer in its state."""
        changes = [asyncio.ensure_future(self._open[each].wait_for_state_change(states[each])) for each in states]
        try:
            await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in changes:
                each.cancel()
            await asyncio.gather(*changes, return_exceptions=True)

    def _new(self, address: str) -> aio.Channel:
        # By their names in the module: that is where instrumentation takes hold of them.
        if self._tls is None:
            return aio.insecure_channel(address, options=CHANNEL_OPTIONS, interceptors=self._interceptors)
        credentials = self._tls.credentials()
        if self._call_credentials is not None:
            credentials = grpc.composite_channel_credentials(credentials, self._call_credentials)
        options: list[tuple[str, Any]] = [*CHANNEL_OPTIONS]
        if self._tls.server_name:
            options.append(("grpc.ssl_target_name_override", self._tls.server_name))
        return aio.secure_channel(address, credentials, options=options, interceptors=self._interceptors)
