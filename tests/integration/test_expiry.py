"""The expiry worker, one bounded batch at a time."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta

import asyncpg
import pytest

from services.expiry import sweep
from services.expiry.sweep import Sweeper
from services.ledger import transaction
from services.ledger.ledger import Ledger
from services.ledger.rules.book import Book
from services.ledger.rules.cataloguing import UpdateOffering
from services.ledger.rules.commands import CreateSubscription, UpdateSubscription
from services.ledger.rules.settle import settle
from services.ledger.store.database import Connection, Pool
from services.ledger.store.reads import read_now
from tests.conftest import Advance
from tests.support.books import (
    DAY,
    SECONDS,
    SENSOR,
    do,
    enable,
    entries,
    locked,
    make_customer,
    offer_sensors,
    request_ids,
    told,
)

HOUR = timedelta(hours=1)
FELL = ["ALLOCATION_SUSPENDED endpoint-sensor", "SUBSCRIPTION_EXPIRED first"]


@pytest.fixture
def sweeper(pool: Pool) -> Sweeper:
    return _sweeper(pool)


def _sweeper(pool: Pool, connections: int = 2) -> Sweeper:
    return Sweeper(pool, request_id_lifetime=48 * HOUR, connections=connections)


async def _make_customers(ledger: Ledger, connection: Connection, count: int) -> list[str]:
    """Each with one sensor, all of which falls within half a day."""
    await offer_sensors(connection)
    names = [f"customer-{each:03}" for each in range(count)]
    for name in names:
        await make_customer(ledger, connection, name, days=0.5, grace=timedelta())
        await do(ledger, name, enable())
    return names


async def _fallen(connection: Connection, names: list[str]) -> set[str]:
    """Those of which everything was settled, once."""
    return {name for name in names if (await told(connection, name))[3:] == FELL}


async def test_one_batch_is_bounded_and_takes_the_longest_overdue(
    ledger: Ledger, connection: Connection, sweeper: Sweeper, advance: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "ORGANIZATIONS_PER_BATCH", 4)
    names = await _make_customers(ledger, connection, 10)
    assert await sweeper.run_once() == sweep.Swept(0, 0, full=False)
    await advance(DAY)

    swept = await sweeper.run_once()
    assert (swept.settled, swept.full) == (4, True)
    assert await _fallen(connection, names) == set(names[:4])
    assert [(await sweeper.run_once()).settled for _ in range(3)] == [4, 2, 0]
    assert await _fallen(connection, names) == set(names)


async def test_several_side_by_side_write_nothing_twice(
    ledger: Ledger, connection: Connection, pool: Pool, advance: Advance
) -> None:
    names = await _make_customers(ledger, connection, 40)
    await advance(DAY)
    barrier = asyncio.Barrier(4)

    async def work() -> int:
        sweeper = _sweeper(pool)
        await barrier.wait()
        return sum([(await sweeper.run_once()).settled for _ in range(3)])

    assert sum(await asyncio.gather(*(work() for _ in range(4)))) == 40
    assert await _fallen(connection, names) == set(names)


async def test_what_somebody_has_locked_is_passed_over(
    ledger: Ledger, connection: Connection, advance: Advance, database: str
) -> None:
    """And not waited for: these connections would wait for ever."""
    names = await _make_customers(ledger, connection, 3)
    await advance(DAY)
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        sweeper = _sweeper(pool)
        async with locked(database, names[:1]), asyncio.timeout(10):
            assert (await sweeper.run_once()).settled == 2
            assert await _fallen(connection, names) == set(names[1:])
        assert (await sweeper.run_once()).settled == 1
    assert await _fallen(connection, names) == set(names)


async def test_one_that_cannot_be_settled_stops_no_other_and_rests(
    ledger: Ledger,
    connection: Connection,
    sweeper: Sweeper,
    advance: Advance,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = await _make_customers(ledger, connection, 6)
    await advance(DAY)
    tried = Counter[str]()

    def poisoned(book: Book, now: datetime) -> None:
        tried[book.state.organization] += 1
        if book.state.organization == names[0]:
            raise ZeroDivisionError("poison")
        settle(book, now)

    monkeypatch.setattr(transaction, "settle", poisoned)
    monkeypatch.setattr(sweep, "FAILURE_PAUSE_SECONDS", 1000.0)
    monkeypatch.setattr(sweep, "FAILURE_PAUSE_SECONDS_MAX", 1000.0)
    assert (await sweeper.run_once()).settled == 5
    assert await _fallen(connection, names) == set(names[1:])
    assert "customer-000: settling failed" in caplog.text
    assert (await sweeper.run_once()).settled == 0
    assert tried[names[0]] == 1, "it did not rest"

    monkeypatch.setattr(transaction, "settle", settle)
    await ledger.settle(names[0], 5.0)
    assert await _fallen(connection, names) == set(names)


async def test_one_that_rested_is_tried_again_and_rests_longer(
    ledger: Ledger,
    connection: Connection,
    sweeper: Sweeper,
    advance: Advance,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def poisoned(book: Book, now: datetime) -> None:
        raise ZeroDivisionError("poison")

    names = await _make_customers(ledger, connection, 1)
    await advance(DAY)
    monkeypatch.setattr(transaction, "settle", poisoned)
    monkeypatch.setattr(sweep, "FAILURE_PAUSE_SECONDS", 0.001)
    while caplog.text.count("settling failed") < 4:
        await sweeper.run_once()
    for pause in ("0.001", "0.002", "0.004", "0.008"):
        assert f"leaving it alone for {pause} s" in caplog.text

    monkeypatch.setattr(transaction, "settle", settle)
    while not (await sweeper.run_once()).settled:
        pass
    assert await _fallen(connection, names) == set(names)


async def test_reminders_come_before_the_end_and_before_the_end_of_grace(
    ledger: Ledger, connection: Connection, sweeper: Sweeper, advance: Advance
) -> None:
    end = await make_customer(ledger, connection, days=100, grace=30 * DAY)
    await do(ledger, "acme", CreateSubscription("second", 10, end + DAY, renews="first"))
    await advance(60 * DAY)
    assert (await sweeper.run_once()).settled == 1
    await do(ledger, "acme", UpdateSubscription("first", order_reference="PO-1"))
    for _ in range(15):
        await advance(5 * DAY)
        await sweeper.run_once()

    reminders = [
        (each["detail"], each["effective_time"])
        for each in await entries(connection)
        if (each["kind"], each["resource"]) == ("SUBSCRIPTION_ENDING_SOON", "first")
    ]
    expected = [("TERM", days, end) for days in (90, 30, 7, 1)]
    expected += [("GRACE", days, end + 30 * DAY) for days in (7, 1)]
    assert [when for _, when in reminders] == [last - days * DAY for _, days, last in expected]
    for (detail, _), (ending, days, _) in zip(reminders, expected, strict=True):
        assert f'"ending": "{ending}"' in detail
        assert f'"days": {days}' in detail
        # The renewal itself is over a day after the first one's end.
        assert f'"renewed": {"true" if ending == "TERM" else "false"}' in detail


async def test_a_reminder_is_not_sent_for_an_end_that_was_set_later(
    ledger: Ledger, connection: Connection, sweeper: Sweeper, advance: Advance
) -> None:
    """Shortened to 20 days: those of 90 and 30 days are past, and are not made up for."""
    await make_customer(ledger, connection, days=100, grace=timedelta())
    now = await read_now(connection)
    await do(ledger, "acme", UpdateSubscription("first", end_time=now + 20 * DAY))
    await advance(30 * DAY)
    await sweeper.run_once()
    assert (await told(connection))[2:] == [
        "SUBSCRIPTION_AMENDED first",
        "SUBSCRIPTION_ENDING_SOON first",
        "SUBSCRIPTION_ENDING_SOON first",
        "SUBSCRIPTION_EXPIRED first",
    ]


async def test_request_ids_past_their_time_are_removed_and_no_younger_ones(
    ledger: Ledger, connection: Connection, sweeper: Sweeper, advance: Advance, database: str
) -> None:
    await offer_sensors(connection)
    await make_customer(ledger, connection)
    for each in range(3):
        await do(ledger, "acme", enable(), f"old-{each}")
    old = UpdateOffering(SENSOR, unit="old")
    await ledger.change_catalog(old, request_id="old", validate_only=False, seconds=SECONDS)
    await advance(HOUR)
    await do(ledger, "acme", enable(), "young")
    await ledger.change_catalog(old, request_id="young", validate_only=False, seconds=SECONDS)
    await advance(47 * HOUR - timedelta(minutes=1))
    assert (await sweeper.run_once()).requests_removed == 0
    await advance(timedelta(minutes=2))

    async with locked(database, ["acme"]):
        swept = await sweeper.run_once()
    assert (swept.requests_removed, swept.full) == (4, False)
    assert await request_ids(connection) == ["young"]
    assert [row["request_id"] for row in await connection.fetch("SELECT request_id FROM catalog_request")] == ["young"]


async def test_many_old_request_ids_are_removed_in_bounded_batches(
    ledger: Ledger, connection: Connection, sweeper: Sweeper, advance: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "REQUESTS_PER_BATCH", 10)
    await offer_sensors(connection)
    await make_customer(ledger, connection)
    await asyncio.gather(*(do(ledger, "acme", enable(), f"id-{each}") for each in range(25)))
    await advance(3 * DAY)
    swept = [await sweeper.run_once() for _ in range(4)]
    assert [(each.requests_removed, each.full) for each in swept] == [(10, True), (10, True), (5, False), (0, False)]


async def test_a_day_of_downtime_is_caught_up_in_bounded_batches(
    ledger: Ledger, connection: Connection, pool: Pool, advance: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers come back; each asks again at once as long as its batch was full."""
    monkeypatch.setattr(sweep, "ORGANIZATIONS_PER_BATCH", 10)
    names = await _make_customers(ledger, connection, 45)
    await advance(DAY)

    async def catch_up() -> list[int]:
        sweeper, batches = _sweeper(pool), list[int]()
        while (swept := await sweeper.run_once()).full:
            batches.append(swept.settled)
        return [*batches, swept.settled]

    batches = [*await catch_up(), *await catch_up()]
    assert sum(batches) == 45
    assert max(batches) <= 10
    assert await _fallen(connection, names) == set(names)
    overdue = await connection.fetchval("SELECT count(*) FROM organization WHERE next_transition_time <= earmark_now()")
    assert overdue == 0
