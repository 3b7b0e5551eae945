"""A connection to the database of EARMARK_DATABASE_URL, for the time of one command."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from services.ledger.store.database import Connection
from services.runtime.settings import Settings

T = TypeVar("T")


def with_connection(work: Callable[[Connection], Awaitable[T]], **server_settings: str) -> T:
    """What `work` returns; the settings are its session's. Raises BadSettings, OSError or what asyncpg raises."""

    async def connected() -> T:
        settings = Settings.from_environment(os.environ)
        connection = await asyncpg.connect(settings.database_url, timeout=10, server_settings=server_settings)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())
