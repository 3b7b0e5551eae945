"""Connections to Postgres: how they are made, and which failures mean that it is away."""

from typing import Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

AWAY: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""The database, or the way to it, is away: nothing is wrong with the call."""

LOCK_TIMEOUT_MS: Final = 150
"""One wait for a row lock with a pooled connection in hand; who needs longer waits outside the pool."""


async def connect_pool(url: str, *, name: str, size: int) -> Pool:
    """A pool of up to `size` connections that are fit for the ledger's transactions."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        command_timeout=None,
        server_settings={
            "application_name": name,
            "timezone": "UTC",
            "lock_timeout": f"{LOCK_TIMEOUT_MS}ms",
            # A host that vanishes lets go of its locks soon; one that reckons for a while keeps them.
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
            "idle_in_transaction_session_timeout": "5min",
            # Plans made while a table was empty would stay bad as it fills.
            "plan_cache_mode": "force_generic_plan",
            "jit": "off",
        },
    )
