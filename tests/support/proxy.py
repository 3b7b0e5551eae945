"""A relay between a pool and Postgres that can cut, hold or slow a connection at one statement and no other.

It reads what the client sends message by message, so "exactly when COMMIT passes" is exact.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from urllib.parse import urlsplit, urlunsplit

SSL_REQUEST = 80877103
READY_FOR_QUERY = b"Z"
BIND = b"B"
SYNC = b"S"
COMMENT = re.compile(r"--[^\n]*")


class Fate(Enum):
    CUT_BEFORE = auto()
    """Postgres never sees the statement; the client loses its connection."""
    CUT_AFTER = auto()
    """Postgres has carried the statement out; the client loses its connection without an answer."""
    CUT_MEANWHILE = auto()
    """The client loses its connection at once; Postgres sees the statement when the trap is released."""
    HOLD_BEFORE = auto()
    """The statement waits in the relay until the trap is released."""
    HOLD_AFTER = auto()
    """Postgres has carried the statement out; its answer waits in the relay until the trap is released."""


@dataclass(eq=False)
class Trap:
    """Waits for one statement."""

    statement: str
    fate: Fate
    for_good: bool
    """Whether nothing is relayed any more from then on."""
    run: bool
    """Whether it waits for the statement to be run, which one that was prepared once can be often."""
    sprung: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Postgres has carried the statement out."""

    def release(self) -> None:
        self.released.set()


@dataclass(eq=False)
class Link:
    """One client's connection, relayed."""

    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    held: Trap | None = None
    """Springs, or has sprung already, when Postgres's next answer is complete."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing comes from Postgres any more."""
    prepared: dict[str, str] = field(default_factory=dict)
    """Statements by the names that the client gave them."""

    def cut(self) -> None:
        for _, writer in (self.client, self.server):
            writer.transport.abort()


