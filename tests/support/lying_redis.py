"""Something at Redis's address that is no Redis, or one that has gone mad."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

LIES: Final[dict[str, bytes | None]] = {
    "closes": None,
    "silence": b"",
    "garbage": b"\x00\xff{]\r\n" * 100,
    "half a number": b"$99999999999\r\nabc",
    "a line without end": b"+" * 200_000,
    "yes to everything": b"+OK\r\n" * 10_000,
    "errors": b"-ERR gone mad\r\n" * 100,
    "errors of connections": b"-LOADING Redis is loading the dataset in memory\r\n" * 100,
    "web": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
}


@asynccontextmanager
async def lying_redis(lie: bytes | None, port: int = 0) -> AsyncIterator[int]:
    """Says this to whoever connects, and nothing more; None hangs up at once. Yields the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def lie_to(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if lie is not None:
                writer.write(lie)
                while await reader.read(65536):
                    pass
        except OSError:
            pass
        finally:
            writer.transport.abort()

    def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(lie_to(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(met, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
