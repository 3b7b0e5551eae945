"""The host as a program: JSON lines in, JSON lines out, until its input ends."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from grpc import aio

from clients.conformance.host.expectations import check_form, problems_of
from clients.conformance.host.faults import read_fault
from clients.conformance.host.journal import Journal
from clients.conformance.host.proxy import Address
from clients.conformance.host.running import Running, running_earmark
from clients.conformance.host.worlds import Worlds, fill, new_names

CHANNEL_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
LINE_BYTES_MAX: Final = 2**20


class Host:
    """One case at a time."""

    def __init__(self, earmark: Running, worlds: Worlds, addresses: Sequence[Address]) -> None:
        self._earmark = earmark
        self._worlds = worlds
        self._addresses = addresses
        self._expectations: Sequence[Mapping[str, Any]] = ()
        self._journal = Journal()

    async def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ValueError or KeyError for what cannot be understood."""
        do = request.get("do")
        if do == "begin":
            return await self._begin(request["case"])

        if do == "advance":
            return {"now": (await self._earmark.advance(request["seconds"])).isoformat()}
        if do == "end":
            return self._end()
        raise ValueError(f"there is nothing called {do!r} to do; there are begin, advance and end")

    async def _begin(self, case: Mapping[str, Any]) -> dict[str, Any]:
        names, now = new_names(), await self._earmark.now()
        faults = [read_fault(fill(each, names)) for each in case.get("faults", ())]
        expectations = fill(case.get("attempts", []), names)
        for each in expectations:
            check_form(each)
        await self._worlds.make(case.get("world", "customer"), names, now)
        self._expectations = expectations
        self._use(Journal(faults))
        return {"now": now.isoformat(), "names": names}

    def _end(self) -> dict[str, Any]:
        ended = self._journal
        problems = problems_of(self._expectations, ended.attempts)
        self._expectations = ()
        self._use(Journal())
        return {"problems": problems, "attempts": ended.told()}

    def _use(self, journal: Journal) -> None:
        self._journal = journal
        for address in self._addresses:
            address.begin(journal)


@asynccontextmanager
async def hosting(earmark: Running) -> AsyncIterator[tuple[Host, list[str]]]:
    """The host and its two addresses, while the block runs."""
    async with aio.insecure_channel(earmark.address, options=CHANNEL_OPTIONS) as upstream:
        worlds = Worlds(upstream)
        await worlds.offer()
        addresses = [Address(number, upstream) for number in (1, 2)]
        try:
            yield Host(earmark, worlds, addresses), [await each.start() for each in addresses]
        finally:
            for each in addresses:
                await each.stop()


async def serve() -> None:
    """Until there are no more lines, or somebody says SIGTERM."""
    loop, lines = asyncio.get_running_loop(), asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, lines.feed_eof)
    async with running_earmark() as earmark, hosting(earmark) as (host, addresses):
        _say({"addresses": addresses, "now": (await earmark.now()).isoformat()})
        while line := await lines.readline():
            try:
                _say(await host.answer(json.loads(line)))
            except Exception as error:  # Whoever asked is to know, and to go on.
                _say({"error": f"{type(error).__name__}: {error}"})


def _say(answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
