"""The processes of a campaign that can be killed, stopped and started again at the same address."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic
from typing import Final, TypeVar

from services.admin import embedded
from tests.chaos.relay import HOST, Relay
from tests.chaos.statements import PostgresRelay
from tests.support.processes import environment

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.02
RETRY_SECONDS: Final = 0.2
PORTS: Final = range(20_000, 32_000)
"""Below those that the kernel gives to outgoing connections: one of these would take the port of a server that is
away for a moment."""

T = TypeVar("T")


class WorldError(Exception):
    """Something that the campaign itself needs does not do its part."""


async def in_thread(do: Callable[[], T]) -> T:
    """What blocks for a while, to its end: a server that is half started could not be told from none."""
    task = asyncio.create_task(asyncio.to_thread(do))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def free_port() -> int:
    """One that stays free while nobody listens there."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise WorldError("no port is free")


class Service:
    """An allocator or a worker, with its relays to Postgres and Redis; an allocator has one to its callers, too."""

    def __init__(self, name: str, module: str, postgres: PostgresRelay, redis: Relay, door: Relay | None) -> None:
        self.name = name
        self.postgres = postgres
        self.redis = redis
        self.door = door
        self._module = module
        self._life = ExitStack()
        self._child: embedded.Child | None = None

    @property
    def runs(self) -> bool:
        return self._child is not None and self._child.poll() is None

    async def start(self, settings: dict[str, str], log: Path) -> None:
        """Returns when it serves, or sweeps. It is started again if the database was not there for it yet."""
        deadline = monotonic() + START_SECONDS
        while not await self._started(settings, log, deadline):
            if monotonic() > deadline:
                raise WorldError(f"{self.name} did not start within {START_SECONDS:.0f} s; {log} says why")
            await asyncio.sleep(RETRY_SECONDS)

    def kill(self) -> None:
        """SIGKILL, at once."""
        if self._child is not None:
            os.kill(self._child.pid, signal.SIGKILL)

    def terminate(self) -> None:
        if self._child is not None:
            self._child.terminate()

    async def gone(self) -> int | None:
        """Its exit status, once it has ended, which it is helped to after 20 s."""
        child = self._child
        if child is not None:
            await in_thread(self._wait)
        await in_thread(self._life.close)
        self._child = None
        return None if child is None else child.returncode

    async def stop(self) -> int | None:
        self.terminate()
        return await self.gone()

    def _wait(self) -> None:
        if self.runs:
            assert self._child is not None
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(STOP_SECONDS)

    async def _started(self, settings: dict[str, str], log: Path, deadline: float) -> bool:
        await self.stop()
        with log.open("ab") as output:
            written = output.tell()
            start = embedded.child(
                [sys.executable, "-m", self._module], env=environment(**settings), stdout=output, stderr=output
            )
            self._child = await in_thread(lambda: self._life.enter_context(start))
        while monotonic() < deadline and self.runs:
            await asyncio.sleep(POLL_SECONDS)
            said = _read_from(log, written)
            if b"serving on " in said or b"sweeping every " in said:
                return True
        return False


class Redis:
    """A Valkey that comes back at the same port, without what it held."""

    def __init__(self) -> None:
        self._port = free_port()
        self._life = ExitStack()
        self._pid = 0
        self._is_paused = False

    @property
    def target(self) -> tuple[str, int]:
        return HOST, self._port

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self._port}/0"

    async def start(self) -> None:
        server = await in_thread(lambda: self._life.enter_context(embedded.redis(port=self._port)))
        self._pid = server.pid

    async def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self._pid = 0
        await in_thread(self._life.close)

    def pause(self) -> None:
        self._is_paused = True
        os.kill(self._pid, signal.SIGSTOP)

    def resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            os.kill(self._pid, signal.SIGCONT)

    async def mend(self) -> None:
        self.resume()
        if not self._pid:
            await self.start()

    async def close(self) -> None:
        self.resume()
        await in_thread(self._life.close)


def _read_from(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()
