"""Allocators that are restarted one after the other, each at the port that it had."""

import asyncio
import random
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.admin import embedded
from tests.support.processes import DEADLINE_SECONDS, ended, running_allocator

PORTS: Final = range(20_000, 32_000)
"""Below those that a connection gets that goes out: nobody else takes the port of a process that is away."""


class Restartable:
    """An allocator process at a port of its own, as often as it is started."""

    def __init__(self, database: str, settings: dict[str, str]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._database = database
        self._settings = settings
        self._running: AbstractContextManager[tuple[embedded.Child, str]] | None = None
        self._process: embedded.Child | None = None

    def start(self) -> None:
        """Returns when it says that it serves."""
        self._running = running_allocator(self._database, listen_address=self.address, **self._settings)
        self._process, address = self._running.__enter__()
        assert address == self.address

    async def stop(self) -> None:
        """In good order: by SIGTERM, until it has ended with 0."""
        assert self._process is not None
        self._process.terminate()
        assert await ended(self._process) == 0
        self.close()

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await ended(self._process)
        self.close()

    async def restart(self) -> None:
        """Returns when its health says SERVING."""
        await self.stop()
        await asyncio.to_thread(self.start)
        await self.is_serving()

    async def is_serving(self) -> None:
        async with grpc.aio.insecure_channel(self.address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service="earmark.v1.AllocationService")
            answer = await health.Check(request, timeout=DEADLINE_SECONDS, wait_for_ready=True)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    def close(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            running.__exit__(None, None, None)


@contextmanager
def restartable(database: str, count: int, **settings: str) -> Iterator[list[Restartable]]:
    """So many allocators, running."""
    with ExitStack() as stack:
        allocators = [Restartable(database, settings) for _ in range(count)]
        for each in allocators:
            stack.callback(each.close)
            each.start()
        yield allocators


def free_port() -> int:
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
