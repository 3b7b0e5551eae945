"""A port that connections come in by, and that can cut them, be dead or say nothing."""

import asyncio
from enum import Enum, auto
from typing import Final

HOST: Final = "127.0.0.1"
PIECE_BYTES: Final = 2**16


class Manner(Enum):
    """How it treats who comes."""

    OPEN = auto()
    DEAD = auto()
    """Every connection is closed at once."""
    MUTE = auto()
    """Connections are accepted, and nothing is ever said."""


class Door:
    """Relays bytes to `target`, a port of this machine that may be another one for each new connection."""

    def __init__(self) -> None:
        self.target = 0
        self.port = 0
        self._manner = Manner.OPEN
        self._server: asyncio.Server | None = None
        self._links: dict[int, asyncio.StreamWriter] = {}
        """The caller's side of each connection, by the port that the target sees it come from."""
        self._callers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut_all()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def become(self, manner: Manner) -> None:
        """Other than before: connections that there are end."""
        if manner is not self._manner:
            self._manner = manner
            self.cut_all()

    def cut(self, peer: str) -> None:
        """The connection that the target sees come from `peer`, as gRPC writes it: `ipv4:127.0.0.1:4711`."""
        caller = self._links.get(int(peer.rpartition(":")[2]))
        if caller is not None:
            caller.transport.abort()

    def cut_all(self) -> None:
        for caller in list(self._callers):
            caller.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._callers.add(writer)
        try:
            if self._manner is Manner.OPEN:
                await self._relay(reader, writer)
            elif self._manner is Manner.MUTE:
                while await reader.read(PIECE_BYTES):
                    pass
        except OSError:  # One side is gone, and so goes the other.
            pass
        finally:
            writer.transport.abort()
            self._callers.discard(writer)
            self._tasks.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection(HOST, self.target)
        port = target_writer.get_extra_info("sockname")[1]
        self._links[port] = writer
        pumps = [asyncio.create_task(each) for each in (_pump(reader, target_writer), _pump(target_reader, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            target_writer.transport.abort()
            writer.transport.abort()
            del self._links[port]
            await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until either side ends."""
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
