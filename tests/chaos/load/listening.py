"""The listener: hears all notices from Redis itself, says when it cannot, and lets some of them be looked into."""

import asyncio
import time
from typing import Final, NoReturn

from google.protobuf.json_format import Parse

from earmark import names
from earmark.v1.notice_pb2 import Notice
from earmark.v1.organization_service_pb2 import GetOrganizationRequest
from services.notices.connection import Connection, NotRedis, connected
from tests.chaos.history import Heard
from tests.chaos.load.calling import Client, Way
from tests.chaos.load.recording import Recorder, Wish, as_dict

PING_SECONDS: Final = 0.15
SILENCE_SECONDS: Final = 0.5
PAUSE_SECONDS: Final = 0.05
LOOK_SECONDS: Final = 0.2
"""Between two looks of one who looks."""
ANSWER_SECONDS: Final = 3.0


class Listener:
    """Its connection is made anew within a second of its death, once Redis is there."""

    def __init__(self, url: str, prefix: str, recorder: Recorder) -> None:
        self._url = url
        self._prefix = prefix
        self._recorder = recorder
        self._alive = 0.0
        """When Redis last gave a sign of life."""
        self._wanted: set[asyncio.Future[Notice]] = set()
        self.connected = asyncio.Event()

    async def next(self) -> Notice:
        """The next notice that comes."""
        wanted: asyncio.Future[Notice] = asyncio.get_running_loop().create_future()
        self._wanted.add(wanted)
        return await wanted

    async def run(self) -> NoReturn:
        """For ever."""
        while True:
            try:
                async with connected(self._url) as connection:
                    await self._listen(connection)
            except Exception:  # Whatever it is, a new connection is the remedy.
                pass
            finally:
                if self.connected.is_set():
                    self.connected.clear()
                    # It may have been dead since then.
                    self._recorder.heard(Heard(self._alive, "disconnected", "", 0, None))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _listen(self, connection: Connection) -> None:
        pinging = asyncio.create_task(_ping(connection, self._prefix + "*"))
        try:
            async with asyncio.timeout(SILENCE_SECONDS) as patience:
                while True:
                    self._take(await connection.read())
                    patience.reschedule(asyncio.get_running_loop().time() + SILENCE_SECONDS)
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)

    def _take(self, answer: object) -> None:
        self._alive = time.monotonic()
        match answer:
            case [b"pmessage", bytes(), bytes(), bytes(payload)]:
                self._hear(payload)
            case [b"psubscribe", *_]:
                self.connected.set()
                self._recorder.heard(Heard(self._alive, "connected", "", 0, None))
            case [b"pong", *_]:
                pass
            case _:
                raise NotRedis

    def _hear(self, payload: bytes) -> None:
        notice = Parse(payload, Notice())
        organization = names.id_of(notice.organization)
        self._recorder.heard(Heard(self._alive, "notice", organization, notice.revision, as_dict(notice.balance)))
        for wanted in self._wanted:
            if not wanted.done():
                wanted.set_result(notice)
        self._wanted.clear()


async def look_after_notices(listener: Listener, client: Client, way: Way) -> NoReturn:
    """Reads the organization of a notice as soon as it is heard: what it says must be there. For ever."""
    while True:
        notice = await listener.next()
        wish = Wish(
            "GetOrganization", names.id_of(notice.organization), GetOrganizationRequest(name=notice.organization)
        )
        await client.make(wish, way, ANSWER_SECONDS, actor=f"after-notice:{notice.revision}")
        await asyncio.sleep(LOOK_SECONDS)


async def _ping(connection: Connection, pattern: str) -> NoReturn:
    """Subscribes, and then asks for a sign of life again and again; who reads sees whether one comes."""
    await connection.send(("PSUBSCRIBE", pattern))
    while True:
        await asyncio.sleep(PING_SECONDS)
        await connection.send(("PING",))
