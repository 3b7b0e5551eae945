"""A relay between two of the system's processes that can cut, hold back, slow or refuse what goes through it.

It runs in the campaign's own loop and passes on what it gets as it gets it. What it did to whom, it counts in bytes.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final, cast

HOST: Final = "127.0.0.1"
QUEUE_BYTES_MAX: Final = 2**20
"""Of one direction of a link; with more in hand, nothing more is read."""


class Way(Enum):
    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


BOTH: Final = frozenset(Way)


@dataclass(frozen=True, slots=True)
class Cut:
    """What was taken away."""

    links: int
    size: int
    """In bytes: what had come to the relay and did not leave it."""


class Direction:
    """One way of one link: what comes in leaves in the same order, at once or later."""

    def __init__(self, relay: "Relay", link: "Link", way: Way) -> None:
        self._relay = relay
        self._link = link
        self._way = way
        self._queue: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._is_blocked = False
        self._has_ended = False
        self._is_closed = False
        self.is_held = False
        """Apart from what is held of the whole relay."""
        self.waiting = 0
        """Bytes in hand."""
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None

    def take(self, data: bytes) -> None:
        if self._is_closed:
            return
        self._queue.append((asyncio.get_running_loop().time() + self._relay.delay_seconds, data))
        self.waiting += len(data)
        if self._relay.delay_seconds:
            self._relay.bytes_slowed += len(data)
        self.pump()

    def end(self) -> None:
        """Nothing more comes; what is in hand still leaves."""
        self._has_ended = True
        self.pump()

    def block(self, *, blocked: bool) -> None:
        """The target's own buffer is full, or no longer."""
        self._is_blocked = blocked
        self._set_reading()

    def pump(self) -> None:
        """Passes on what may leave by now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        held = self.is_held or self._way in self._relay.held
        while self._queue and self.target is not None and not held:
            due, data = self._queue[0]
            if due > loop.time():
                self._timer = loop.call_at(due, self.pump)
                break
            self._queue.popleft()
            self.waiting -= len(data)
            self._relay.bytes_passed += len(data)
            self.target.write(data)
            self._relay.passed(self._link, self._way, data)
        if self._has_ended and not self._queue and self.target is not None and not held:
            self.target.close()
        self._set_reading()

    def close(self) -> int:
        """Nobody is there to get it any more; so many bytes are lost."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        dropped, self.waiting = self.waiting, 0
        self._queue.clear()
        return dropped

    def _set_reading(self) -> None:
        wanted = self._is_blocked or self.waiting > QUEUE_BYTES_MAX
        if wanted != self._is_paused and self.source is not None and not self.source.is_closing():
            self._is_paused = wanted
            if wanted:
                self.source.pause_reading()
            else:
                self.source.resume_reading()


class End(asyncio.Protocol):
    """One of the two connections of a link."""

    def __init__(self, link: "Link", incoming: Direction, outgoing: Direction) -> None:
        self._link = link
        self._incoming = incoming
        self._outgoing = outgoing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = cast(asyncio.Transport, transport)  # As uvloop's is, without saying so.
        self._incoming.source = self._outgoing.target = connection
        self._link.attached(connection)
        self._outgoing.pump()

    def data_received(self, data: bytes) -> None:
        self._link.received(self._incoming, data)

    def pause_writing(self) -> None:
        self._outgoing.block(blocked=True)

    def resume_writing(self) -> None:
        self._outgoing.block(blocked=False)

    def connection_lost(self, error: Exception | None) -> None:
        self._outgoing.close()
        self._incoming.end()
        self._link.ended()


