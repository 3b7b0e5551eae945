"""Redis as a program in any language would use it: a bare socket, and JSON; without a Redis library."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from services.admin import embedded

PATIENCE_SECONDS = 10.0


class BareRedis:
    """One connection. `hears` is what was published to it, in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, *words: str | bytes) -> Any:
        """A command, and its answer."""
        raw = [word.encode() if isinstance(word, str) else word for word in words]
        self._writer.write(b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in raw))
        await self._writer.drain()
        return await self.read()

    async def read(self) -> Any:
        line = (await self._reader.readuntil(b"\r\n"))[:-2]
        kind, rest = line[:1], line[1:]
        match kind:
            case b"+":
                return rest
            case b":":
                return int(rest)
            case b"$":
                return (await self._reader.readexactly(int(rest) + 2))[:-2] if rest != b"-1" else None
            case b"*":
                return [await self.read() for _ in range(int(rest))]
        raise AssertionError(line)

    async def hears(self, seconds: float = PATIENCE_SECONDS) -> tuple[str, dict[str, Any]]:
        """The next notice: its channel, and its JSON."""
        async with asyncio.timeout(seconds):
            kind, channel, payload = await self.read()
        assert kind == b"message"
        return channel.decode(), json.loads(payload)

    async def hears_until(self, revision: int, seconds: float = PATIENCE_SECONDS) -> list[int]:
        """The revisions of all notices up to and with that one."""
        heard: list[int] = []
        async with asyncio.timeout(seconds):
            while not heard or heard[-1] != revision:
                heard.append(int((await self.hears(seconds))[1]["revision"]))
        return heard


@asynccontextmanager
async def bare_redis(server: embedded.Server) -> AsyncIterator[BareRedis]:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        yield BareRedis(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def subscribed(server: embedded.Server, *channels: str) -> AsyncIterator[BareRedis]:
    """Hears everything that is published on these channels while the block runs."""
    async with bare_redis(server) as client:
        await client.ask("SUBSCRIBE", *channels)
        for _ in channels[1:]:
            await client.read()
        yield client