class Proxy:
    """Relays to `url`; `self.url` is the same database by way of this relay."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._parts = parts
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._is_shut = False
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._traps: list[Trap] = []
        self._set: list[Trap] = []
        self.delay_seconds = 0.0
        """Before each piece that is relayed, in both directions."""
        self.seen: list[str] = []
        """Every statement that Postgres was sent, in order; one that is prepared once and run often is here once."""
        self.runs: list[str] = []
        """Every prepared statement as often as Postgres was told to run it, in order."""

    @property
    def url(self) -> str:
        user = f"{self._parts.username}@" if self._parts.username else ""
        return urlunsplit(self._parts._replace(netloc=f"{user}127.0.0.1:{self._port}"))

    def count(self, statement: str) -> int:
        return sum(each.startswith(statement) for each in self.seen)

    def count_runs(self, statement: str) -> int:
        """How often a prepared statement that begins so was run."""
        return sum(each.startswith(statement) for each in self.runs)

    def at(self, statement: str, fate: Fate, *, for_good: bool = False, run: bool = False) -> Trap:
        """Sets a trap for the next statement that begins so: as it is sent, or as it is run once prepared."""
        trap = Trap(statement, fate, for_good, run)
        self._traps.append(trap)
        self._set.append(trap)
        return trap

    async def open(self) -> None:
        """Relays, at the same port as before: it is kept all the time, or somebody else might take it."""
        if self._server is None:
            self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
            self._port = self._server.sockets[0].getsockname()[1]
        self._is_shut = False

    def shut(self) -> None:
        """Cuts every connection, and new ones at once."""
        self._is_shut = True
        for link in list(self._links):
            link.cut()

    def let_go(self) -> None:
        """Takes all traps away; nothing is held any more."""
        self._traps.clear()
        for trap in self._set:
            trap.release()

    async def close(self) -> None:
        self.let_go()
        self.shut()
        if self._server is not None:
            self._server.close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_shut:
            writer.transport.abort()
            return
        try:
            server = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        link = Link((reader, writer), server)
        self._links.add(link)
        for direction in (self._to_server(link), self._to_client(link)):
            task = asyncio.create_task(self._guarded(link, direction))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _guarded(self, link: Link, direction: AsyncIterator[None]) -> None:
        try:
            async for _ in direction:
                await asyncio.sleep(self.delay_seconds)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            link.cut()
            self._links.discard(link)

    async def _to_server(self, link: Link) -> AsyncIterator[None]:
        reader, writer = link.client[0], link.server[1]
        startup = b""
        while not startup or int.from_bytes(startup[4:8], "big") == SSL_REQUEST:
            length = await reader.readexactly(4)
            startup = length + await reader.readexactly(int.from_bytes(length, "big") - 4)
            writer.write(startup)
        while True:
            message = await _message(reader)
            statement, run = _statement(link, message)
            part = message
            while run and part[:1] != SYNC:  # Nobody waits for the rest of it, whatever becomes of the client.
                part = await _message(reader)
                message += part
            if await self._passes(link, statement, run):
                writer.write(message)
                await writer.drain()
            if link.held is not None and link.held.fate is Fate.CUT_MEANWHILE:
                await link.ended.wait()
            yield

    async def _passes(self, link: Link, statement: str, run: bool) -> bool:
        """Springs the trap that waits for this statement, if there is one; False if the statement ends here."""
        waiting = (each for each in self._traps if each.run is run and statement.startswith(each.statement))
        trap = next(waiting, None) if statement else None
        if trap is not None:
            self._traps.remove(trap)
            if trap.fate is Fate.CUT_BEFORE:
                self._spring(trap, link)
                return False
            if trap.fate in (Fate.HOLD_BEFORE, Fate.CUT_MEANWHILE):
                self._spring(trap, link)
                await trap.released.wait()
            link.held = trap
        if statement:
            (self.runs if run else self.seen).append(statement)
        return True

    def _spring(self, trap: Trap, link: Link) -> None:
        trap.sprung.set()
        if trap.fate is Fate.CUT_MEANWHILE:
            link.client[1].transport.abort()
        elif trap.fate in (Fate.CUT_BEFORE, Fate.CUT_AFTER):
            link.cut()
        if trap.for_good:
            self.shut()

    async def _to_client(self, link: Link) -> AsyncIterator[None]:
        reader, writer = link.server[0], link.client[1]
        try:
            while piece := await reader.read(65536):
                trap = link.held
                # An answer ends with ReadyForQuery, six bytes: Z, its length, the transaction's state.
                if trap is not None and piece[-6:-5] == READY_FOR_QUERY:
                    link.held = None
                    trap.answered.set()
                    if trap.fate in (Fate.CUT_AFTER, Fate.HOLD_AFTER):
                        self._spring(trap, link)
                    if trap.fate in (Fate.CUT_AFTER, Fate.CUT_MEANWHILE):
                        return
                    await trap.released.wait()
                writer.write(piece)
                await writer.drain()
                yield
        finally:
            link.ended.set()


@asynccontextmanager
async def relayed(url: str) -> AsyncIterator[Proxy]:
    """A relay that is open at first."""
    proxy = Proxy(url)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4)


def _statement(link: Link, message: bytes) -> tuple[str, bool]:
    """The SQL of a Query, Parse or Bind message, empty for all others; and whether it is a Bind, which runs it.

    It is in one line, without comments.
    """
    if message[:1] == b"Q":
        return _in_one_line(message[5:-1]), False
    if message[:1] == b"P":
        name, statement, _ = message[5:].split(b"\0", 2)
        link.prepared[name.decode()] = _in_one_line(statement)
        return link.prepared[name.decode()], False
    if message[:1] == BIND:
        return link.prepared[message[5:].split(b"\0", 2)[1].decode()], True
    return "", False


def _in_one_line(statement: bytes) -> str:
    return " ".join(COMMENT.sub("", statement.decode()).split())
