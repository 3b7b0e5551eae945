"""A watcher beside the story: it sees every change through an allocator of its own, and prints each as it comes."""

import asyncio
from contextlib import suppress
from typing import Final

from earmark.messages import MessageClient
from earmark.v1.resources_pb2 import Entry
from services.admin.demo.check import Mismatch, entry_words, same
from services.admin.demo.page import Page

SECONDS_MAX: Final = 10.0
"""So long a change may take to come before the story fails."""


class Watcher:
    """Watches from `begin` to `end`."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._revision = 0
        self._unaccounted: list[Entry] = []
        self._came = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def begin(self, client: MessageClient, organization: str) -> None:
        """From the organization's first entry on."""
        self._watching = asyncio.create_task(self._watch(client, organization))

    async def end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching

    async def words_up_to(self, revision: int) -> list[str]:
        """What came since the last look, in words, once the revision is there."""
        assert self._watching is not None
        waiting = asyncio.create_task(self._wait_for(revision))
        await asyncio.wait([waiting, self._watching], timeout=SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
        if self._watching.done():
            self._watching.result()
        if not waiting.done():
            waiting.cancel()
            raise Mismatch(f"the watcher is at revision {self._revision}, and {revision} does not come")
        entries, self._unaccounted = self._unaccounted, []
        return [entry_words(each) for each in entries]

    async def _wait_for(self, revision: int) -> None:
        while self._revision < revision:
            self._came.clear()
            await self._came.wait()

    async def _watch(self, client: MessageClient, organization: str) -> None:
        async for message in client.watch_usage(organization, after_revision=0):
            for entry in message.entries.entries:
                same("the next revision that the watcher sees", self._revision + 1, entry.revision)
                self._page.change(entry)
                self._revision = entry.revision
                self._unaccounted.append(entry)
                self._came.set()
