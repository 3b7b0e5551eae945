"""The allocator process: `earmark-allocator`."""

import asyncio
import sys

from services.allocator.server import AllocatorServer
from services.ledger.starting import CannotStart, open_pool
from services.notices.listener import Listener
from services.notices.metrics import export_publisher
from services.notices.publisher import Publisher
from services.runtime.monitoring import Monitoring
from services.runtime.process import run
from services.runtime.settings import Settings

NAME = "earmark-allocator"


async def serve(settings: Settings, stop: asyncio.Event, monitoring: Monitoring) -> None:
    try:
        pool = await open_pool(settings.database_url, name=NAME, size=settings.database_connections)
    except CannotStart as error:
        sys.exit(f"{NAME}: {error}")
    async with pool, Publisher(settings.redis_url, settings.notice_prefix) as publisher:
        export_publisher(monitoring.registry, publisher)
        server = AllocatorServer(settings, pool, monitoring.registry, publisher.publish)
        await _start(server, settings)
        listener = Listener(settings.redis_url, settings.notice_prefix, server.hub.hear)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listener.run())
            monitoring.ready()
            print(f"serving on {server.address}", flush=True)  # Whoever started us with port 0 reads it here.
            await stop.wait()
            await server.stop()
            listening.cancel()


async def _start(server: AllocatorServer, settings: Settings) -> None:
    try:
        await server.start()
    except OSError as error:
        sys.exit(f"{NAME}: a TLS file cannot be read: {error}")
    except RuntimeError:
        sys.exit(f"{NAME}: cannot listen on {settings.listen_address}: is the port taken, or a TLS file no PEM file?")


def main() -> None:
    run(NAME, serve)


if __name__ == "__main__":
    main()
