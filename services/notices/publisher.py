"""Publishing what was committed, in the background: no call waits for Redis, whatever Redis does."""

import asyncio
import logging
from collections import OrderedDict
from itertools import islice
from types import TracebackType
from typing import Final

from services.ledger.rules.answers import Balance
from services.notices.connection import Connection, NotRedis, Outage, Pause, connected
from services.notices.message import channel, payload

log = logging.getLogger(__name__)

WAITING_MAX: Final = 10_000
"""Organizations. Of more than that the oldest is dropped; whoever re-publishes will see to it."""
GATHER_SECONDS: Final = 0.005
NOTICES_PER_BATCH: Final = 128
"""Few enough to fit into what the kernel buffers for a connection."""
ANSWER_SECONDS: Final = 1.0
STOP_SECONDS: Final = 1.0


class Publisher:
    """Works from `async with` on; in the end it sends what still waits, for a second at most.

    Of each organization only the newest revision waits. What Redis did not take stays and is sent again.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._waiting: OrderedDict[str, Balance] = OrderedDict()
        self._something_waits = asyncio.Event()
        self._nothing_waits = asyncio.Event()
        self._nothing_waits.set()
        self._pause = Pause()
        self._outage = Outage(log, "notices cannot be published")
        self._task: asyncio.Task[None] | None = None
        self.published = 0
        """Notices that Redis took."""
        self.failures = 0
        """Attempts that came to nothing, of one or many notices."""
        self.dropped = 0
        """Notices given up because too many waited."""

    @property
    def waiting(self) -> int:
        """Notices that are still to be published."""
        return len(self._waiting)

    def publish(self, balance: Balance) -> None:
        """Returns at once and never raises: the notice goes out a few milliseconds later, or when Redis is back."""
        newest = self._waiting.get(balance.organization)
        if newest is not None and newest.revision > balance.revision:
            return
        self._waiting[balance.organization] = balance
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popitem(last=False)
            self.dropped += 1
        self._nothing_waits.clear()
        self._something_waits.set()

    async def __aenter__(self) -> "Publisher":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._nothing_waits.wait()
        except TimeoutError:
            log.warning("stopped with %s notices unpublished", self.waiting)
        finally:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self._something_waits.wait()
            try:
                async with connected(self._url) as connection:
                    await self._publish_over(connection)
            except Exception as error:  # Whatever it is, what waits goes on waiting.
                self.failures += 1
                self._outage.failed(error)
            await self._pause.wait()

    async def _publish_over(self, connection: Connection) -> None:
        while True:
            await self._something_waits.wait()
            await asyncio.sleep(GATHER_SECONDS)
            while batch := list(islice(self._waiting.values(), NOTICES_PER_BATCH)):
                await self._send(connection, batch)
                self._pause.reset()
                self._outage.over()
            self._something_waits.clear()
            self._nothing_waits.set()

    async def _send(self, connection: Connection, batch: list[Balance]) -> None:
        commands = [("PUBLISH", channel(self._prefix, balance.organization), payload(balance)) for balance in batch]
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.send(*commands)
            for balance in batch:
                if not isinstance(await connection.read(), int):
                    raise NotRedis
                self.published += 1
                if self._waiting.get(balance.organization) is balance:  # Else a newer one has come meanwhile.
                    del self._waiting[balance.organization]
