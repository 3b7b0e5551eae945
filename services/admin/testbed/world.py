"""One Earmark after the other, each empty at first: a world."""

import asyncio
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg

from services.admin.catalog_file import load_catalog
from services.admin.testbed.door import HOST, Door
from services.allocator.server import AllocatorServer
from services.expiry.__main__ import work
from services.expiry.sweep import Sweeper
from services.ledger.starting import open_pool
from services.ledger.store import clock
from services.ledger.store.database import pooled
from services.ledger.store.due import due_organizations
from services.ledger.store.durability import NONE
from services.ledger.store.migrate import migrate
from services.notices.listener import Listener
from services.notices.publisher import Publisher
from services.runtime.monitoring import Monitoring
from services.runtime.settings import Settings

NAME: Final = "earmark-testbed"
TEMPLATE: Final = "earmark_template"
CONNECTION_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 30.0
SETTLE_POLL_SECONDS: Final = 0.005
SHUTDOWN_SECONDS: Final = 1.0
"""So long a call that one test has left behind may hold up the next test."""


class NotSettled(Exception):
    """The clock was moved, but what came due was not settled in time."""


class World:
    """One Earmark: an allocator and an expiry worker on a database of their own. `start` it, and `close` it."""

    def __init__(self, database: str, settings: Settings) -> None:
        self.database = database
        self._settings = settings
        self._opened = AsyncExitStack()
        self._stop = asyncio.Event()

    async def start(self) -> None:
        """From then on it serves at `port`."""
        settings = self._settings
        pool = await open_pool(
            settings.database_url, name=NAME, size=settings.database_connections, durability=settings.durability
        )
        self._pool = await self._opened.enter_async_context(pool)
        publisher = await self._opened.enter_async_context(Publisher(settings.redis_url, settings.notice_prefix))
        self._sweeper = Sweeper(
            pool,
            request_id_lifetime=timedelta(hours=settings.request_id_hours),
            connections=settings.expiry_connections,
            announce=publisher.publish,
        )
        server = AllocatorServer(settings, pool, announce=publisher.publish)
        await server.start()
        self.port = int(server.address.rpartition(":")[2])
        self._opened.push_async_callback(server.stop)
        listening = asyncio.create_task(Listener(settings.redis_url, settings.notice_prefix, server.hub.hear).run())
        self._opened.callback(listening.cancel)
        working = asyncio.create_task(work(settings, self._stop, Monitoring(self._stop)))
        self._opened.push_async_callback(asyncio.wait, [working])

    async def close(self) -> None:
        """Calls under way have a moment to finish; watches end."""
        self._stop.set()
        await self._opened.aclose()

    async def now(self) -> datetime:
        async with pooled(self._pool, wait_seconds=CONNECTION_SECONDS) as connection:
            return (await clock.read_clock(connection)).now

    async def advance(self, by: timedelta) -> datetime:
        """Moves time forwards, and settles whatever came due. Raises ValueError or NotSettled."""
        async with pooled(self._pool, wait_seconds=CONNECTION_SECONDS) as connection:
            await clock.advance_clock(connection, by)
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                # What the worker has just taken is passed over here, and nobody tells when it is committed.
                while (await self._sweeper.run_once()).full or await self._is_anything_due():  # noqa: ASYNC110
                    await asyncio.sleep(SETTLE_POLL_SECONDS)
        except TimeoutError as error:
            raise NotSettled(f"{NotSettled.__doc__} ({SETTLE_SECONDS:.0f} s)") from error
        return await self.now()

    async def _is_anything_due(self) -> bool:
        async with pooled(self._pool, wait_seconds=CONNECTION_SECONDS) as connection:
            return bool(await due_organizations(connection, (), 1))


class Worlds:
    """One world after the other, all of them at the same address."""

    def __init__(self, postgres_url: str, redis_url: str) -> None:
        self.redis_url = redis_url
        self._door = Door()
        self._postgres_url = postgres_url
        self._copies = 0

    @property
    def address(self) -> str:
        return self._door.address

    async def open(self, catalog: Path | None) -> None:
        """Makes the database that every world's is a copy of, and begins the first world. Raises BadCatalog."""
        await self._execute(f"CREATE DATABASE {TEMPLATE}")
        connection = await asyncpg.connect(self._url(TEMPLATE))
        try:
            await migrate(connection, movable_clock=True)
            if catalog is not None:
                await load_catalog(connection, catalog)
        finally:
            await connection.close()
        await self._door.open()
        self.world = await self._begun(await self._copy())
        self._door.leads_to = self.world.port
        self._spare = asyncio.create_task(self._copy())

    async def close(self) -> None:
        self._spare.cancel()
        await asyncio.wait([self._spare])
        await self._door.close()
        await self.world.close()

    async def reset(self) -> datetime:
        """Another world in the place of this one. Its clock shows the present, however far ahead this one's is."""
        following = await self._begun(await self._spare)
        self._door.leads_to = following.port
        previous, self.world = self.world, following
        await previous.close()
        self._spare = asyncio.create_task(self._copy(instead_of=previous.database))
        return await following.now()

    async def _begun(self, database: str) -> World:
        settings = Settings(
            database_url=self._url(database),
            redis_url=self.redis_url,
            durability=NONE,  # Nothing is kept, and nobody counts on it.
            listen_address=f"{HOST}:0",
            shutdown_seconds=SHUTDOWN_SECONDS,
        )
        world = World(database, settings)
        try:
            await world.start()
        except BaseException:
            await world.close()
            raise
        return world

    async def _copy(self, *, instead_of: str = "") -> str:
        """The name of a new database like the template. Beforehand, for making it takes longer than all the rest."""
        if instead_of:
            await self._execute(f"DROP DATABASE {instead_of} WITH (FORCE)")
        self._copies += 1
        database = f"earmark_{self._copies}"
        await self._execute(f"CREATE DATABASE {database} TEMPLATE {TEMPLATE}")
        return database

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._postgres_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _url(self, database: str) -> str:
        return self._postgres_url.rpartition("/")[0] + f"/{database}"
