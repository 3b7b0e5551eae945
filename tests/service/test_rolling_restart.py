"""Two allocators behind the client library are restarted in turn, and nobody who calls or watches notices."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from earmark import Client
from services.admin import embedded
from services.ledger.store.database import Connection
from tests.support.all_kinds import Callers, Watcher
from tests.support.books import comes_true
from tests.support.processes import EXPIRY, environment
from tests.support.rolling import Restartable, restartable
from tests.support.watching import OVERDRAFT, SENSOR

ORGANIZATIONS: Final = tuple(f"o-{number}" for number in range(5))
CALLERS: Final = ORGANIZATIONS * 4
ROUNDS: Final = 3
CALLS_BETWEEN: Final = 200
"""So many are made before the next allocator is restarted."""
LAST_REVISION: Final = "SELECT max(revision) FROM entry WHERE organization = $1"


@pytest.fixture
def allocators(database: str, redis: embedded.Server, notice_prefix: str) -> Iterator[list[Restartable]]:
    """Two, and beside them a worker."""
    settings = {"redis_url": redis.url, "notice_prefix": notice_prefix, "log_level": "ERROR"}
    with restartable(database, 2, **settings) as allocators:
        env = environment(database_url=database, **settings)
        with embedded.child([sys.executable, "-m", EXPIRY], env=env):
            yield allocators


@asynccontextmanager
async def watched(client: Client) -> AsyncIterator[list[Watcher]]:
    """Every organization, for as long as the block runs."""
    watchers = [Watcher(client, each) for each in ORGANIZATIONS for _ in range(2)]
    tasks = [asyncio.create_task(each.watch()) for each in watchers]
    try:
        yield watchers
        assert not any(each.done() for each in tasks), "a watch has ended"
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.wait(tasks)


async def make_organizations(client: Client) -> None:
    await client.create_offering(SENSOR, price=1)
    for each in ORGANIZATIONS:
        await client.create_organization(each, overdraft_limit=OVERDRAFT)


async def all_were_seen(watchers: Sequence[Watcher], connection: Connection) -> None:
    """Each revision, once and in order, by everybody who watches."""
    last = {each: await connection.fetchval(LAST_REVISION, each) for each in ORGANIZATIONS}

    async def are_there() -> bool:
        return all(each.revisions and each.revisions[-1] >= last[each.organization] for each in watchers)

    await comes_true(are_there)
    for each in watchers:
        assert each.revisions == list(range(2, last[each.organization] + 1))


async def test_nobody_notices_a_rolling_restart(
    allocators: list[Restartable], connection: Connection, sound: None
) -> None:
    addresses = [each.address for each in allocators]
    async with Client(addresses) as client, Client(addresses, actor="desk", coalesce=True) as coalescing:
        await make_organizations(client)
        callers = Callers(client.using(actor="desk"), coalescing)
        async with watched(client) as watchers:
            in_flight = []
            async with callers.calling(*CALLERS):
                for each in allocators * ROUNDS:
                    await callers.make(CALLS_BETWEEN)
                    in_flight.append(callers.under_way)
                    await each.restart()
                await callers.make(CALLS_BETWEEN)
            await all_were_seen(watchers, connection)
    print(
        f"rolling restart: {callers}, {in_flight} of them under way at each SIGTERM, "
        f"{sum(each.breaks for each in watchers)} watches taken up again"
    )
    assert callers.failed == []
    await callers.check_ledger(connection)
    assert min(in_flight) > 0
    assert min(each.breaks for each in watchers) > 0


async def test_it_would_be_noticed_that_calls_fail(allocators: list[Restartable]) -> None:
    """One is killed, and nothing is tried again."""
    async with Client([each.address for each in allocators], retry=None) as client:
        await make_organizations(client)
        callers = Callers(client, client)
        async with callers.calling(*CALLERS):
            await callers.make(CALLS_BETWEEN)
            await allocators[0].kill()
            await callers.make(CALLS_BETWEEN)
    assert callers.failed
