"""Connections to Postgres: how they are made, and which failures mean that it is away."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

log = logging.getLogger(__name__)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

AWAY: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidCatalogNameError,  # It is being restored, and is not there for a moment.
)
"""The database, or the way to it, is away, or it has troubles of its own: nothing is wrong with the call."""

CANNOT_CONNECT: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What `connect_pool` raises: the database is away, or its URL is wrong."""

RELEASE_SECONDS: Final = 1.0
"""A connection that cannot be given back in time is closed."""

WRITE_BUFFER_BYTES: Final = 2**28
"""More than all rows of one transaction take."""

LOCK_TIMEOUT_MS: Final = 150
"""One wait for a row lock with a pooled connection in hand; who needs longer waits outside the pool."""

STANDBY_SECONDS: Final = 30.0
"""So long a new connection waits for the standby, if nobody loses patience before."""

BARRIER: Final = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') <> 'remote_apply';
SELECT pg_current_xact_id(), pg_logical_emit_message(true, 'earmark', '')
"""
"""One transaction, which changes nothing and waits for the standby as every commit does."""


class NotPrimary(ConnectionError):
    """The database is a standby, which takes no writes."""


class StandbyAway(ConnectionError):
    """What can be read here may not be on the standby: a failover may undo it."""


async def connect_pool(url: str, *, name: str, size: int) -> Pool:
    """A pool of up to `size` connections that are fit for the ledger's transactions.

    Each is handed out once the standby, if commits wait for one, has all that can be seen through it: until then
    whoever asks for it waits. Raises CANNOT_CONNECT, StandbyAway among them after 30 s.
    """
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        command_timeout=None,
        init=_made_fit,
        reset=_nothing_to_reset,
        server_settings={
            "application_name": name,
            "timezone": "UTC",
            "lock_timeout": f"{LOCK_TIMEOUT_MS}ms",
            # A host that vanishes lets go of its locks soon; one that reckons for a while keeps them.
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
            "idle_in_transaction_session_timeout": "1min",
            # Plans are made once and kept. Those made while a table was small would stay bad as it fills: so indexes
            # are asked from the first, and every question has one.
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
            "enable_hashjoin": "off",
            "enable_mergejoin": "off",
            "jit": "off",
            # A generic plan guesses large; no question of ours is worth starting processes for.
            "max_parallel_workers_per_gather": "0",
        },
    )


async def _made_fit(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """What fails here closes the connection, and leaves nothing that waits at the server."""
    _never_pause_writing(connection)
    try:
        await _wait_for_standby(connection)
    except BaseException:
        with suppress(Exception):
            await connection.close(timeout=RELEASE_SECONDS)
        raise


async def _wait_for_standby(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A server that crashed shows, once it is back, also what was waiting for its standby and was told nobody.

    So nothing is read before a commit of our own has been waited for, which was written after all of that. Nothing
    weaker than `on` is asked of commits, whatever is set for the server or the role. Raises NotPrimary or StandbyAway.
    """
    warnings: list[object] = []

    def listener(_: object, message: object) -> None:
        warnings.append(message)

    connection.add_log_listener(listener)
    try:
        async with asyncio.timeout(STANDBY_SECONDS):
            await connection.execute(BARRIER)
        await asyncio.sleep(0)  # The listener is called on the loop's next turn.
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise NotPrimary(NotPrimary.__doc__) from error
    except TimeoutError as error:
        raise StandbyAway(StandbyAway.__doc__) from error
    connection.remove_log_listener(listener)
    if warnings:  # The server was told to wait no longer.
        raise StandbyAway(str(warnings[0]))


def _never_pause_writing(connection: Connection) -> None:
    """A driver that waits until it may go on writing would wait for ever if the connection is lost meanwhile."""
    driver: Any = connection
    driver._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)


async def _nothing_to_reset(_: Connection) -> None:
    """No transaction of ours leaves anything in its session, so giving a connection back costs no round trip."""


@asynccontextmanager
async def pooled(pool: Pool, *, wait_seconds: float) -> AsyncIterator[Connection]:
    """A connection of the pool; raises TimeoutError if none was to be had in time.

    Whatever fails as it is given back is no failure: by then what was to be done is done, and must not be done again.
    """
    connection = await pool.acquire(timeout=wait_seconds)
    try:
        yield connection
    finally:
        try:
            await pool.release(connection, timeout=RELEASE_SECONDS)
        except Exception:
            log.debug("giving a connection back failed", exc_info=True)
