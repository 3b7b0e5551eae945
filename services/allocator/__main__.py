"""The allocator process: `earmark-allocator`."""

import asyncio
import sys

from services.allocator.server import AllocatorServer
from services.ledger.clock import announce_clock
from services.ledger.database import connect_pool
from services.ledger.migrate import SchemaMismatch, check_schema
from services.runtime.process import run
from services.runtime.settings import Settings

NAME = "earmark-allocator"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    pool = await connect_pool(settings.database_url, name=NAME, size=settings.database_connections)
    async with pool:
        async with pool.acquire() as connection:
            try:
                await check_schema(connection)
            except SchemaMismatch as error:
                sys.exit(f"{NAME}: {error}")
            await announce_clock(connection)
        server = AllocatorServer(settings, pool)
        await server.start()
        print(f"serving on {server.address}", flush=True)  # Whoever started us with port 0 reads it here.
        await stop.wait()
        await server.stop()


def main() -> None:
    run(NAME, serve)


if __name__ == "__main__":
    main()
