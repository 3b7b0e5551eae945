"""Watchers: one by the SDK for each organization, and plain ones that come later and resume by themselves."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import grpc

import earmark
from earmark import names
from earmark.errors import EarmarkError
from earmark.v1.usage_service_pb2 import WatchUsageRequest, WatchUsageResponse
from tests.chaos.history import Message, Seen
from tests.chaos.load.plain import Plain
from tests.chaos.load.recording import Recorder, as_dict

PAUSE_SECONDS: Final = 0.2
SNAPSHOT: Final = -1
MESSAGES: Final = (5, 80)
"""After so many a plain watcher leaves its connection, and resumes."""


class Watched:
    """What one watcher has seen of its organization, however often it was resumed."""

    def __init__(self, watcher: str, organization: str, after: int, recorder: Recorder) -> None:
        """after: the revision after which it begins, or SNAPSHOT."""
        self.organization = organization
        self.revision = 0
        """The newest that was delivered."""
        self._token = ""
        self._after = after
        self._watcher = watcher
        self._recorder = recorder
        self._grown = asyncio.Event()
        self._write("began", after)

    @property
    def start(self) -> dict[str, Any]:
        """Where to go on, as an argument of a watch."""
        if self._token:
            return {"resume_token": self._token}
        return {} if self._after == SNAPSHOT else {"after_revision": self._after}

    def take(self, message: WatchUsageResponse) -> None:
        match message.WhichOneof("event"):
            case "snapshot":
                self._write("snapshot", message.revision, as_dict(message.snapshot.balance))
            case "entries":
                for entry in message.entries.entries:
                    self._write("entry", entry.revision, as_dict(entry))
            case _:
                pass
        self._token, self.revision = message.resume_token, message.revision
        self._grown.set()

    def broke_off(self, _: EarmarkError | None = None) -> None:
        """It goes on by `start`."""
        self._recorder.resumed()

    async def put_off(self, error: EarmarkError) -> None:
        """Returns when another attempt is due. It begins anew where its history is none any more."""
        if error.code is grpc.StatusCode.OUT_OF_RANGE:
            self._write("reset", self.revision)
            self._token, self.revision, self._after = "", 0, SNAPSHOT
            self._write("began", SNAPSHOT)
        await asyncio.sleep(PAUSE_SECONDS)

    async def reaches(self, revision: int) -> None:
        """Returns when it has been delivered."""
        while self.revision < revision:
            self._grown.clear()
            await self._grown.wait()

    def _write(self, what: Any, revision: int, entry: Message | None = None) -> None:
        self._recorder.seen(Seen(self._watcher, self.organization, time.monotonic(), what, revision, entry))


def a_start(chance: random.Random, revision: int) -> int:
    """Half of them begin with a snapshot, the others at the very beginning or anywhere up to this revision."""
    return chance.choice((SNAPSHOT, SNAPSHOT, 0, chance.randint(0, revision)))


async def watch_by_sdk(client: earmark.Client, watched: Watched, silence_seconds: float) -> None:
    """For ever."""
    while True:
        messages = client.messages.watch_usage(
            watched.organization, **watched.start, silence_seconds=silence_seconds, on_disconnect=watched.broke_off
        )
        try:
            async with aclosing(messages):
                async for message in messages:
                    watched.take(message)
        except EarmarkError as error:
            await watched.put_off(error)


async def watch_plainly(ways: list[Plain], watched: Watched, chance: random.Random, silence_seconds: float) -> None:
    """For ever, by turns at each of the addresses."""
    attempt = chance.randrange(len(ways))
    while True:
        request = WatchUsageRequest(name=names.organization(watched.organization), **watched.start)
        try:
            await _read(ways[attempt % len(ways)], request, watched, chance.randint(*MESSAGES), silence_seconds)
        except EarmarkError as error:
            await watched.put_off(error)
        watched.broke_off()
        attempt += 1


async def _read(
    way: Plain, request: WatchUsageRequest, watched: Watched, messages: int, silence_seconds: float
) -> None:
    """So many messages, or fewer where it breaks off or nothing is heard. Raises EarmarkError."""
    call = way.watch(request)
    try:
        for _ in range(messages):
            async with asyncio.timeout(silence_seconds):
                message: Any = await call.read()
            if message is grpc.aio.EOF:
                break
            watched.take(message)
    except grpc.aio.AioRpcError as error:
        raise EarmarkError.from_rpc(error) from error
    except TimeoutError:
        pass
    finally:
        call.cancel()


async def catch_up(
    watchers: list[Watched], newest: Callable[[str], Awaitable[int | None]], seconds: float
) -> list[Watched]:
    """Those that have not reached the newest revision of their organization within the time."""
    reached: set[Watched] = set()

    async def reach(watched: Watched) -> None:
        revision = await newest(watched.organization)
        if revision is not None:
            await watched.reaches(revision)
            reached.add(watched)

    async with asyncio.TaskGroup() as group:
        reaching = [group.create_task(reach(each)) for each in watchers]
        if reaching:
            await asyncio.wait(reaching, timeout=seconds)
        for task in reaching:
            task.cancel()
    return [each for each in watchers if each not in reached]
