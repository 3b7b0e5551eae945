"""The newest entries of the organizations that are watched, as they are sent: encoded once for all who watch."""

import asyncio
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from services.ledger.rules import names
from services.ledger.rules.refusal import Reason, Refused

SHELF_BYTES_MAX: Final = 16 * 2**20
"""Of all organizations together. Who needs what is no longer here reads it from the database."""


@dataclass(frozen=True, slots=True)
class Position:
    """After which entry: its revision and its digest. Before the first one: revision 0 and 32 zero bytes."""

    revision: int
    digest: bytes

    @property
    def token(self) -> str:
        """`{revision}:{digest}`, which resumes a watch and is an anchor for verifying."""
        return f"{self.revision}:{self.digest.hex()}"


BEGINNING: Final = Position(0, bytes(32))


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive entries in one message."""

    after: Position
    """Its first entry comes right after this one."""
    end: Position
    """After its last entry."""
    message: bytes


@dataclass(eq=False)
class Tail:
    """The end of one organization's ledger as far as it was read."""

    organization: str
    end: Position
    runs: deque[Run] = field(default_factory=deque)
    """The newest, up to the end, without a gap."""
    followers: "set[Follower]" = field(default_factory=set)
    ended: Refused | None = None
    """Why nobody may go on watching it."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def run_after(self, position: Position) -> Run | None:
        """The run that begins right after the position, if it is here."""
        index = bisect_left(self.runs, position.revision, key=lambda run: run.after.revision)
        if index < len(self.runs) and self.runs[index].after == position:
            return self.runs[index]
        return None

    @property
    def lag(self) -> int:
        """By how many revisions the slowest is behind."""
        return max((self.end.revision - each.position.revision for each in self.followers.copy()), default=0)

    def end_with(self, refused: Refused) -> None:
        """Everybody who watches is told why, and nobody else begins."""
        self.ended = refused
        self.wake()

    def wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def moved_beyond(self, position: Position, seconds: float) -> bool:
        """Returns once there is more than the position, or the tail ended; False if there is not in so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while self.ended is None and self.end.revision <= position.revision:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True


@dataclass(eq=False)
class Follower:
    """One who watches an organization, and how far."""

    tail: Tail
    position: Position
    """After what was delivered."""


class Shelf:
    """Where the runs of all tails stand: the oldest go when there are too many, whoever's they are."""

    def __init__(self, bytes_max: int = SHELF_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._tails: deque[Tail] = deque()

    @property
    def bytes(self) -> int:
        return self._bytes

    def put(self, tail: Tail, run: Run) -> None:
        tail.runs.append(run)
        tail.end = run.end
        self._tails.append(tail)
        self._bytes += len(run.message)
        while self._bytes > self._bytes_max:
            self._bytes -= len(self._tails.popleft().runs.popleft().message)


def history_replaced(organization: str, position: Position) -> Refused:
    """What was delivered is not in the ledger."""
    name = names.organization_name(organization)
    return Refused(
        Reason.HISTORY_REPLACED,
        f"{name}: revision {position.revision} is not the entry that was delivered under that number: the database was "
        "restored to an earlier state; begin anew, with a snapshot",
        {"revision": str(position.revision)},
        name,
    )


def revision_not_reached(organization: str, revision: int, newest: int) -> Refused:
    name = names.organization_name(organization)
    return Refused(
        Reason.REVISION_NOT_REACHED,
        f"{name}: revision {revision} does not exist yet, {newest} is the newest; if it was delivered before, the "
        "database was restored to an earlier state: begin anew, with a snapshot",
        {"revision": str(revision), "newestRevision": str(newest)},
        name,
    )
