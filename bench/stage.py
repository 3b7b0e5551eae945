"""What the bench runs on: a Postgres that keeps what it has committed, Redis, and the processes to be measured."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from bench.crew import BenchError, Crew, crew, environment
from services.admin import embedded
from services.admin.catalog_file import SAMPLE_CATALOG, load_catalog
from services.ledger.store.database import Connection
from services.ledger.store.migrate import migrate

POSTGRES: Final = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    # A checkpoint amid a row would be noise: there is one before each part instead.
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
}
STOP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Stage:
    database_url: str
    redis_url: str
    connection: Connection
    """The bench's own."""
    crew: Crew
    allocator: embedded.Child
    address: str
    """Of the allocator."""

    @contextmanager
    def another_allocator(self, *options: str) -> Iterator[str]:
        """One with options of `bench.server`, while the block runs; its address."""
        with _allocator(self._settings, *options) as (_, address):
            yield address

    @contextmanager
    def expiry_worker(self, connections: int) -> Iterator[embedded.Child]:
        """A real one while the block runs."""
        settings = environment(**self._settings, expiry_connections=str(connections))
        command = [sys.executable, "-m", "services.expiry"]
        with embedded.child(command, env=settings, grace=STOP_SECONDS) as child:
            yield child

    @property
    def _settings(self) -> dict[str, str]:
        return _settings(self.database_url, self.redis_url)


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """All of it runs while the block does, with its data below the folder, and nothing of it remains."""
    with ExitStack() as running:
        data = running.enter_context(_folder_of_its_own(folder))
        database_url = running.enter_context(embedded.postgres(data, settings=POSTGRES)).url
        redis_url = running.enter_context(embedded.redis()).url
        connection = await asyncpg.connect(database_url)
        try:
            await migrate(connection, movable_clock=True)
            await load_catalog(connection, SAMPLE_CATALOG)
            allocator, address = running.enter_context(_allocator(_settings(database_url, redis_url)))
            async with crew() as workers:
                yield Stage(database_url, redis_url, connection, workers, allocator, address)
        finally:
            await connection.close()


@contextmanager
def _folder_of_its_own(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="bench-", dir=folder))
    try:
        yield data
    finally:
        shutil.rmtree(data)


def _settings(database_url: str, redis_url: str) -> dict[str, str]:
    return {
        "database_url": database_url,
        "redis_url": redis_url,
        "listen_address": "127.0.0.1:0",
        "log_level": "ERROR",
        "shutdown_seconds": "2",
    }


@contextmanager
def _allocator(settings: dict[str, str], *options: str) -> Iterator[tuple[embedded.Child, str]]:
    command = [sys.executable, "-m", "bench.server", *options]
    with embedded.child(command, env=environment(**settings), stdout=subprocess.PIPE, grace=STOP_SECONDS) as child:
        assert child.stdout is not None
        line = child.stdout.readline().decode().strip()
        if not line.startswith("serving on "):
            raise BenchError("the server did not start; its log above says why")
        yield child, line.removeprefix("serving on ")
