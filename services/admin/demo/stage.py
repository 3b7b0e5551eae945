"""What the story is told with: clients of two allocators, the clock, the expiry worker, the ledger's entries."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from earmark import EarmarkError
from earmark.messages import MessageClient
from earmark.v1.resources_pb2 import Balance
from services.admin import embedded
from services.admin.demo.check import Figures, Mismatch, same
from services.admin.demo.page import Page
from services.admin.demo.watcher import Watcher
from services.ledger.store.clock import advance_clock, read_clock
from services.ledger.store.database import Connection

DEMO: Final = "demo"
LOOKS: Final = 400
LOOK_SECONDS: Final = 0.05


@dataclass(slots=True)
class Stage:
    """One organization, `demo`, seen through two allocators."""

    page: Page
    first: MessageClient
    second: MessageClient
    connection: Connection
    watcher: Watcher
    revision: int = 0
    """Of the newest ledger entry that the story has accounted for."""
    start: datetime = datetime.min
    """When the organization was created: day 0."""

    def at(self, day: int) -> datetime:
        return self.start + timedelta(days=day)

    async def tell(self, text: str, balance: Balance, figures: Figures, wrote: list[str]) -> None:
        """Prints a step once its figures, and all that the ledger wrote for it, are as expected."""
        same(f"the figures after: {text}", figures, Figures.of(balance))
        written = await self.watcher.words_up_to(balance.revision)
        same(f"what the watcher saw of: {text}", wrote, written)
        self.revision += len(written)
        same(f"the newest entry after: {text}", self.revision, balance.revision)
        self.page.step(text, figures)

    async def tell_refusal(self, text: str, refused: EarmarkError, metadata: dict[str, str], figures: Figures) -> None:
        """Prints a step that lacked credits, with its message: what is missing is as expected, and nothing changed."""
        same(f"the reason for refusing: {text}", "INSUFFICIENT_CREDITS", refused.reason)
        same(f"what is missing for: {text}", metadata, refused.metadata)
        await self.tell(text, await self.balance(), figures, wrote=[])
        self.page.aside("refused", refused.message, "yellow")

    async def balance(self) -> Balance:
        """As of now: whatever is due is settled first."""
        return (await self.first.get_organization(DEMO)).balance

    async def stored_balance(self) -> Balance:
        """As it was brought up to date last. A list settles nothing."""
        async for organization in self.first.list_organizations():
            return organization.balance
        raise Mismatch("the organization is not listed")

    async def advance_to(self, day: int) -> None:
        """Moves time, for every process, to so many days after the start."""
        ahead = self.at(day) - (await read_clock(self.connection)).now
        moved = await advance_clock(self.connection, ahead)
        same("the day after moving the clock", day, (moved.now - self.start).days)
        self.page.jump(moved.now, day)

    async def settled_by_worker(self) -> Balance:
        """The figures, once the expiry worker has settled something. Nobody else does: lists settle nothing."""
        for _ in range(LOOKS):
            balance = await self.stored_balance()
            if balance.revision != self.revision:
                return balance
            await asyncio.sleep(LOOK_SECONDS)
        raise Mismatch(f"the expiry worker settled nothing within {LOOKS * LOOK_SECONDS:.0f} s")

    async def took_effect(self, kind: str) -> datetime:
        """When the newest entry of a kind took effect, which may be before it was recorded."""
        instant: datetime = await self.connection.fetchval(
            "SELECT effective_time FROM entry WHERE organization = $1 AND kind = $2 ORDER BY revision DESC LIMIT 1",
            DEMO,
            kind,
        )
        return instant.astimezone(UTC)


@contextmanager
def held(worker: embedded.Child) -> Iterator[None]:
    """Holds a process of ours still. For the expiry worker: whatever is settled meanwhile is settled by a call."""
    same("the expiry worker's exit status", None, worker.poll())
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker.pid, signal.SIGCONT)
