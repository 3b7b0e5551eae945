"""The worker processes: two that generate load, since one could be slower than the server, and one that listens."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import asdict, replace
from typing import Any, Final

from bench.jobs import LINE_BYTES_MAX, Answers, Callers, Heard, Load, Subscribe, Watch
from services.admin import embedded

HOST: Final = "127.0.0.1"
LOADERS: Final = 2
CONNECT_SECONDS: Final = 20.0
PREPARED_SECONDS: Final = 60.0
REPORT_SECONDS: Final = 120.0


class BenchError(Exception):
    """Something that is to be measured could not be; the message says what."""


class Worker:
    """One of the processes. `prepare`, then `go`, one job after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def prepare(self, job: Load | Callers | Watch | Subscribe) -> None:
        """Returns when only the word is missing."""
        await self._say({"kind": type(job).__name__, "job": asdict(job)})
        await self._hear(PREPARED_SECONDS)

    async def go(self) -> dict[str, Any]:
        """Gives the word, which begins a `Load` or `Callers` and ends the others; returns the report."""
        await self._say({})
        report: dict[str, Any] = (await self._hear(REPORT_SECONDS))["report"]
        return report

    async def hang_up(self) -> None:
        """Ends it."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _say(self, what: Mapping[str, Any]) -> None:
        self._writer.write(json.dumps(what).encode() + b"\n")
        await self._writer.drain()

    async def _hear(self, seconds: float) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            line = await self._reader.readline()
        if not line:
            raise BenchError("a worker process ended; what it wrote above says why")
        said: dict[str, Any] = json.loads(line)
        if "failed" in said:
            raise BenchError(f"a worker process failed:\n{said['failed']}")
        return said


class Crew:
    """All workers of a run."""

    def __init__(self, loaders: Sequence[Worker], listener: Worker) -> None:
        self._loaders = loaders
        self._listener = listener
        self._runs = 0

    async def load(self, job: Load) -> Answers:
        """The job, shared by the workers if it has more than one call at a time."""
        alone = job.in_flight == 1
        loaders = self._loaders[:1] if alone else self._loaders
        self._runs += 1
        share = replace(job, in_flight=-(-job.in_flight // len(loaders)), rate=job.rate / len(loaders))
        apart = job.organizations // len(loaders)
        shares = [
            replace(share, salt=f"r{self._runs}w{number}", first=number * apart) for number in range(len(loaders))
        ]
        ready = await _each_of(each.prepare(its) for each, its in zip(loaders, shares, strict=True))
        # Who is ready gets the word even if another one failed: then it is there for the next job.
        done = await _each_of(each.go() for each, its in zip(loaders, ready, strict=True) if its is None)
        failed = next((each for each in [*ready, *done] if isinstance(each, BaseException)), None)
        if failed is not None:
            raise failed
        return _together([Answers(**each) for each in done])

    async def call(self, job: Callers) -> Answers:
        """By one process, as those who share a client are."""
        self._runs += 1
        await self._loaders[0].prepare(replace(job, salt=f"r{self._runs}"))
        return Answers(**await self._loaders[0].go())

    async def listen(self, job: Watch | Subscribe, load: Load) -> tuple[Heard, Answers]:
        """Listens while the load is on."""
        await self._listener.prepare(job)
        try:
            answers = await self.load(load)
        finally:
            heard = await self._listener.go()
        return Heard(**heard), answers


@asynccontextmanager
async def crew() -> AsyncIterator[Crew]:
    """Their processes end with the block."""
    arrived: asyncio.Queue[Worker] = asyncio.Queue()

    async def arrive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await arrived.put(Worker(reader, writer))

    server = await asyncio.start_server(arrive, HOST, 0, limit=LINE_BYTES_MAX)
    port: int = server.sockets[0].getsockname()[1]
    with ExitStack() as running:
        for _ in range(LOADERS + 1):
            command = [sys.executable, "-m", "bench.worker", HOST, str(port)]
            running.enter_context(embedded.child(command, env=environment(), grace=1.0))
        async with asyncio.timeout(CONNECT_SECONDS):
            workers = [await arrived.get() for _ in range(LOADERS + 1)]
        try:
            yield Crew(workers[:LOADERS], workers[LOADERS])
        finally:
            server.close()
            for each in workers:
                await each.hang_up()


def environment(**settings: str) -> dict[str, str]:
    """This process's, but with these EARMARK_* variables and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EARMARK_")}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(sys.path),
        **{f"EARMARK_{name.upper()}": value for name, value in settings.items()},
    }


async def _each_of(works: Iterable[Awaitable[Any]]) -> list[Any]:
    """What each returned or raised, once all have."""
    return await asyncio.gather(*works, return_exceptions=True)


def _together(parts: Sequence[Answers]) -> Answers:
    codes: Counter[str] = Counter()
    by_process: Counter[str] = Counter()
    for each in parts:
        codes.update(each.codes)
        by_process.update(each.by_process)
    return Answers(
        finished=sum(each.finished for each in parts),
        seconds=parts[0].seconds,
        codes=dict(codes),
        latencies_ms=[latency for each in parts for latency in each.latencies_ms],
        first_error=next((each.first_error for each in parts if each.first_error), ""),
        by_process=dict(by_process),
    )
