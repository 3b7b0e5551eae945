"""Hearing the notices of all processes. What is heard is a hint; that nothing is heard says nothing."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NoReturn

from services.notices.connection import Connection, NotRedis, Outage, Pause, connected
from services.notices.message import read_hint

log = logging.getLogger(__name__)

Hear = Callable[[str, int], None]
"""Told an organization and the revision that somebody says it has. It neither waits nor raises."""

PING_SECONDS: Final = 0.5
SILENCE_SECONDS: Final = 1.5
"""Without a word from Redis, not even an answer to a ping, the connection is taken for dead."""
MESSAGES_AT_A_TIME: Final = 100
"""Then others have their turn, however many more have come."""


class Listener:
    """Listens to every organization. Its connection is looked after, and made anew when it fails."""

    def __init__(self, url: str, prefix: str, hear: Hear) -> None:
        self._url = url
        self._prefix = prefix
        self._hear = hear
        self._pause = Pause()
        self._outage = Outage(log, "notices cannot be heard")
        self.connected = asyncio.Event()
        """While it is set, Redis has told us that we are subscribed."""

    async def run(self) -> NoReturn:
        """For ever."""
        while True:
            try:
                async with connected(self._url) as connection:
                    await self._listen(connection)
            except Exception as error:  # Whatever it is, a new connection is the remedy.
                self._outage.failed(error)
            finally:
                self.connected.clear()
            await self._pause.wait()

    async def _listen(self, connection: Connection) -> None:
        pinging = asyncio.create_task(_ping(connection, self._prefix + "*"))
        try:
            async with asyncio.timeout(SILENCE_SECONDS) as patience:
                while True:
                    for _ in range(MESSAGES_AT_A_TIME):
                        self._take(await connection.read())
                        patience.reschedule(asyncio.get_running_loop().time() + SILENCE_SECONDS)
                    await asyncio.sleep(0)
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)

    def _take(self, answer: object) -> None:
        match answer:
            case [b"pmessage", bytes(), bytes(channel), bytes(payload)]:
                hint = read_hint(self._prefix, channel, payload)
                if hint is not None:
                    self._hear(hint.organization, hint.revision)
            case [b"psubscribe", *_]:
                self._pause.reset()
                self._outage.over()
                self.connected.set()
            case [b"pong", *_]:
                pass
            case _:
                raise NotRedis


async def _ping(connection: Connection, pattern: str) -> NoReturn:
    """Subscribes, and then asks for a sign of life again and again; who reads sees whether one comes."""
    await connection.send(("PSUBSCRIBE", pattern))
    while True:
        await asyncio.sleep(PING_SECONDS)
        await connection.send(("PING",))