class Link:
    """A connection of a client, and the one to the server that belongs to it."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self.to_server = Direction(relay, self, Way.TO_SERVER)
        self.to_client = Direction(relay, self, Way.TO_CLIENT)
        self.client = End(self, self.to_server, self.to_client)
        self.server = End(self, self.to_client, self.to_server)
        self._transports: list[asyncio.Transport] = []
        self.is_cut = False

    def attached(self, transport: asyncio.Transport) -> None:
        self._transports.append(transport)
        if self.is_cut:
            transport.abort()
        elif len(self._transports) == 1:
            self._relay.began(self)

    def received(self, direction: Direction, data: bytes) -> None:
        if not self.is_cut:
            way = Way.TO_SERVER if direction is self.to_server else Way.TO_CLIENT
            self._relay.received(self, direction, way, data)

    def cut(self) -> int:
        """Both ends lose their connection at once; so many bytes did not leave any more."""
        self.is_cut = True
        for transport in self._transports:
            transport.abort()
        self._relay.links.discard(self)
        return self.to_server.close() + self.to_client.close()

    def ended(self) -> None:
        if all(each.is_closing() for each in self._transports) and len(self._transports) == 2:
            self._relay.links.discard(self)


class Relay:
    """From a port of its own, which stays the same, to a target, which may change."""

    def __init__(self, name: str, target: tuple[str, int]) -> None:
        self.name = name
        self.target = target
        self.links: set[Link] = set()
        self.delay_seconds = 0.0
        """Of each piece, both ways."""
        self.held: frozenset[Way] = frozenset()
        self.bytes_passed = 0
        self.bytes_slowed = 0
        self._is_shut = False
        self._server: asyncio.Server | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self._cut_at: dict[Way, asyncio.Future[Cut]] = {}
        self.port = 0

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def bytes_waiting(self) -> int:
        """Come to the relay, and not passed on yet."""
        return sum(each.to_server.waiting + each.to_client.waiting for each in self.links)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: self._new_link().client, HOST, 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.shut()
        if self._server is not None:
            self._server.close()
        for task in self._connecting:
            task.cancel()
        await asyncio.sleep(0)

    def point_to(self, target: tuple[str, int]) -> Cut:
        """New links lead there; the old ones are cut."""
        self.target = target
        return self.cut()

    def cut(self) -> Cut:
        """Every link there is; new ones may be made."""
        links = list(self.links)
        return Cut(len(links), sum(link.cut() for link in links))

    async def cut_at_next(self, way: Way, seconds: float) -> Cut:
        """Cuts every link when the next piece comes that goes this way, which is lost; 0 bytes if none comes in time.

        Then it cuts nothing.
        """
        self._cut_at[way] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(self._cut_at[way], seconds)
        except TimeoutError:
            return Cut(0, 0)
        finally:
            self._cut_at.pop(way, None)

    def stall(self, ways: frozenset[Way] = BOTH) -> None:
        """Keeps what comes until `resume`; connections are made all the same."""
        self.held = ways

    def resume(self) -> None:
        self.held = frozenset()
        for link in list(self.links):
            link.to_server.pump()
            link.to_client.pump()

    def shut(self) -> Cut:
        """Cuts every link, and each new one at once, until `open`."""
        self._is_shut = True
        return self.cut()

    def open(self) -> None:
        self._is_shut = False

    def began(self, link: Link) -> None:
        if self._is_shut:
            link.cut()
            return
        self.links.add(link)
        task = asyncio.get_running_loop().create_task(self._connect(link))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def received(self, link: Link, direction: Direction, way: Way, data: bytes) -> None:
        waiting = self._cut_at.get(way)
        if link.is_cut:
            return
        if waiting is not None and not waiting.done():
            cut = self.cut()
            waiting.set_result(Cut(cut.links, cut.size + len(data)))
            return
        direction.take(data)

    def passed(self, link: Link, way: Way, data: bytes) -> None:
        """It has left."""

    def _new_link(self) -> Link:
        return Link(self)

    async def _connect(self, link: Link) -> None:
        with suppress(OSError):
            await asyncio.get_running_loop().create_connection(lambda: link.server, *self.target)
            return
        link.cut()
