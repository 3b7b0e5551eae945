"""Small work of several organizations shares a few transactions: where these hang, no other organization does."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from services.ledger import gathering
from services.ledger.gathering import TRANSACTIONS_MAX
from services.ledger.ledger import Ledger
from services.ledger.metrics import TransactionMetrics
from services.ledger.store.database import Connection, Pool, connect_pool
from services.ledger.together import Outcome, carry_out_together
from services.ledger.transaction import Announce, Work
from tests.support.books import do, enable, make_customer, offer_sensors, units_of
from tests.support.proxy import Fate, Proxy, relayed
from tests.support.ways import GUARDED

STUCK = [f"stuck-{number}" for number in range(TRANSACTIONS_MAX)]
OTHERS = [f"other-{number}" for number in range(3)]


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[Proxy]:
    async with relayed(database) as proxy:
        yield proxy


@pytest.fixture
async def far_pool(proxy: Proxy) -> AsyncIterator[Pool]:
    """Reaches the database through the relay only."""
    async with await connect_pool(proxy.url, name="far", size=6) as pool:
        yield pool
        proxy.let_go()


async def test_where_every_shared_transaction_hangs_the_others_are_carried_out_alone(
    far_pool: Pool, proxy: Proxy, connection: Connection, sound: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that wait already as well as those that come, and afterwards all is as before."""
    far = Ledger(far_pool)
    await offer_sensors(connection)
    for name in (*STUCK, *OTHERS):
        await make_customer(far, connection, name)
    monkeypatch.setattr(gathering, "SLOW_SECONDS", 0.3)
    stuck = []
    for name in STUCK:
        trap = proxy.at(GUARDED, Fate.HOLD_AFTER, run=True)
        stuck.append(asyncio.create_task(do(far, name, enable())))
        await asyncio.wait_for(trap.sprung.wait(), 10)

    async with asyncio.timeout(10):
        await asyncio.gather(*(do(far, name, enable()) for name in OTHERS))
        await do(far, OTHERS[0], enable(units=2))
    assert not any(each.done() for each in stuck)
    proxy.let_go()
    await asyncio.gather(*stuck)
    shared = proxy.count_runs(GUARDED)
    await do(far, STUCK[0], enable(units=2))
    assert proxy.count_runs(GUARDED) == shared + 1
    assert [await units_of(connection, organization=name) for name in (*STUCK, *OTHERS)] == [2, 1, 2, 1, 1]
    await far.drained()


async def test_what_comes_just_as_every_shared_transaction_ends_is_carried_out(
    ledger: Ledger, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane has its next call ready as it hears of the one before, and nobody comes later to begin a transaction."""
    await offer_sensors(connection)
    for name in STUCK:
        await make_customer(ledger, connection, name)
    begun = asyncio.Semaphore(0)
    end = asyncio.Event()

    async def ending_at_once(
        pool: Pool, works: Sequence[Work], announce: Announce, metrics: TransactionMetrics
    ) -> list[Outcome]:
        outcomes = await carry_out_together(pool, works, announce, metrics)
        begun.release()
        await end.wait()
        return outcomes

    monkeypatch.setattr(gathering, "carry_out_together", ending_at_once)
    calls = []
    for name in STUCK:
        calls.append(asyncio.create_task(do(ledger, name, enable())))
        await asyncio.wait_for(begun.acquire(), 10)
    calls.append(asyncio.create_task(do(ledger, STUCK[0], enable(units=2))))
    await asyncio.sleep(0)  # It is in its lane.
    end.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*calls)
    assert await units_of(connection, organization=STUCK[0]) == 2
