"""Where callers connect: one address, whichever allocator is behind it."""

import asyncio
from typing import Final

HOST: Final = "127.0.0.1"
PIECE_BYTES: Final = 65_536


class Door:
    """Passes on, unread, what callers send and are sent. `leads_to` a port of this machine, which may change.

    It listens all the time. To callers an allocator that is replaced by another one behind it is one that closed their
    connection in good order: they connect anew, and are never turned away. gRPC would have them pause after that.
    """

    def __init__(self) -> None:
        self.address = ""
        self.leads_to = 0
        self._passing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._let_in, HOST, 0)
        self.address = f"{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        self._server.close()
        for each in self._passing:
            each.cancel()
        if self._passing:
            await asyncio.wait(self._passing)

    def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passing = asyncio.create_task(self._pass_on(reader, writer))
        self._passing.add(passing)
        passing.add_done_callback(self._passing.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            beyond = await asyncio.open_connection(HOST, self.leads_to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, beyond[1]), _copy(beyond[0], writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one of them ends; then both do."""
    try:
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass  # Whoever sent it, or was to get it, is gone.
    finally:
        writer.close()
