"""Servers for the story, its last line, and what is shown when it fails."""

import asyncio
import os
import tempfile
import time
from typing import IO, Final

import asyncpg
import click
from rich.console import Console

from earmark import EarmarkError
from earmark.messages import MessageClient
from services.admin.demo import story
from services.admin.demo.check import Mismatch
from services.admin.demo.page import Page
from services.admin.demo.stage import Stage
from services.admin.demo.watcher import Watcher
from services.admin.stack import Stack, stack

LOG_TAIL_BYTES: Final = 16_384
LOG_TAIL_LINES: Final = 30
INTERRUPTED: Final = 130
TITLE: Final = "Earmark, demonstrated"
PARAGRAPH: Final = (
    "The story of one organization on real servers: PostgreSQL, Valkey, two allocators and an expiry worker, started "
    "for this alone and gone when it ends. Time is moved, not waited for. A watcher prints each change as it comes, "
    "indented. Figures are credits; each is compared with what the story expects before it is printed."
)


def demo() -> int:
    """Returns the exit status: 0, 1 if anything is not as the story expects, 130 after Ctrl-C.

    Raises what `stack` raises. It is for a process of its own, whose environment it changes.
    """
    began = time.monotonic()
    page = Page(Console(highlight=False))
    page.title(TITLE, PARAGRAPH)
    set_aside = _forget_servers_elsewhere()
    if set_aside:
        page.aside("set, but without a part in this", ", ".join(set_aside))
    # A file without a name: nothing of it remains however this process ends.
    with tempfile.TemporaryFile() as log:
        try:
            entries = _tell(page, log)
        except KeyboardInterrupt:
            click.echo("\ndemo: interrupted", err=True)
            return INTERRUPTED
        except (Mismatch, EarmarkError) as error:
            click.echo(f"{_tail(log)}\ndemo: failed after step {page.steps}: {error}", err=True)
            return 1
        except Exception:
            click.echo(_tail(log), err=True)
            raise
    page.end(f"demo: ok, {page.steps} steps, {entries} ledger entries derived again, {time.monotonic() - began:.1f} s")
    return 0


def _forget_servers_elsewhere() -> list[str]:
    """Takes every setting out of the environment, also for the children; returns the variables' names.

    The story moves time and makes up an organization: nobody wants that in a database with another purpose.
    """
    found = sorted(name for name in os.environ if name.startswith(("EARMARK_", "PG")))
    for name in found:
        del os.environ[name]
    # The allocators are on this machine: no proxy is to be asked for the way.
    os.environ["no_grpc_proxy"] = "127.0.0.1"  # noqa: SIM112 - the name that gRPC reads
    return found


def _tell(page: Page, log: IO[bytes]) -> int:
    """Returns the number of entries that were derived again."""
    with stack(None, allocators=2, movable_clock=True, log=log) as running:
        return asyncio.run(_on_stage(running, page))


async def _on_stage(running: Stack, page: Page) -> int:
    first, second = running.addresses
    *_, worker = running.children
    connection = await asyncpg.connect(running.database_url)
    try:
        async with MessageClient(first, actor="demo") as one, MessageClient(second, actor="demo") as other:
            watcher = Watcher(page)
            try:
                return await story.tell(Stage(page, one, other, connection, watcher), worker)
            finally:
                await watcher.end()
    finally:
        await connection.close()


def _tail(log: IO[bytes]) -> str:
    """The end of what the servers logged."""
    size = os.fstat(log.fileno()).st_size
    end = os.pread(log.fileno(), LOG_TAIL_BYTES, max(0, size - LOG_TAIL_BYTES))
    lines = end.decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return "\n".join(["", "The end of the servers' logs:", *(f"  {line}" for line in lines)])
