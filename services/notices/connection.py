"""A connection to Redis that is never waited for longer than said, and the log of how it fails."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from redis.asyncio.connection import ConnectionPool
from redis.exceptions import ConnectionError as NoConnection

CONNECT_SECONDS: Final = 1.0
UNSENT_SECONDS: Final = 5
"""What Redis has not taken by then is thrown away together with its connection, closed by us or not."""
PAUSE_SECONDS: Final = 0.05
PAUSE_SECONDS_MAX: Final = 0.5
"""Between two attempts. With CONNECT_SECONDS it is less than the 2 s in which notices catch up."""
SILENCE_IN_LOG_SECONDS: Final = 60.0
REASON_CHARACTERS_MAX: Final = 200


class NotRedis(Exception):
    """The answer is none that Redis would give."""


class Connection:
    """Commands and answers, one after the other. Whoever uses it brings the time limit."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def send(self, *commands: Sequence[str]) -> None:
        await self._connection.send_packed_command(self._connection.pack_commands(commands))

    async def read(self) -> object:
        """The next answer: bytes, an int, a list of these, or None. Raises what redis-py raises."""
        answer: object = await self._connection.read_response()
        return answer


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A new connection while the block runs; within CONNECT_SECONDS, or it raises."""
    pool: Any = ConnectionPool.from_url(
        url,
        protocol=2,
        socket_timeout=None,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_keepalive=True,
        socket_keepalive_options=_give_up_unsent(),
    )
    connection = pool.make_connection()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await connection.connect()
        yield Connection(connection)
    finally:
        with suppress(Exception):  # It is given up, whatever is wrong with it.
            await connection.disconnect(nowait=True)


class Pause:
    """How long to wait before the next attempt: longer each time."""

    def __init__(self) -> None:
        self._seconds = PAUSE_SECONDS

    def reset(self) -> None:
        self._seconds = PAUSE_SECONDS

    async def wait(self) -> None:
        seconds, self._seconds = self._seconds, min(2 * self._seconds, PAUSE_SECONDS_MAX)
        await asyncio.sleep(seconds)


class Outage:
    """Says in a log that something fails: at most once a minute, and once that it is over."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._silent_until = 0.0
        self._said = False

    def failed(self, error: BaseException) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._silent_until:
            self._silent_until = now + SILENCE_IN_LOG_SECONDS
            self._said = True
            self._log.warning("%s; trying again: %s", self._what, _reason(error))

    def over(self) -> None:
        if self._said:
            self._said = False
            self._log.info("%s: that is over", self._what)


def _reason(error: BaseException) -> str:
    """Of what Redis itself said no more than the kind: it may repeat what it was sent, a password included."""
    if type(error) is NoConnection or isinstance(error, OSError):
        return str(error)[:REASON_CHARACTERS_MAX] or "no answer in time"
    return type(error).__name__


def _give_up_unsent() -> dict[int, int]:
    """Else closing a connection to a Redis that reads nothing would keep what is unsent for as long as that lasts."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux knows it.
    return {option: 1000 * UNSENT_SECONDS} if option else {}
