"""The allocator process: `earmark-allocator`."""

import asyncio
import sys

from services.allocator.server import AllocatorServer
from services.ledger.clock import announce_clock
from services.ledger.database import CANNOT_CONNECT, connect_pool
from services.ledger.migrate import SchemaMismatch, check_schema
from services.runtime.process import run
from services.runtime.settings import Settings

NAME = "earmark-allocator"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    try:
        pool = await connect_pool(settings.database_url, name=NAME, size=settings.database_connections)
    except CANNOT_CONNECT as error:
        sys.exit(f"{NAME}: the database of EARMARK_DATABASE_URL cannot be reached: {error}")
    async with pool:
        async with pool.acquire() as connection:
            try:
                await check_schema(connection)
            except SchemaMismatch as error:
                sys.exit(f"{NAME}: {error}")
            await announce_clock(connection)
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
