"""The two servers that the campaigns rely on: what is acknowledged survives, and what hangs is told nobody."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from services.ledger.store.database import Connection
from tests.support.cluster import Cluster, Node, cluster
from tests.support.descendants import all_end
from tests.support.processes import environment

WAITS_FOR_STANDBY = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
START = """
from tests.support.cluster import cluster
with cluster() as both:
    print(both.primary.pid, both.standby.pid, both.primary.data_folder, both.standby.data_folder, flush=True)
    signal.pause()
"""


@pytest.fixture
def both() -> Iterator[Cluster]:
    with cluster() as both:
        yield both


@asynccontextmanager
async def connected(node: Node) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(node.url)
    try:
        yield connection
    finally:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=5)


async def write(both: Cluster, number: int) -> None:
    async with connected(both.primary) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS written (number int)")
        await connection.execute("INSERT INTO written VALUES ($1)", number)


async def written(both: Cluster) -> list[int]:
    async with connected(both.primary) as connection:
        return [row["number"] for row in await connection.fetch("SELECT number FROM written ORDER BY number")]


async def hanging(both: Cluster, number: int) -> "asyncio.Task[None]":
    """A commit that waits for the standby."""
    commit = asyncio.create_task(write(both, number))
    async with connected(both.primary) as watcher:
        while not await watcher.fetch(WAITS_FOR_STANDBY):
            assert not commit.done()
    return commit


async def test_what_is_acknowledged_survives_a_crash_of_the_primary(both: Cluster) -> None:
    await write(both, 1)
    before = both.primary
    await asyncio.to_thread(both.crash_primary)
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(before.url)
    await asyncio.to_thread(both.start_primary)
    assert await written(both) == [1]
    await write(both, 2)
    assert both.primary.url == before.url
    assert both.primary.pid != before.pid


async def test_a_backend_that_is_killed_takes_all_connections_with_it_and_no_data(both: Cluster) -> None:
    await write(both, 1)
    async with connected(both.primary) as one, connected(both.primary) as another:
        await asyncio.to_thread(both.crash_backend)
        for connection in (one, another):
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await connection.execute("SELECT 1")
    assert await written(both) == [1]
    await asyncio.to_thread(both.crash_backend)
    await write(both, 2)


async def test_a_commit_hangs_while_the_standby_is_away_and_ends_when_it_is_back(both: Cluster) -> None:
    await write(both, 1)
    await asyncio.to_thread(both.lose_standby)
    await asyncio.to_thread(both.crash_primary)
    await asyncio.to_thread(both.start_primary)
    commit = await hanging(both, 2)
    assert await written(both) == [1]
    await asyncio.to_thread(both.start_standby)
    await commit
    await asyncio.to_thread(both.pause_standby)
    commit = await hanging(both, 3)
    await asyncio.to_thread(both.resume_standby)
    await commit
    assert await written(both) == [1, 2, 3]


async def test_what_is_acknowledged_survives_the_loss_of_one_primary_after_another(both: Cluster) -> None:
    for number in (1, 2):
        await write(both, number)
        lost = both.primary
        await asyncio.to_thread(both.promote_standby)
        assert not lost.data_folder.exists()
        assert both.standby is None
        assert await written(both) == [-1, 1, 2] if number == 2 else [1]
        commit = await hanging(both, -number)
        await asyncio.to_thread(both.seed_standby)
        await commit


async def test_what_hung_is_undone_when_a_standby_that_never_had_it_is_promoted(both: Cluster) -> None:
    await write(both, 1)
    await asyncio.to_thread(both.lose_standby)
    commit = await hanging(both, 2)
    await asyncio.to_thread(both.promote_standby)
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await commit
    assert await written(both) == [1]


@pytest.mark.skipif(sys.platform != "linux", reason="watches processes by pidfd and /proc")
def test_nothing_remains_when_whoever_started_them_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", START], env=environment(), stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        one, other, *folders = parent.stdout.readline().split()
        with all_end([pid for server in (int(one), int(other)) for pid in (server, parent_of(server))]):
            parent.kill()
    assert not any(os.path.exists(folder) for folder in folders)


def parent_of(pid: int) -> int:
    """The guardian: it removes the folder, and is the last to go."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])
