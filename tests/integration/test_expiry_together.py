"""The expiry worker settles several organizations in one transaction; what is not simple is settled alone."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from services.expiry import sweep
from services.expiry.sweep import Sweeper
from services.ledger import together, transaction
from services.ledger.ledger import Ledger
from services.ledger.rules.book import Book
from services.ledger.rules.model import Organization
from services.ledger.rules.settle import settle
from services.ledger.store import writes
from services.ledger.store.database import Connection, Pool, connect_pool
from services.ledger.store.statements import Guarded, Row, Shape, write_rows_if
from tests.conftest import Advance
from tests.support.books import DAY, SECONDS, do, enable, entries, locked, make_customer, offer_sensors, told
from tests.support.proxy import Fate, relayed
from tests.support.ways import GUARDED

EXPIRED: Final = "SUBSCRIPTION_EXPIRED first"
SUSPENDED: Final = ["ALLOCATION_SUSPENDED endpoint-sensor", EXPIRED]
LOCKED, POISON, WITH_SENSOR = "customer-000", "customer-001", "customer-002"
ITS_OWN: Final = ("transaction", "digest", "effective_time", "recorded_time", "after")
"""In which entries of different organizations differ."""


@pytest.fixture(autouse=True)
def _in_no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, what is decided is written."""
    monkeypatch.setattr(together, "DECIDED_WITHIN", timedelta(minutes=1))


def _sweeper(pool: Pool) -> Sweeper:
    return Sweeper(pool, request_id_lifetime=2 * DAY, connections=1)


async def _make_due(
    ledger: Ledger, connection: Connection, advance: Advance, count: int, with_sensor: str = ""
) -> dict[str, datetime]:
    """Organizations whose only subscription has come to its end, unsettled: each with that instant."""
    await offer_sensors(connection)
    names = [f"customer-{each:03}" for each in range(count)]
    ends = {name: await make_customer(ledger, connection, name, days=0.5, grace=timedelta()) for name in names}
    if with_sensor:
        await do(ledger, with_sensor, enable())
    await advance(DAY)
    return ends


async def _settled(connection: Connection, names: Sequence[str]) -> set[str]:
    """Those without allocations that were settled, once."""
    return {name for name in names if (await told(connection, name))[2:] == [EXPIRED]}


async def _transactions(connection: Connection, names: Sequence[str]) -> Counter[str]:
    """Those that wrote the newest entries: each with how many organizations it settled."""
    newest = [(await entries(connection, name))[-1] for name in names]
    return Counter(each["transaction"] for each in newest)


async def _last_entry(connection: Connection, name: str) -> dict[str, Any]:
    """The newest one, but for what is the organization's own."""
    newest = (await entries(connection, name))[-1]
    return {column: value for column, value in newest.items() if column not in ITS_OWN}


async def test_many_that_are_due_are_settled_in_few_transactions_just_as_alone(
    ledger: Ledger, connection: Connection, pool: Pool, advance: Advance
) -> None:
    ends = await _make_due(ledger, connection, advance, 121)
    alone, *names = ends
    await ledger.settle(alone, SECONDS)
    assert (await _sweeper(pool).run_once()).settled == 120
    assert await _settled(connection, names) == set(names)
    assert sorted((await _transactions(connection, names)).values()) == [20, 50, 50]
    expected = await _last_entry(connection, alone)
    for name, end in ends.items():
        assert await _last_entry(connection, name) == expected
        assert (await entries(connection, name))[-1]["effective_time"] == end


