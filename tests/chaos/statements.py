"""A relay to Postgres that knows which statements are without an answer, and which of them are commits.

It reads along, message by message, and changes nothing; only a commit that somebody waits for can be caught.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tests.chaos.relay import Direction, Link, Relay, Way

ENCRYPTION_REQUESTS: Final = (80877103, 80877104)
READY_FOR_QUERY: Final = b"Z\0\0\0\5"
READY_BYTES: Final = 6
ASKS: Final = (b"Q", b"P", b"B")
IDLE: Final = b"I"
WRITES_ENTRIES: Final = re.compile(rb"INSERT\s+INTO\s+entry\b")
COMMIT: Final = re.compile(rb"\s*(COMMIT|END)\b", re.IGNORECASE)


class Moment(Enum):
    BEFORE = "before Postgres saw it"
    """It never sees it."""
    SENT = "as Postgres was told"
    ANSWERED = "after it was carried out, before the answer arrived"
    """The answer never arrives, unless the link lives on."""


@dataclass(frozen=True, slots=True)
class InFlight:
    statements: int
    commits: int

    def __add__(self, other: "InFlight") -> "InFlight":
        return InFlight(self.statements + other.statements, self.commits + other.commits)

    def __sub__(self, other: "InFlight") -> "InFlight":
        return InFlight(self.statements - other.statements, self.commits - other.commits)

    def __str__(self) -> str:
        return f"{self.statements} statements in flight, {self.commits} of them commits"


NOTHING: Final = InFlight(0, 0)


class Tail:
    """Finds the ends of answers in what Postgres sends."""

    def __init__(self) -> None:
        self._last = b""

    def is_at_end(self, data: bytes) -> bool:
        """Whether, with these bytes, an answer is complete."""
        self._last = (self._last + data[-READY_BYTES:])[-READY_BYTES:]
        return self._last.startswith(READY_FOR_QUERY)


class Talk(Link):
    """One connection to Postgres."""

    def __init__(self, relay: "PostgresRelay") -> None:
        super().__init__(relay)
        self._unread = bytearray()
        self._arrived = Tail()
        self._left = Tail()
        self._has_begun = False
        self._prepared: dict[bytes, bool] = {}
        self._writes = False
        self._state = IDLE
        self.is_running = False
        self.is_committing = False
        self._has_lost = False

    def cut(self) -> int:
        self._lose()
        return super().cut()

    def ended(self) -> None:
        self._lose()
        super().ended()

    def read_client(self, data: bytes) -> bool:
        """Whether, with these bytes, a commit is on its way."""
        was_committing = self.is_committing
        self._unread += data
        while (message := self._message()) is not None:
            self._take(message)
        return self.is_committing and not was_committing

    def answer_arrived(self, data: bytes) -> bool:
        """Whether, with these bytes, whatever was asked is answered as far as this relay."""
        return self._arrived.is_at_end(data)

    def answer_left(self, data: bytes) -> None:
        if self._left.is_at_end(data):
            self._state = data[-1:]
            self.is_running = self.is_committing = self._writes = False

    def _lose(self) -> None:
        """Whatever it was asked stays without an answer."""
        if not self._has_lost and isinstance(self._relay, PostgresRelay):
            self._has_lost = True
            self._relay.unanswered += InFlight(int(self.is_running), int(self.is_committing))

    def _message(self) -> bytes | None:
        head = 1 if self._has_begun else 0
        if len(self._unread) < head + 4:
            return None
        size = head + int.from_bytes(self._unread[head : head + 4], "big")
        if len(self._unread) < size:
            return None
        message = bytes(self._unread[:size])
        del self._unread[:size]
        return message

    def _take(self, message: bytes) -> None:
        if not self._has_begun:
            self._has_begun = int.from_bytes(message[4:8], "big") not in ENCRYPTION_REQUESTS
            return
        kind = message[:1]
        self.is_running = self.is_running or kind in ASKS
        if kind == b"Q":
            self.is_committing = COMMIT.match(message, 5) is not None
        elif kind == b"P":
            name, statement, _ = message[5:].split(b"\0", 2)
            self._prepared[name] = WRITES_ENTRIES.search(statement) is not None
        elif kind == b"B":
            self._writes |= self._prepared.get(message[5:].split(b"\0", 2)[1], False)
        elif kind == b"S":
            self.is_committing = self._writes and self._state == IDLE


@dataclass(eq=False)
class Catch:
    """Waits for one commit."""

    moment: Moment
    act: Callable[[], None]
    caught: asyncio.Future[InFlight]
    talk: Talk | None = None
    """Whose answer it waits for."""


class PostgresRelay(Relay):
    """Its links are Talks."""

    def __init__(self, name: str, target: tuple[str, int]) -> None:
        super().__init__(name, target)
        self._catch: Catch | None = None
        self.on_commit: Callable[[], None] = lambda: None
        """Called as one is sent."""
        self.unanswered = NOTHING
        """Of all links that ended with something in flight, so far."""

    @property
    def in_flight(self) -> InFlight:
        """By now."""
        talks = [each for each in self.links if isinstance(each, Talk)]
        return InFlight(sum(each.is_running for each in talks), sum(each.is_committing for each in talks))

    async def catch_commit(self, moment: Moment, act: Callable[[], None], seconds: float) -> InFlight:
        """Acts at the given moment of the next commit; returns what was in flight then, zeros if none came in time."""
        catch = self._catch = Catch(moment, act, asyncio.get_running_loop().create_future())
        try:
            return await asyncio.wait_for(catch.caught, seconds)
        except TimeoutError:
            return NOTHING
        finally:
            self._catch = None
            if catch.talk is not None:
                catch.talk.to_client.is_held = False
                catch.talk.to_client.pump()

    def received(self, link: Link, direction: Direction, way: Way, data: bytes) -> None:
        assert isinstance(link, Talk)
        if way is Way.TO_SERVER:
            begins = link.read_client(data)
            if begins:
                self.on_commit()
            if begins and self._catch is not None and self._catch.talk is None and not self._catch.caught.done():
                self._catch_begun(self._catch, link, direction, data)
                return
        else:
            in_flight = self.in_flight
            if link.answer_arrived(data) and self._catch is not None and self._catch.talk is link:
                self._spring(self._catch, in_flight)
        super().received(link, direction, way, data)

    def passed(self, link: Link, way: Way, data: bytes) -> None:
        if way is Way.TO_CLIENT and isinstance(link, Talk):
            link.answer_left(data)

    def _new_link(self) -> Talk:
        return Talk(self)

    def _catch_begun(self, catch: Catch, link: Talk, direction: Direction, data: bytes) -> None:
        if catch.moment is not Moment.BEFORE:
            direction.take(data)
        if catch.moment is Moment.ANSWERED:
            catch.talk = link
            link.to_client.is_held = True
            return
        in_flight = self.in_flight
        if catch.moment is Moment.BEFORE:
            link.cut()
        self._spring(catch, in_flight)

    def _spring(self, catch: Catch, in_flight: InFlight) -> None:
        if not catch.caught.done():
            catch.act()
            catch.caught.set_result(in_flight)
