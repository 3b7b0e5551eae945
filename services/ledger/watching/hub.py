"""The one reader of this process: it learns that something is new, reads it once, and wakes whoever watches.

It learns of commits in three ways: this process's own at once, those of others by notices, and every half second,
whatever became of the notices, by asking the database which organizations changed. Notices are hints: one that lies
costs one look.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from services.ledger.refusals import internal_error
from services.ledger.rules.answers import Balance
from services.ledger.rules.model import Entry
from services.ledger.rules.refusal import Refused
from services.ledger.store.changes import changed_since, read_ends, read_horizon, read_identity
from services.ledger.store.database import Connection, Pool
from services.ledger.store.entry_reads import read_entries_from
from services.ledger.watching.board import Board, EncodeBalance
from services.ledger.watching.reading import AWAY_SECONDS_MAX, patiently, reading
from services.ledger.watching.tail import BEGINNING, Follower, Position, Run, Shelf, Tail, history_replaced

log = logging.getLogger(__name__)

RUN_ENTRIES_MAX: Final = 100
"""So many of the largest entries take 15 ms to encode, for which calls wait, and less than 750 kB in a message."""
LOOK_SECONDS: Final = 0.5
"""Between two looks at what changed, whatever notices there were."""
GATHER_SECONDS: Final = 0.002
"""Between two rounds of reading."""
IN_VAIN_SECONDS: Final = 0.02
"""After a round that found nothing: somebody may be lying to us, again and again."""
CATCHING_UP_MAX: Final = 2
"""So many who are behind read from the database at a time."""
ORGANIZATIONS_PER_LOOK: Final = 1_000
ORGANIZATIONS_PER_READ: Final = 50

Encode = Callable[[Sequence[Entry]], bytes]


class Hub:
    """What watches of one process share. `run` is to run as long as anybody may watch."""

    def __init__(self, pool: Pool, encode: Encode, encode_balance: EncodeBalance) -> None:
        self._pool = pool
        self._encode = encode
        self._shelf = Shelf()
        self._tails: dict[str, Tail] = {}
        self._news: dict[str, None] = {}
        """Watched organizations with something new, in the order in which that was learnt."""
        self._woken = asyncio.Event()
        self._watched = asyncio.Event()
        self._catching_up = asyncio.Semaphore(CATCHING_UP_MAX)
        self._ended: Refused | None = None
        self._away_since: float | None = None
        self._missed = False
        """Something that was heard could not be read: the next look is to compare all."""
        self._identity = ""
        """The server process that answered the last look."""
        self._ready = asyncio.Event()
        """There is a horizon: whatever is committed from now on will be found."""
        self.board = Board(pool, encode_balance, self._set_watched, self._ready)

    def announce(self, balance: Balance) -> None:
        """This process has committed."""
        self.hear(balance.organization, balance.revision)

    def hear(self, organization: str, revision: int) -> None:
        """Somebody says that the organization has this revision. Neither waits nor raises."""
        tail = self._tails.get(organization)
        if tail is not None and revision > tail.end.revision:
            self._news[organization] = None
            self._woken.set()
        self.board.hear(organization, revision)

    @property
    def watchers(self) -> int:
        """Any thread may ask, for this and for the lag: hence the copies."""
        return sum(len(tail.followers) for tail in self._tails.copy().values()) + self.board.watchers

    @property
    def lag(self) -> int:
        """By how many revisions the slowest watcher of one organization is behind what was read."""
        return max((tail.lag for tail in self._tails.copy().values()), default=0)

    @asynccontextmanager
    async def follow(self, organization: str, position: Position, end: Position) -> AsyncIterator[Follower]:
        """One who watches the organization from the position on, while the block runs; `end` is where it ends now."""
        if self._ended is not None:
            raise self._ended
        tail = self._tails.get(organization)
        if tail is None or tail.ended is not None:
            tail = self._tails[organization] = Tail(organization, end)
            self._news[organization] = None  # Something may have come since its end was read.
            self._woken.set()
        follower = Follower(tail, position)
        tail.followers.add(follower)
        self._set_watched()
        try:
            yield follower
        finally:
            tail.followers.discard(follower)
            if not tail.followers and self._tails.get(organization) is tail:
                del self._tails[organization]
                self._set_watched()

    async def next(self, follower: Follower, seconds: float) -> bytes | None:
        """The next message for the follower; None if there is nothing new in so many seconds.

        From the tail, or from the database for one whom the tail has left behind. Raises Refused where the watch ends.
        """
        tail, position = follower.tail, follower.position
        if not await tail.moved_beyond(position, seconds):
            return None
        if tail.ended is not None:
            raise tail.ended
        run = tail.run_after(position)
        if run is None:
            run = await patiently(lambda: self._catch_up(tail, position), lambda: tail.ended)
        follower.position = run.end
        return run.message

    async def run(self) -> None:
        """Reads for whoever watches, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in (self._read_news, self._look_for_news, self.board.run):
                group.create_task(_for_ever(work))

    def close(self, refused: Refused) -> None:
        """Ends every watch after the last whole message; no other begins."""
        self._ended = refused
        self._end_all(refused)

    # What this process reads.

    async def _read_news(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            news, self._news = list(self._news), {}
            found = False
            for start in range(0, len(news), ORGANIZATIONS_PER_READ):
                found |= await self._read_tails(news[start : start + ORGANIZATIONS_PER_READ])
            await asyncio.sleep(GATHER_SECONDS if found else IN_VAIN_SECONDS)

    async def _read_tails(self, organizations: Sequence[str]) -> bool:
        """Whether there was something new. If there may be still more, others have their turn before."""
        tails = [tail for each in organizations if (tail := self._tails.get(each)) is not None and tail.ended is None]
        if not tails or self._missed:
            return False
        ends = {tail.organization: tail.end for tail in tails}
        try:
            entries = await self._read_after(ends, RUN_ENTRIES_MAX)
        except Refused:
            self._missed = True
            return False
        except Exception:
            if len(tails) > 1:  # Who of them cannot be read ends alone.
                return any([await self._read_tails([each]) for each in organizations])
            log.exception("the entries of %s cannot be read", tails[0].organization)
            tails[0].end_with(internal_error())
            return False
        news = [self._put(tail, entries.get(tail.organization, [])) for tail in tails]
        return any(news)

    def _put(self, tail: Tail, entries: Sequence[Entry]) -> bool:
        """Whether the entries from the tail's end on brought something new."""
        try:
            run = self._run_of(tail.organization, tail.end, entries, RUN_ENTRIES_MAX)
        except Refused as refused:
            tail.end_with(refused)
            return False
        except Exception:
            log.exception("the entries of %s cannot be shown", tail.organization)
            tail.end_with(internal_error())
            return False
        if run is None:
            return False
        self._shelf.put(tail, run)
        tail.wake()
        if run.end.revision - run.after.revision == RUN_ENTRIES_MAX:
            self._news[tail.organization] = None
            self._woken.set()
        return True

    async def _catch_up(self, tail: Tail, position: Position) -> Run:
        """No further than the tail, so that who has caught up goes on with the tail's next run."""
        organization = tail.organization
        most = min(tail.end.revision - position.revision, RUN_ENTRIES_MAX)
        async with self._catching_up:
            entries = await self._read_after({organization: position}, most)
        run = self._run_of(organization, position, entries.get(organization, []), most)
        if run is None:
            raise history_replaced(organization, tail.end)
        return run

    async def _read_after(self, positions: Mapping[str, Position], entries_max: int) -> dict[str, list[Entry]]:
        """Of each organization what is after its position, and before that the position's own entry."""
        starts = [(organization, position.revision or 1) for organization, position in positions.items()]
        async with reading(self._pool) as connection:
            return await read_entries_from(connection, starts, entries_max + 1)

    def _run_of(self, organization: str, position: Position, entries: Sequence[Entry], entries_max: int) -> Run | None:
        """None if there is nothing after the position. Raises Refused if its own entry is not the one that it was."""
        if position.revision and (not entries or entries[0].digest != position.digest):
            raise history_replaced(organization, position)
        new = entries[1:] if position.revision else entries[:entries_max]
        if not new:
            return None
        return Run(position, Position(new[-1].revision, new[-1].digest), self._encode(new))

    async def _look_for_news(self) -> None:
        """Finds what no notice told of; after the database was away, whatever changed meanwhile."""
        horizon = None
        while True:
            await self._watched.wait()
            if self._missed:
                horizon, self._missed = None, False
            try:
                async with reading(self._pool) as connection:
                    horizon = await self._look(connection, horizon)
                self._away_since = None
                self._ready.set()
            except Refused as refused:
                horizon = None
                self._is_away(refused)
            await asyncio.sleep(LOOK_SECONDS)
            if not self._watched.is_set():
                horizon = self._away_since = None  # Whatever changes until the next look is not looked at.
            if horizon is None:
                self._ready.clear()

    async def _look(self, connection: Connection, horizon: datetime | None) -> datetime:
        """Hears of everything committed since the horizon, of everything at all without one; returns the next one."""
        following = await read_horizon(connection)
        last, self._identity = self._identity, await read_identity(connection)
        if last != self._identity:
            horizon = None  # Between two looks the database was away, and it is another one that came back.
        if horizon is None:
            await self._compare_all(connection)
        else:
            for organization, revision in (await changed_since(connection, horizon)).items():
                self.hear(organization, revision)
        return following

    async def _compare_all(self, connection: Connection) -> None:
        watched = [(tail, tail.end) for tail in self._tails.values()]  # The ends go on while the database is asked.
        for start in range(0, len(watched), ORGANIZATIONS_PER_LOOK):
            part = watched[start : start + ORGANIZATIONS_PER_LOOK]
            newest = await read_ends(connection, [tail.organization for tail, _ in part])
            for tail, end in part:
                found = Position(*newest.get(tail.organization, (BEGINNING.revision, BEGINNING.digest)))
                if found.revision < end.revision or (found.revision == end.revision and found != end):
                    tail.end_with(history_replaced(tail.organization, end))
                self.hear(tail.organization, found.revision)
        self.board.compare_all()

    def _is_away(self, refused: Refused) -> None:
        now = asyncio.get_running_loop().time()
        if self._away_since is None:
            self._away_since = now
            log.warning("watching: the database cannot be reached: %s", refused.__cause__)
        if now - self._away_since > AWAY_SECONDS_MAX:
            self._end_all(refused)

    def _end_all(self, refused: Refused) -> None:
        for tail in self._tails.values():
            tail.end_with(refused)
        self.board.end_all(refused)

    def _set_watched(self) -> None:
        if self._tails or self.board.watchers:
            self._watched.set()
        else:
            self._watched.clear()


async def _for_ever(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A bug ends no watch: the work begins again, and each watcher holds its own position."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("watching failed; it goes on")
            await asyncio.sleep(LOOK_SECONDS)
