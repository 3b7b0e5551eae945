"""The newest balances, for who watches many organizations at once: what lies between two that it reads is left out.

A watcher holds what changed since it read last, at most one balance of each organization. When that grows too long it
is thrown away, and the watcher reads all of them from the database again, page by page.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from services.ledger.rules.answers import Balance
from services.ledger.rules.refusal import Refused, organization_not_found
from services.ledger.store.changes import read_balances, read_balances_after
from services.ledger.store.database import Pool
from services.ledger.watching.reading import RETRY_SECONDS, WAIT_SECONDS, database_away, patiently, reading

BALANCES_PER_MESSAGE: Final = 1_000
PENDING_MAX: Final = 10_000
"""Of one watcher, and of what is still to be read."""
GATHER_SECONDS: Final = 0.02

EncodeBalance = Callable[[Balance], bytes]


@dataclass(frozen=True, slots=True)
class Shown:
    """A balance as it is sent: encoded once for all who watch."""

    organization: str
    revision: int
    message: bytes


@dataclass(eq=False)
class BalanceWatcher:
    organizations: frozenset[str] | None
    """None: all."""
    pending: dict[str, Shown] = field(default_factory=dict)
    """What changed since it read last."""
    read_up_to: str | None = ""
    """While it reads all of them: the last organization that it has. None: it has them all."""
    readings: int = 0
    """How often it has begun to read all of them."""
    ended: Refused | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, shown: Iterable[Shown]) -> None:
        for each in shown:
            if self._has(each.organization):
                self.pending[each.organization] = each
        if len(self.pending) > PENDING_MAX:
            self.begin_anew()
        if self.pending:
            self.changed.set()

    def begin_anew(self) -> None:
        """Reads all of them again."""
        self.pending.clear()
        self.read_up_to = ""
        self.readings += 1
        self.changed.set()

    def has_read(self, number: int, page: Sequence[Shown], read_up_to: str | None) -> None:
        """The page was read in the reading of this number; if there has been another one since, it does not count."""
        if number == self.readings:
            self.read_up_to = read_up_to
            for each in page:
                self.pending.pop(each.organization, None)

    def end_with(self, refused: Refused) -> None:
        self.ended = refused
        self.changed.set()

    def take(self) -> list[Shown]:
        """What is next to be sent of what changed."""
        keys = list(self.pending)[:BALANCES_PER_MESSAGE]
        return [self.pending.pop(key) for key in keys]

    def _has(self, organization: str) -> bool:
        """Whether it watches it and has read it once: what it has not will be read later than this."""
        if self.organizations is not None:
            return self.read_up_to is None and organization in self.organizations
        return self.read_up_to is None or organization <= self.read_up_to


class Board:
    """`run` reads what changed, once for all who watch. `ready` is set while nothing that changes can be missed."""

    def __init__(
        self, pool: Pool, encode: EncodeBalance, when_watched: Callable[[], None], ready: asyncio.Event
    ) -> None:
        self._pool = pool
        self._encode = encode
        self._when_watched = when_watched
        self._ready = ready
        self._watchers: set[BalanceWatcher] = set()
        self._named: Counter[str] = Counter()
        self._watching_all = 0
        self._news: dict[str, None] = {}
        self._shown: dict[str, int] = {}
        """The revision that everybody who watches was shown last, of those shown lately."""
        self._woken = asyncio.Event()
        self._reading = asyncio.Lock()
        """So that what is read later is shown later."""

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    def hear(self, organization: str, revision: int) -> None:
        """It may have a new balance."""
        watched = self._watching_all or organization in self._named
        if watched and revision > self._shown.get(organization, 0):
            self._news[organization] = None
            if len(self._news) > PENDING_MAX:
                self.compare_all()
            self._woken.set()

    def compare_all(self) -> None:
        """Nobody knows what changed."""
        self._news.clear()
        self._shown.clear()
        for watcher in self._watchers:
            watcher.begin_anew()

    def end_all(self, refused: Refused) -> None:
        for watcher in self._watchers:
            watcher.end_with(refused)

    @asynccontextmanager
    async def watcher(self, organizations: frozenset[str] | None) -> AsyncIterator[BalanceWatcher]:
        """One that watches these, or all (None), for as long as the block runs."""
        watcher = BalanceWatcher(organizations)
        self._count(watcher, +1)
        self._when_watched()
        try:
            await self._is_ready()
            yield watcher
        finally:
            self._count(watcher, -1)
            self._when_watched()

    async def next(self, watcher: BalanceWatcher, seconds: float) -> tuple[list[Shown], bool]:
        """What is to be sent next, and whether that is all; nothing if nothing changes in so many seconds.

        Raises Refused where the watch ends.
        """
        try:
            async with asyncio.timeout(seconds):
                while not watcher.pending and watcher.read_up_to is None and watcher.ended is None:
                    watcher.changed.clear()
                    await watcher.changed.wait()
        except TimeoutError:
            return [], True
        if watcher.ended is not None:
            raise watcher.ended
        if watcher.read_up_to is None:
            shown = watcher.take()
        else:
            shown = await patiently(lambda: self._read_page(watcher), lambda: watcher.ended)
        return shown, not watcher.pending and watcher.read_up_to is None

    async def run(self) -> None:
        """Reads what changed, until it is cancelled."""
        while True:
            await self._woken.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._woken.clear()
            news = list(self._news)[:BALANCES_PER_MESSAGE]
            for each in news:  # Whatever is heard from here on is read once more.
                del self._news[each]
            try:
                async with self._reading:
                    self._show(await self._read(news))
            except Refused:
                self._news = dict.fromkeys((*news, *self._news))
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                self.compare_all()
                raise
            if self._news:
                self._woken.set()

    def _show(self, found: list[Shown]) -> None:
        shown = [each for each in found if each.revision != self._shown.get(each.organization)]
        for watcher in self._watchers:
            watcher.show(shown)
        for each in shown:
            self._shown.pop(each.organization, None)
            self._shown[each.organization] = each.revision
        while len(self._shown) > PENDING_MAX:
            del self._shown[next(iter(self._shown))]

    async def _read_page(self, watcher: BalanceWatcher) -> list[Shown]:
        """The next of all that it watches; what it knows to have changed and gets so is not sent again."""
        async with self._reading:
            number, more = watcher.readings, False
            if watcher.organizations is not None:
                found = await self._read(sorted(watcher.organizations))
                for missing in sorted(watcher.organizations - {each.organization for each in found}):
                    raise organization_not_found(missing)
            else:
                found = await self._read_after(watcher.read_up_to or "")
                more = len(found) == BALANCES_PER_MESSAGE
            watcher.has_read(number, found, found[-1].organization if more else None)
            return found

    async def _read(self, organizations: list[str]) -> list[Shown]:
        async with reading(self._pool) as connection:
            return [self._encoded(each) for each in await read_balances(connection, organizations)]

    async def _read_after(self, organization: str) -> list[Shown]:
        async with reading(self._pool) as connection:
            found = await read_balances_after(connection, organization, BALANCES_PER_MESSAGE)
            return [self._encoded(each) for each in found]

    def _encoded(self, balance: Balance) -> Shown:
        return Shown(balance.organization, balance.revision, self._encode(balance))

    async def _is_ready(self) -> None:
        """Before the first look at what changes, something could change unseen."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._ready.wait()
        except TimeoutError as error:
            raise database_away() from error

    def _count(self, watcher: BalanceWatcher, one: int) -> None:
        if one > 0:
            self._watchers.add(watcher)
        else:
            self._watchers.discard(watcher)
        if watcher.organizations is None:
            self._watching_all += one
        for organization in watcher.organizations or ():
            self._named[organization] += one
            if not self._named[organization]:
                del self._named[organization]
