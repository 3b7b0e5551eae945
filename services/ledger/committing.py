"""Committing, so that what is answered is what happened.

Nothing here cancels a commit: cancelling one that waits for a standby succeeds with a warning, and a failover then
loses what was acknowledged.
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg

from services.ledger.store.database import Connection

log = logging.getLogger(__name__)

T = TypeVar("T")


class CommitLost(Exception):
    """The connection was lost during the commit: whether it happened is to be looked up."""


class NotReplicated(Exception):
    """The commit happened, but the server stopped waiting for its standby: a failover may undo it."""


async def commit(connection: Connection, transaction: asyncpg.transaction.Transaction) -> None:
    """Returns when the transaction is durable. Raises CommitLost or NotReplicated."""
    await durably(connection, transaction.commit())


async def durably(connection: Connection, committing: Coroutine[Any, Any, T]) -> T:
    """What a statement that commits returns, once that is durable.

    Raises CommitLost or NotReplicated; and a PostgresError where the server refused it: then it has rolled back.
    """
    warnings: list[object] = []

    def listener(_: object, message: asyncpg.PostgresLogMessage) -> None:
        if not isinstance(message, asyncpg.AdminShutdownError | asyncpg.CrashShutdownError):
            warnings.append(message)  # A server that goes away says so too, after a commit that is well.

    connection.add_log_listener(listener)
    try:
        returned = await asyncio.shield(committing)
        await asyncio.sleep(0)  # The listener is called on the loop's next turn.
    except asyncpg.PostgresError as error:
        if _lives(connection):  # It answered, and goes on: so it has rolled back.
            raise
        raise CommitLost(str(error)) from error
    except Exception as error:  # Whatever it is, by then it may be committed.
        raise CommitLost(str(error)) from error
    finally:
        with suppress(asyncpg.InterfaceError):  # The pool has taken back a connection that was lost.
            connection.remove_log_listener(listener)
    if warnings:
        raise NotReplicated(str(warnings[0]))
    return returned


def _lives(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # The pool has taken it back.
        return False


async def roll_back(transaction: asyncpg.transaction.Transaction) -> None:
    """The error that led here is what counts; a connection that is gone has rolled back by itself."""
    try:
        await transaction.rollback()
    except Exception:
        log.debug("rolling back failed", exc_info=True)
