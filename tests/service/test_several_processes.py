"""`earmark-allocator --processes N`: several allocators on one port, which start, race and end as one."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from earmark.messages import MessageClient
from services.admin import embedded
from services.ledger.store.database import Connection
from tests.support.processes import ALLOCATOR, DEADLINE_SECONDS, NO_REDIS, ended, environment, run
from tests.support.race import OFFERING, ORGANIZATION, check_race, race, take_a_seat
from tests.support.service_stories import buy, offer

PROCESSES = 3
RUNNERS = 30
SEATS = 20
SEAT_CREDITS = 20

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="finds children in /proc")


@contextmanager
def several(database: str) -> Iterator[tuple[embedded.Child, str]]:
    """As many as `PROCESSES`, and their one address."""
    env = environment(database_url=database, listen_address="127.0.0.1:0", redis_url=NO_REDIS, log_level="ERROR")
    command = [sys.executable, "-m", ALLOCATOR, "--processes", str(PROCESSES)]
    with embedded.child(command, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("serving on "), "it did not start; its log above says why"
        yield process, line.removeprefix("serving on ").strip()


async def connected(connection: Connection) -> int:
    """How many allocator processes work on the database: each has a port of its own for each connection."""
    number: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'earmark-allocator'"
    )
    return number


def children(process: embedded.Child) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


async def test_they_race_as_one_and_end_as_one(database: str, connection: Connection) -> None:
    with several(database) as (process, address):
        assert await connected(connection) >= PROCESSES
        async with MessageClient(address) as client:
            await offer(client, **{OFFERING: str(SEAT_CREDITS)})
            await client.create_organization(ORGANIZATION)
            await buy(client, ORGANIZATION, SEATS * SEAT_CREDITS)
        result = await race([address], RUNNERS, take_a_seat)
        await check_race(connection, result, fitting=SEATS, seat_credits=SEAT_CREDITS)
        process.terminate()
        assert await ended(process) == 0
    assert await gone(connection)


@needs_linux
async def test_one_that_dies_takes_the_others_with_it(database: str, connection: Connection) -> None:
    with several(database) as (process, _):
        os.kill(children(process)[1], signal.SIGKILL)
        assert await ended(process) == signal.SIGKILL
    assert await gone(connection)


async def test_they_end_when_whoever_started_them_is_killed(database: str, connection: Connection) -> None:
    with several(database) as (process, _):
        os.kill(process.pid, signal.SIGKILL)
        assert await gone(connection)


def test_an_address_that_is_no_address_of_ours(database: str) -> None:
    done = run(ALLOCATOR, "--processes", "2", database_url=database, listen_address="192.0.2.1:1", log_level="ERROR")
    assert done.returncode == 1
    assert "earmark-allocator: cannot listen on 192.0.2.1:1" in done.stderr


async def gone(connection: Connection) -> bool:
    """Once no allocator is left."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await connected(connection):  # noqa: ASYNC110 - nobody else can tell us
            await asyncio.sleep(0.01)
    return True
