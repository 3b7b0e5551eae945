"""Real servers for every test: one Postgres and one Redis a session, a database of its own for each test."""

import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from earmark.messages import MessageClient
from services.admin import embedded
from services.admin.verify import verify
from services.allocator.server import AllocatorServer
from services.ledger.ledger import Ledger
from services.ledger.store.clock import advance_clock
from services.ledger.store.database import Connection, Pool, connect_pool
from services.ledger.store.migrate import migrate
from services.runtime.settings import Settings

# What the shell says of other servers, and of a way out to the web, is not for these.
for name in [name for name in os.environ if name.startswith(("PG", "EARMARK_")) and "TEST" not in name]:
    del os.environ[name]
os.environ["no_grpc_proxy"] = "127.0.0.1,localhost"  # noqa: SIM112 - the name that gRPC reads

TEMPLATE = "earmark_template"
numbers = itertools.count(1)

Advance = Callable[[timedelta], Awaitable[None]]


MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 4 * 2**30
IN_MEMORY = {"fsync": "off", "full_page_writes": "off", "max_connections": "200", "max_wal_size": "256MB"}


@pytest.fixture(scope="session")
def postgres() -> Iterator[embedded.Server]:
    """No test pulls the plug of the machine, so nothing need reach the disk: a copy of a database takes a tenth."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            if _has_room(MEMORY):
                patch.setattr(tempfile, "tempdir", str(MEMORY))
            server = stack.enter_context(embedded.postgres(settings=IN_MEMORY))
        yield server


def _has_room(folder: Path) -> bool:
    """Whether a server can work in it, and run a copy of its programs there."""
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= MEMORY_BYTES_MIN and not found.f_flag & os.ST_NOEXEC


@pytest.fixture(scope="session")
async def template(postgres: embedded.Server) -> str:
    """A migrated database, movable, that every test's own is copied from."""
    server = await asyncpg.connect(postgres.url)
    await server.execute(f"CREATE DATABASE {TEMPLATE}")
    connection = await asyncpg.connect(_url(postgres, TEMPLATE))
    await migrate(connection, movable_clock=True)
    await connection.close()
    await server.close()
    return TEMPLATE


@pytest.fixture
async def database(postgres: embedded.Server, template: str) -> AsyncIterator[str]:
    """The URL of a fresh database. `sound` derives its ledger again from the entries afterwards."""
    name = f"test_{next(numbers)}"
    server = await asyncpg.connect(postgres.url)
    await server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _url(postgres, name)
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


@pytest.fixture(scope="session")
def redis() -> Iterator[embedded.Server]:
    with embedded.redis() as server:
        yield server


@pytest.fixture
def notice_prefix() -> str:
    """Channels of this test's own: pub/sub knows no databases."""
    return f"test-{next(numbers)}.organizations."


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await connect_pool(database, name="test", size=8)
    yield pool
    await pool.close()


@pytest.fixture
async def sound(connection: Connection) -> AsyncIterator[None]:
    """After the test, every figure follows from the entries."""
    yield
    report = await verify(connection)
    assert report.problems == []


@pytest.fixture
async def ledger(pool: Pool, sound: None) -> AsyncIterator[Ledger]:
    ledger = Ledger(pool)
    yield ledger
    await ledger.drained()


@pytest.fixture
def advance(connection: Connection) -> Advance:
    """Moves time forwards for everybody."""

    async def move(by: timedelta) -> None:
        await advance_clock(connection, by)

    return move


@pytest.fixture
async def allocator(database: str, pool: Pool, sound: None) -> AsyncIterator[AllocatorServer]:
    server = AllocatorServer(Settings(database_url=database, listen_address="127.0.0.1:0"), pool)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(allocator: AllocatorServer) -> AsyncIterator[MessageClient]:
    async with MessageClient(allocator.address) as client:
        yield client


def _url(server: embedded.Server, database: str) -> str:
    return server.url.rpartition("/")[0] + f"/{database}"
