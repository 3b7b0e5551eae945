"""What the stories of the service tests are told with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

import earmark
from earmark import EarmarkError
from earmark.messages import MessageClient, price
from earmark.v1.resources_pb2 import Balance, Consequences
from earmark.v1.subscription_service_pb2 import CreateSubscriptionResponse
from services.allocator.server import AllocatorServer
from services.ledger.store.clock import read_clock
from services.ledger.store.database import Connection, Pool
from services.runtime.settings import Settings

DAY = timedelta(days=1)
YEAR = timedelta(days=365)

Item = TypeVar("Item")


async def refused(call: Awaitable[object], reason: str) -> EarmarkError:
    """The error of a call that must be refused for this reason."""
    with pytest.raises(EarmarkError) as caught:
        await call
    assert caught.value.reason == reason, str(caught.value)
    return caught.value


async def everything(items: AsyncIterator[Item]) -> list[Item]:
    """All items of a list, page after page."""
    return [item async for item in items]


async def buy(
    client: MessageClient,
    organization: str,
    credits: int,
    *,
    subscription: str = "",
    lasting: timedelta = YEAR,
    grace: timedelta | None = None,
    renews: str = "",
    since: datetime | None = None,
) -> CreateSubscriptionResponse:
    """A purchase from now on; `since` is now, to be given where the database's clock was moved."""
    return await client.create_subscription(
        organization,
        credits=credits,
        end_time=(since or datetime.now(UTC)) + lasting,
        grace_period=grace,
        renews=renews,
        subscription=subscription,
    )


async def offer(client: MessageClient, **credits_per_block: str) -> None:
    """Offerings by their prices; `_` in a name is `-` in the id."""
    for name, amount in credits_per_block.items():
        await client.create_offering(name.replace("_", "-"), price=price(amount))


def figures(balance: Balance) -> tuple[int, int, int, int]:
    """(valid, in grace, allocated, suspended)"""
    return (
        balance.valid_credits,
        balance.grace_credits,
        balance.allocated_credits,
        balance.suspended_credits,
    )


def consequences(answer: Consequences) -> tuple[list[str], list[str], list[str]]:
    """The ids that (resumed, were suspended, wait)."""
    resumed, suspended, waiting = (
        [earmark.names.id_of(name) for name in listed.names]
        for listed in (answer.resumed, answer.suspended, answer.waiting)
    )
    return resumed, suspended, waiting


def instant(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)


async def now(connection: Connection) -> datetime:
    """What time it is for Earmark."""
    return (await read_clock(connection)).now


async def kinds(connection: Connection, organization: str) -> list[str]:
    """What the ledger says happened, from the beginning."""
    rows = await connection.fetch(
        "SELECT kind FROM entry WHERE organization = $1 ORDER BY revision",
        organization,
    )
    return [row["kind"] for row in rows]


@asynccontextmanager
async def serving(settings: Settings, pool: Pool) -> AsyncIterator[str]:
    """The address of an allocator with settings of its own."""
    server = AllocatorServer(settings, pool)
    await server.start()
    try:
        yield server.address
    finally:
        await server.stop()


async def waits_for_the_lock(connection: Connection) -> None:
    """Returns once somebody waits for the row lock that the connection holds."""
    async with asyncio.timeout(20):
        while not await connection.fetchval(  # noqa: ASYNC110 - nobody else can tell us
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid() "
            "AND transactionid::text = pg_current_xact_id()::text"
        ):
            await asyncio.sleep(0.001)
