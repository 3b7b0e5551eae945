"""All of Earmark at once: servers, schema, catalogue, allocators and expiry workers, for as long as a block runs."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import asyncpg

from services.admin import embedded
from services.admin.catalog_file import SAMPLE_CATALOG, load_catalog
from services.ledger.store.migrate import migrate

DATABASE_VARIABLE: Final = "EARMARK_DATABASE_URL"
REDIS_VARIABLE: Final = "EARMARK_REDIS_URL"


class StackError(Exception):
    """A part of Earmark did not start."""


@dataclass(frozen=True, slots=True)
class Stack:
    database_url: str
    redis_url: str
    addresses: Sequence[str]
    """Of the allocators."""
    offerings: int
    """In the catalogue."""
    children: Sequence[embedded.Child] = field(repr=False)
    """The allocators, then the expiry worker."""


@contextmanager
def stack(
    data_folder: Path | None,
    *,
    listen_address: str = "127.0.0.1:0",
    allocators: int = 1,
    movable_clock: bool = False,
    log: IO[bytes] | None = None,
) -> Iterator[Stack]:
    """Starts what EARMARK_DATABASE_URL and EARMARK_REDIS_URL do not name, and stops all of it in the end.

    Without a data folder nothing is kept. What the children log goes to `log`, or where this process's errors go.
    Raises StackError, EmbeddedError or SchemaMismatch.
    """
    with ExitStack() as running:
        database_url = os.environ.get(DATABASE_VARIABLE) or running.enter_context(embedded.postgres(data_folder)).url
        redis_url = os.environ.get(REDIS_VARIABLE) or running.enter_context(embedded.redis(data_folder)).url
        offerings = asyncio.run(_prepare(database_url, movable_clock))
        environment = {**os.environ, DATABASE_VARIABLE: database_url, REDIS_VARIABLE: redis_url}
        serving = {**environment, "EARMARK_LISTEN_ADDRESS": listen_address}
        started = [_allocator(running, serving, log) for _ in range(allocators)]
        worker = _worker(running, environment, log)
        yield Stack(
            database_url,
            redis_url,
            addresses=[address for _, address in started],
            offerings=offerings,
            children=[*(child for child, _ in started), worker],
        )


async def _prepare(database_url: str, movable_clock: bool) -> int:
    """Migrates, and loads the sample catalogue; returns the number of its offerings."""
    try:
        connection = await asyncpg.connect(database_url)
    except (OSError, asyncpg.PostgresError) as error:
        raise StackError(f"the database of {DATABASE_VARIABLE} cannot be reached: {error}") from error
    try:
        # An existing database keeps what was decided for it.
        await migrate(connection, movable_clock=movable_clock or None)
        return (await load_catalog(connection, SAMPLE_CATALOG, only_new=True)).offerings
    finally:
        await connection.close()


def _allocator(running: ExitStack, environment: Mapping[str, str], log: IO[bytes] | None) -> tuple[embedded.Child, str]:
    command = [sys.executable, "-m", "services.allocator"]
    child = running.enter_context(embedded.child(command, env=environment, stdout=subprocess.PIPE, stderr=log))
    assert child.stdout is not None
    line = child.stdout.readline().decode().strip()
    if not line.startswith("serving on "):
        raise StackError("the allocator did not start; its log above says why")
    return child, line.removeprefix("serving on ")


def _worker(running: ExitStack, environment: Mapping[str, str], log: IO[bytes] | None) -> embedded.Child:
    command = [sys.executable, "-m", "services.expiry"]
    return running.enter_context(embedded.child(command, env=environment, stderr=log))
