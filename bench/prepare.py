"""The organizations that calls are made of, created as callers would create them."""

import asyncio
from datetime import UTC, datetime
from typing import Final

from services.ledger.ledger import Ledger
from services.ledger.rules.commands import Call, CreateOrganization, CreateSubscription
from services.ledger.rules.limits import CREDITS_MAX
from services.ledger.rules.refusal import Refused
from services.ledger.store.database import Connection, connect_pool

HOT: Final = "hot"
SPREAD: Final = "spread-"
"""The number follows."""
NAIVE_HOT: Final = "naive-hot"
NAIVE_SPREAD: Final = "naive-spread-"
BATCH: Final = "batch"
BATCH_ALONE: Final = "batch-alone"
SLOW: Final = "slow"
NEIGHBOUR: Final = "neighbour"
SDK: Final = "sdk"
ALONE: Final = (HOT, NAIVE_HOT, BATCH, BATCH_ALONE, SLOW, NEIGHBOUR, SDK)

CREATING_AT_ONCE: Final = 32
CONNECTIONS: Final = 16
CALL_SECONDS: Final = 30.0
FAR: Final = datetime(2199, 1, 1, tzinfo=UTC)


async def create_organizations(database_url: str, spread: int) -> None:
    """Each has more credits than all calls of a run can take, and no bound besides."""
    names = [*ALONE, *(f"{prefix}{number}" for prefix in (SPREAD, NAIVE_SPREAD) for number in range(spread))]
    room = asyncio.Semaphore(CREATING_AT_ONCE)
    async with await connect_pool(database_url, name="bench", size=CONNECTIONS) as pool:
        ledger = Ledger(pool)
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(_create(ledger, name, room))
        await ledger.drained()


async def _create(ledger: Ledger, organization: str, room: asyncio.Semaphore) -> None:
    calls = [Call(CreateOrganization(overdraft_unlimited=True)), Call(CreateSubscription("main", CREDITS_MAX, FAR))]
    async with room:
        for verdict in await ledger.change_each(organization, calls, CALL_SECONDS):
            if isinstance(verdict, Refused):
                raise verdict


async def settle_down(connection: Connection) -> None:
    """What was prepared is on disk, and the planner knows of it, before anything is measured."""
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
