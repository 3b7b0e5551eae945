"""The allocator with commits that take longer, so that its lanes are what limits it, long before gRPC does.

A lane carries out one call at a time, a 512th of what it may; and so much of the queues' bounds is left. If it is told
so, it has no bounds at all, which is what the test of overload must notice.
"""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from services.allocator.__main__ import main
from services.ledger import committing, lane, ledger, together
from services.ledger.store.database import Connection

COMMIT_SECONDS_MORE: Final = 0.05
SHARE: Final = 512
QUEUE_CALLS_MAX: Final = lane.QUEUE_CALLS_MAX // SHARE
WAITING_CALLS_MAX: Final = ledger.WAITING_CALLS_MAX // SHARE
UNBOUNDED: Final = "EARMARK_TEST_UNBOUNDED"
ENOUGH_FOR_ALL: Final = 10**9

T = TypeVar("T")

durably = committing.durably


async def durably_and_late(connection: Connection, what: Coroutine[Any, Any, T]) -> T:
    await asyncio.sleep(COMMIT_SECONDS_MORE)
    return await durably(connection, what)


def bound(queue_calls_max: int, waiting_calls_max: int) -> None:
    setattr(lane, "QUEUE_CALLS_MAX", queue_calls_max)  # noqa: B010 - it is final to everybody else
    setattr(ledger, "WAITING_CALLS_MAX", waiting_calls_max)  # noqa: B010


def take_all_who_come() -> None:
    bound(ENOUGH_FOR_ALL, ENOUGH_FOR_ALL)
    setattr(lane.Lane, "_wait_seconds", lambda _: 0.0)  # noqa: B010 - nor is a method


if __name__ == "__main__":
    setattr(committing, "durably", durably_and_late)  # noqa: B010 - a function is no variable to everybody else
    setattr(together, "durably", durably_and_late)  # noqa: B010
    setattr(lane, "BATCH_CALLS_MAX", lane.BATCH_CALLS_MAX // SHARE)  # noqa: B010
    bound(QUEUE_CALLS_MAX, WAITING_CALLS_MAX)
    if UNBOUNDED in os.environ:
        take_all_who_come()
    main()
