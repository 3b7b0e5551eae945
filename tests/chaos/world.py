"""What a campaign is about: two allocators, two workers, a Postgres with its standby, a Redis, a relay on every way."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from services.ledger.store.migrate import migrate
from tests.chaos.relay import HOST, Cut, Relay
from tests.chaos.server import Redis, Service, free_port, in_thread
from tests.chaos.statements import NOTHING, InFlight, PostgresRelay
from tests.support.cluster import Cluster, Node, cluster
from tests.support.processes import ALLOCATOR, EXPIRY

CALLERS: Final = "tests.chaos.load"
NOTICE_PREFIX: Final = "chaos.organizations."


@dataclass(frozen=True, slots=True)
class Plan:
    """What the world is made of, where it is not as it is shipped."""

    allocator_module: str = ALLOCATOR
    worker_module: str = EXPIRY
    callers_module: str = CALLERS
    before: str = ""
    """SQL that is carried out on the migrated database."""


class World:
    """All of it. What is done to it is done by the faults."""

    def __init__(self, folder: Path, pair: Cluster, redis: Redis, plan: Plan) -> None:
        self.folder = folder
        self.pair = pair
        self.redis = redis
        target = (pair.primary.host, pair.primary.port)
        self.allocators = [self._service(f"allocator-{each}", plan.allocator_module, target) for each in (1, 2)]
        self.workers = [self._service(f"worker-{each}", plan.worker_module, target) for each in (1, 2)]
        self.calls_in_flight: Callable[[], int] = lambda: 0
        """By the callers' last count, at both."""
        self.problems: list[str] = []
        """What went wrong that no caller can see."""
        self._using_pair = asyncio.Lock()
        self._commit = asyncio.Event()
        for each in self.services:
            each.postgres.on_commit = self._commit.set

    @property
    def services(self) -> list[Service]:
        return [*self.allocators, *self.workers]

    @property
    def relays(self) -> list[Relay]:
        ways = ((each.postgres, each.redis, each.door) for each in self.services)
        return [relay for of_one in ways for relay in of_one if relay is not None]

    @property
    def doors(self) -> list[str]:
        """Where callers find the allocators."""
        return [each.door.address for each in self.allocators if each.door is not None]

    @property
    def in_flight(self) -> InFlight:
        """At Postgres, by now."""
        return sum((each.postgres.in_flight for each in self.services), NOTHING)

    @property
    def unanswered(self) -> InFlight:
        """What was in flight when its connection ended, so far."""
        return sum((each.postgres.unanswered for each in self.services), NOTHING)

    async def commit_in_flight(self, seconds: float) -> None:
        """Returns as soon as somebody has sent one, or after so many seconds."""
        self._commit.clear()
        if not self.in_flight.commits:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._commit.wait(), seconds)

    async def with_pair(self, do: Callable[[], None]) -> None:
        """One of the cluster's methods, which block; one at a time."""
        async with self._using_pair:
            await in_thread(do)

    async def start(self, service: Service) -> None:
        await service.start(self._settings(service), self.folder / f"{service.name}.log")

    def point_to_primary(self) -> list[Cut]:
        target = (self.pair.primary.host, self.pair.primary.port)
        return [each.postgres.point_to(target) for each in self.services]

    async def mend(self) -> None:
        """Everything is there and well, whatever was interrupted."""
        for relay in self.relays:
            relay.delay_seconds = 0.0
            relay.open()
            relay.resume()
        await self.redis.mend()
        await self.with_pair(self._mend_pair)
        self.point_to_primary()
        for each in self.services:
            if not each.runs:
                await self.start(each)

    def _mend_pair(self) -> None:
        self.pair.resume_standby()
        try:
            _connected(self.pair.primary).close()
        except OSError:
            self.pair.start_primary()
        if self.pair.standby is None:
            self.pair.seed_standby()
        else:
            try:
                _connected(self.pair.standby).close()
                self.pair.await_sync()
            except OSError:
                self.pair.start_standby()

    def _service(self, name: str, module: str, target: tuple[str, int]) -> Service:
        postgres = PostgresRelay(f"{name} to Postgres", target)
        redis = Relay(f"{name} to Redis", self.redis.target)
        door = Relay(f"callers to {name}", (HOST, free_port())) if name.startswith("allocator") else None
        return Service(name, module, postgres, redis, door)

    def _settings(self, service: Service) -> dict[str, str]:
        parts = urlsplit(self.pair.primary.url)
        settings = {
            "database_url": urlunsplit(parts._replace(netloc=f"{parts.username}@{service.postgres.address}")),
            "redis_url": f"redis://{service.redis.address}/0",
            "notice_prefix": NOTICE_PREFIX,
            "durability": "standby",
            "log_level": "INFO",
        }
        if service.door is not None:
            settings["listen_address"] = f"{HOST}:{service.door.target[1]}"
        return settings


def _connected(node: Node) -> socket.socket:
    return socket.create_connection((node.host, node.port), timeout=2.0)


@asynccontextmanager
async def world(folder: Path, plan: Plan, tell: Callable[[str], None]) -> AsyncIterator[World]:
    """Everything runs and serves while the block runs, with its logs in the folder; nothing of it remains.

    Raises EmbeddedError or WorldError if something does not start.
    """
    async with AsyncExitStack() as running:
        tell("starting Postgres and its standby")
        servers = ExitStack()
        running.push_async_callback(in_thread, servers.close)
        pair = await in_thread(lambda: servers.enter_context(cluster()))
        await prepare(pair.primary.url, plan)
        tell("starting Redis, two allocators and two workers")
        redis = Redis()
        running.push_async_callback(redis.close)
        await redis.start()
        built = World(folder, pair, redis, plan)
        for relay in built.relays:
            await relay.start()
            running.push_async_callback(relay.close)
        for each in built.services:
            running.push_async_callback(each.stop)
        await asyncio.gather(*map(built.start, built.services))
        yield built


async def prepare(url: str, plan: Plan) -> None:
    """Makes the schema."""
    connection = await asyncpg.connect(url)
    try:
        await migrate(connection)
        if plan.before:
            await connection.execute(plan.before)
    finally:
        await connection.close()
