"""The allocator process: `earmark-allocator`."""

import asyncio
import sys

from services.allocator.server import AllocatorServer
from services.ledger.starting import CannotStart, open_pool
from services.runtime.process import run
from services.runtime.settings import Settings

NAME = "earmark-allocator"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    try:
        pool = await open_pool(settings.database_url, name=NAME, size=settings.database_connections)
    except CannotStart as error:
        sys.exit(f"{NAME}: {error}")
    async with pool:
        server = AllocatorServer(settings, pool)
        await _start(server, settings)
        print(f"serving on {server.address}", flush=True)  # Whoever started us with port 0 reads it here.
        await stop.wait()
        await server.stop()


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