async def test_what_is_not_simple_is_settled_alone_or_passed_over_and_holds_up_no_other(
    ledger: Ledger,
    connection: Connection,
    pool: Pool,
    advance: Advance,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [*await _make_due(ledger, connection, advance, 12, with_sensor=WITH_SENSOR)]
    simple = names[3:]
    tried = Counter[str]()

    def poisoned(book: Book, now: datetime) -> None:
        tried[book.state.organization] += 1
        if book.state.organization == POISON:
            raise ZeroDivisionError("poison")
        settle(book, now)

    for module in (together, transaction):
        monkeypatch.setattr(module, "settle", poisoned)
    monkeypatch.setattr(sweep, "FAILURE_PAUSE_SECONDS", 1000.0)
    monkeypatch.setattr(sweep, "FAILURE_PAUSE_SECONDS_MAX", 1000.0)
    sweeper = _sweeper(pool)
    async with locked(database, [LOCKED]), asyncio.timeout(10):
        assert (await sweeper.run_once()).settled == 10
    assert await _settled(connection, names) == set(simple)
    assert (await told(connection, WITH_SENSOR))[3:] == SUSPENDED
    assert sorted((await _transactions(connection, [WITH_SENSOR, *simple])).values()) == [1, 9]

    before = tried[POISON]
    assert (await sweeper.run_once()).settled == 1
    assert await _settled(connection, [LOCKED]) == {LOCKED}
    assert tried[POISON] == before, "it did not rest"

    for module in (together, transaction):
        monkeypatch.setattr(module, "settle", settle)
    await ledger.settle(POISON, SECONDS)


async def test_one_that_the_database_refuses_holds_up_no_other_and_rests(
    ledger: Ledger,
    connection: Connection,
    pool: Pool,
    advance: Advance,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It fails all that are written with it: so each is settled alone."""
    names = [*await _make_due(ledger, connection, advance, 6)]
    organization_row = writes._organization_row

    def poisoned(state: Organization) -> Row:
        row = organization_row(state)
        return (*row[:2], -1, *row[3:]) if state.organization == POISON else row

    monkeypatch.setattr(writes, "_organization_row", poisoned)
    monkeypatch.setattr(sweep, "FAILURE_PAUSE_SECONDS", 1000.0)
    monkeypatch.setattr(sweep, "FAILURE_PAUSE_SECONDS_MAX", 1000.0)
    sweeper = _sweeper(pool)
    assert (await sweeper.run_once()).settled == 5
    assert await _settled(connection, names) == {*names} - {POISON}
    assert caplog.text.count(f"{POISON}: settling failed") == 1
    assert (await sweeper.run_once()).settled == 0
    assert caplog.text.count(f"{POISON}: settling failed") == 1, "it did not rest"

    monkeypatch.setattr(writes, "_organization_row", organization_row)
    await ledger.settle(POISON, SECONDS)


async def test_one_that_takes_long_leaves_the_others_time_to_be_written(
    ledger: Ledger, connection: Connection, pool: Pool, advance: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is decided before it is still written together, in the time that there is; what comes after it, alone."""
    names = [*await _make_due(ledger, connection, advance, 8)]
    monkeypatch.setattr(together, "DECIDED_WITHIN", timedelta(seconds=2))

    def slow(book: Book, now: datetime) -> None:
        if book.state.organization == names[4]:
            time.sleep(1.1)  # As long settling takes: it reckons, and lets nobody else have the loop.
        settle(book, now)

    monkeypatch.setattr(together, "settle", slow)
    assert (await _sweeper(pool).run_once()).settled == 8
    assert await _settled(connection, names) == set(names)
    assert sorted((await _transactions(connection, names)).values()) == [1, 1, 1, 5]


@pytest.mark.parametrize(("fate", "written"), [(Fate.CUT_BEFORE, 0), (Fate.CUT_AFTER, 10)])
async def test_a_connection_that_is_cut_as_they_are_written_loses_and_doubles_nothing(
    ledger: Ledger, connection: Connection, advance: Advance, database: str, fate: Fate, written: int
) -> None:
    names = [*await _make_due(ledger, connection, advance, 10)]
    async with relayed(database) as proxy, await connect_pool(proxy.url, name="far", size=1) as far:
        sweeper = _sweeper(far)
        trap = proxy.at(GUARDED, fate, run=True)
        assert (await sweeper.run_once()).settled == 0
        assert trap.sprung.is_set()
        assert len(await _settled(connection, names)) == written
        assert (await sweeper.run_once()).settled == 10 - written
    assert await _settled(connection, names) == set(names)


async def test_two_workers_with_the_same_organizations_in_hand_settle_each_once(
    ledger: Ledger, connection: Connection, pool: Pool, advance: Advance, database: str
) -> None:
    """One has decided what to write when the other one comes, and finds everything done when it goes on."""
    names = [*await _make_due(ledger, connection, advance, 60)]
    async with relayed(database) as proxy, await connect_pool(proxy.url, name="far", size=1) as far:
        trap = proxy.at(GUARDED, Fate.HOLD_BEFORE, run=True)
        overtaken = asyncio.create_task(_sweeper(far).run_once())
        await asyncio.wait_for(trap.sprung.wait(), 10)
        assert (await _sweeper(pool).run_once()).settled == 60
        trap.release()
        assert (await overtaken).settled == 0
    assert await _settled(connection, names) == set(names)


async def test_two_workers_share_what_is_due(
    ledger: Ledger, connection: Connection, pool: Pool, advance: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have decided on the same organizations when they begin to write: whoever has the row writes it."""
    names = [*await _make_due(ledger, connection, advance, 40)]
    barrier = asyncio.Barrier(2)

    async def at_once(
        connection: Connection, shape: Shape, guarded: Sequence[Guarded], until: datetime
    ) -> frozenset[str]:
        await barrier.wait()
        return await write_rows_if(connection, shape, guarded, until)

    monkeypatch.setattr(together, "write_rows_if", at_once)
    swept = await asyncio.gather(*(_sweeper(pool).run_once() for _ in range(2)))
    assert sum(each.settled for each in swept) == 40
    assert await _settled(connection, names) == set(names)
