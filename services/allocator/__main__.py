"""The allocator process: `earmark-allocator`."""

import asyncio
import sys
from functools import partial
from typing import Any

import click

from services.allocator.processes import SHARE_PORT, CannotShare, leave_with_parent, serve_with
from services.allocator.server import AllocatorServer
from services.ledger.starting import CannotStart, closing, open_pool
from services.notices.listener import Listener
from services.notices.metrics import export_publisher
from services.notices.publisher import Publisher
from services.runtime.monitoring import Monitoring
from services.runtime.process import read_settings, run, stop_on_signals
from services.runtime.settings import Settings

NAME = "earmark-allocator"


async def serve(settings: Settings, stop: asyncio.Event, monitoring: Monitoring, *, share_port: bool = False) -> None:
    try:
        pool = await open_pool(
            settings.database_url, name=NAME, size=settings.database_connections, durability=settings.durability
        )
    except CannotStart as error:
        sys.exit(f"{NAME}: {error}")
    async with closing(pool), Publisher(settings.redis_url, settings.notice_prefix) as publisher:
        export_publisher(monitoring.registry, publisher)
        server = AllocatorServer(settings, pool, monitoring.registry, publisher.publish, share_port=share_port)
        await _start(server, settings)
        listener = Listener(settings.redis_url, settings.notice_prefix, server.hub.hear)
        async with asyncio.TaskGroup() as group:
            beside: list[asyncio.Task[Any]] = [group.create_task(listener.run())]
            if share_port:
                beside.append(group.create_task(leave_with_parent(stop)))
            monitoring.ready()
            print(f"serving on {server.address}", flush=True)  # Whoever started us with port 0 reads it here.
            await stop.wait()
            await server.stop()
            for each in beside:
                each.cancel()


async def _start(server: AllocatorServer, settings: Settings) -> None:
    try:
        await server.start()
    except OSError as error:
        sys.exit(f"{NAME}: a TLS file cannot be read: {error}")
    except RuntimeError:
        sys.exit(f"{NAME}: cannot listen on {settings.listen_address}: is the port taken, or a TLS file no PEM file?")


async def _serve_with(processes: int, settings: Settings) -> int:
    try:
        return await serve_with(processes, settings, stop_on_signals())
    except CannotShare as error:
        sys.exit(f"{NAME}: {error}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="So many processes share the port."
)
@click.option(SHARE_PORT, is_flag=True, hidden=True)
def main(processes: int, share_port: bool) -> None:
    """The allocator: Earmark's gRPC server, set up by EARMARK_... variables (docs/settings.md)."""
    if processes == 1:
        run(NAME, partial(serve, share_port=share_port))
    else:
        sys.exit(asyncio.run(_serve_with(processes, read_settings(NAME))))


if __name__ == "__main__":
    main()
