"""What time brings about, whoever comes by first: nothing that has ended pays for anything."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from services.admin import embedded
from services.admin.verify import verify
from services.ledger import transaction
from services.ledger.ledger import Ledger
from services.ledger.rules.answers import Answer
from services.ledger.rules.commands import (
    ApplyOperations,
    Call,
    CreateSubscription,
    DisableAllocation,
    EnableAllocation,
    UpdateAllocation,
)
from services.ledger.rules.model import AllocationState, SubscriptionState
from services.ledger.rules.refusal import Reason, Refused
from services.ledger.store.clock import advance_clock
from services.ledger.store.database import Connection, connect_pool
from services.ledger.store.reads import read_now
from tests.conftest import Advance
from tests.support.books import (
    DAY,
    MICROSECOND,
    SECONDS,
    SENSOR,
    SENSOR_CREDITS,
    adjust,
    do,
    enable,
    entries,
    make_customer,
    make_organization,
    offer_sensors,
    refused,
    request_ids,
    revision,
    stop_clock,
    told,
    verdict,
)


@pytest.fixture
async def acme(ledger: Ledger, connection: Connection) -> Ledger:
    """`acme`: one purchase of a million credits for ten days, with five days of grace, and ten sensors."""
    await offer_sensors(connection)
    await make_customer(ledger, connection, days=10, grace=5 * DAY)
    await do(ledger, "acme", enable(units=10))
    return ledger


@pytest.fixture
async def end(acme: Ledger, connection: Connection) -> datetime:
    """Of the purchase."""
    found: datetime = await connection.fetchval("SELECT end_time FROM subscription")
    return found


@pytest.mark.parametrize("late", [timedelta(), MICROSECOND], ids=["at the end", "a microsecond after it"])
async def test_credits_of_a_term_that_has_ended_pay_for_nothing(
    acme: Ledger, connection: Connection, end: datetime, late: timedelta
) -> None:
    """No worker runs; the term is half-open."""
    await stop_clock(connection, end - MICROSECOND)
    assert isinstance(await do(acme, "acme", adjust(+1)), Answer)
    await stop_clock(connection, end + late)
    for needy in (adjust(+1), enable("other"), enable(units=12)):
        assert await verdict(do(acme, "acme", needy)) is Reason.INSUFFICIENT_CREDITS
    assert await told(connection, after=3) == [
        "SUBSCRIPTION_ENDING_SOON first",
        "SUBSCRIPTION_ENDING_SOON first",
        "ALLOCATION_ADJUSTED endpoint-sensor",
        "SUBSCRIPTION_ENDED first",
    ]
    for modest in (adjust(-1), UpdateAllocation(SENSOR, priority=5), enable(units=10), DisableAllocation(SENSOR)):
        assert isinstance(await do(acme, "acme", modest), Answer)


async def test_what_grace_carries_falls_with_its_last_microsecond(
    acme: Ledger, connection: Connection, end: datetime
) -> None:
    await stop_clock(connection, end + 5 * DAY - MICROSECOND)
    assert (await do(acme, "acme", adjust(-1))).outcome.allocations[0].state is AllocationState.ENABLED
    await stop_clock(connection, end + 5 * DAY)
    assert (await do(acme, "acme", adjust(-1))).outcome.allocations[0].state is AllocationState.SUSPENDED


async def test_a_read_finds_everything_settled(
    acme: Ledger, connection: Connection, end: datetime, advance: Advance
) -> None:
    await advance(20 * DAY)
    async with acme.snapshot("acme", SECONDS) as snapshot:
        allocation, as_of = await snapshot.allocation(SENSOR) or pytest.fail("is gone")
        subscription, _ = await snapshot.subscription("first") or pytest.fail("is gone")
        state, _ = snapshot.one_organization()
    assert allocation.state is AllocationState.SUSPENDED
    assert subscription.state is SubscriptionState.EXPIRED
    assert (state.figures.valid, state.figures.grace, state.figures.allocated) == (0, 0, 0)
    assert state.figures.suspended == 10 * SENSOR_CREDITS
    assert as_of > end + 5 * DAY
    effective = {each["kind"]: each["effective_time"] for each in await entries(connection)}
    assert effective["SUBSCRIPTION_ENDED"] == end
    assert effective["ALLOCATION_SUSPENDED"] == effective["SUBSCRIPTION_EXPIRED"] == end + 5 * DAY


async def test_lists_over_all_organizations_settle_nothing_and_say_as_of_when(
    acme: Ledger, connection: Connection, advance: Advance
) -> None:
    await make_organization(acme, "idle")
    before = await entries(connection)
    due: datetime = await connection.fetchval(
        "SELECT next_transition_time FROM organization WHERE organization = $1", "acme"
    )
    await advance(20 * DAY)
    async with acme.snapshot(None, SECONDS) as snapshot:
        [(allocation, of_allocation)] = await snapshot.allocations(None, None, {}, None, 10)
        [(subscription, of_subscription)] = await snapshot.subscriptions(None, None, 10)
        [(state, of_state), (_, of_idle)] = await snapshot.organizations("", 10)
    assert allocation.state is AllocationState.ENABLED
    assert subscription.state is SubscriptionState.ACTIVE
    assert state.figures.allocated == 10 * SENSOR_CREDITS
    assert of_allocation == of_subscription == of_state == due - MICROSECOND
    assert of_idle == snapshot.now
    assert await entries(connection) == before


async def test_a_renewal_that_starts_as_grace_ends_suspends_nothing(
    acme: Ledger, connection: Connection, end: datetime, advance: Advance
) -> None:
    renewal = CreateSubscription("second", 200, end + 100 * DAY, start_time=end + 5 * DAY, renews="first")
    await do(acme, "acme", renewal)
    before = await revision(connection)
    await advance(15 * DAY)
    await acme.settle("acme", SECONDS)

    happened = await told(connection, after=before)
    assert happened[-3:] == ["SUBSCRIPTION_STARTED second", "SUBSCRIPTION_EXPIRED first", "THRESHOLD_CROSSED"]
    assert not any(each.startswith("ALLOCATION") for each in happened)
    last = (await entries(connection))[-3:]
    assert [each["effective_time"] for each in last] == [end + 5 * DAY] * 3
    assert [each["last"] for each in last] == [False, False, True]


async def test_at_one_instant_credits_rise_then_room_is_made_then_they_fall_then_things_come_back(
    ledger: Ledger, connection: Connection, advance: Advance
) -> None:
    """At noon the large purchase expires and a small one starts, which carries the important one and what waited."""
    await offer_sensors(connection)
    await make_organization(ledger)
    noon = await read_now(connection) + DAY
    await do(ledger, "acme", CreateSubscription("large", 1000, noon))
    await do(ledger, "acme", CreateSubscription("small", 260, noon + 100 * DAY, start_time=noon))
    for allocation, units, priority in (("bulky", 30, 0), ("important", 10, 9), ("late", 2, 0)):
        await do(ledger, "acme", EnableAllocation(allocation, SENSOR, units, priority))
    before = await revision(connection)
    await advance(DAY)
    await ledger.settle("acme", SECONDS)

    assert await told(connection, after=before) == [
        "SUBSCRIPTION_STARTED small",
        "ALLOCATION_SUSPENDED bulky",
        "SUBSCRIPTION_EXPIRED large",
        "THRESHOLD_CROSSED",
    ]
    written = {each["kind"]: each for each in await entries(connection)}
    assert written["ALLOCATION_SUSPENDED"]["causes"] == ["organizations/acme/subscriptions/large"]
    assert written["THRESHOLD_CROSSED"]["allocated_credits"] == 12 * SENSOR_CREDITS


async def test_a_start_brings_back_what_fits(ledger: Ledger, connection: Connection, advance: Advance) -> None:
    await offer_sensors(connection)
    await make_organization(ledger)
    start = await read_now(connection)
    await do(ledger, "acme", CreateSubscription("first", 1000, start + 2 * DAY))
    await do(ledger, "acme", CreateSubscription("second", 500, start + 90 * DAY, start_time=start + 3 * DAY))
    for allocation, units, priority in (("bulky", 30, 9), ("middle", 15, 5), ("small", 5, 0)):
        await do(ledger, "acme", EnableAllocation(allocation, SENSOR, units, priority))
    before = await revision(connection)
    await advance(4 * DAY)
    await ledger.settle("acme", SECONDS)
    assert await told(connection, after=before) == [
        "SUBSCRIPTION_ENDING_SOON first",
        "ALLOCATION_SUSPENDED small",
        "ALLOCATION_SUSPENDED middle",
        "ALLOCATION_SUSPENDED bulky",
        "SUBSCRIPTION_EXPIRED first",
        "SUBSCRIPTION_STARTED second",
        "ALLOCATION_RESUMED middle",
        "ALLOCATION_RESUMED small",
    ]


@asynccontextmanager
async def _twin(postgres: embedded.Server, database: str, number: int) -> AsyncIterator[tuple[Ledger, Connection]]:
    """A ledger over an exact copy of a database to which nobody is connected."""
    name = database.rpartition("/")[2]
    server = await asyncpg.connect(postgres.url)
    await server.execute(f"CREATE DATABASE {name}_twin_{number} TEMPLATE {name}")
    url = f"{database}_twin_{number}"
    connection = await asyncpg.connect(url)
    async with await connect_pool(url, name="twin", size=2) as pool:
        yield Ledger(pool), connection
        assert (await verify(connection)).problems == []
    await connection.close()
    await server.execute(f"DROP DATABASE {name}_twin_{number} WITH (FORCE)")
    await server.close()


async def _eventful_life(database: str) -> None:
    """Purchases that start, overlap, renew, end into grace or at once, over two years; and too much is switched on."""
    connection = await asyncpg.connect(database)
    async with await connect_pool(database, name="life", size=2) as pool:
        ledger = Ledger(pool)
        await offer_sensors(connection)
        await make_organization(ledger)
        now = await read_now(connection)
        for name, credits, start, days, grace in (
            ("a", 1000, 0, 100, 30),
            ("b", 400, 40, 60, 0),
            ("c", 300, 100, 200, 7),
            ("d", 900, 130, 170, 30),
            ("e", 50, 307, 300, 1),
            ("f", 300, 400, 100, 10),
        ):
            await do(
                ledger,
                "acme",
                CreateSubscription(
                    name, credits, now + (start + days) * DAY, now + start * DAY, grace_period=grace * DAY
                ),
            )
        for number, units in enumerate((10, 5, 20, 1, 7, 3, 2, 2)):
            await do(ledger, "acme", EnableAllocation(f"host-{number}", SENSOR, units, number % 3))
    await connection.close()


async def _settle_after(ledger: Ledger, connection: Connection, waits: list[timedelta]) -> list[dict[str, Any]]:
    for wait in waits:
        await advance_clock(connection, wait)
        await ledger.settle("acme", SECONDS)
    apart_from = ("recorded_time", "digest", "transaction")
    return [{key: value for key, value in each.items() if key not in apart_from} for each in await entries(connection)]


async def test_what_is_written_is_the_same_in_one_step_or_in_many(postgres: embedded.Server, database: str) -> None:
    await _eventful_life(database)
    async with _twin(postgres, database, 1) as (ledger, connection):
        at_once = await _settle_after(ledger, connection, [730 * DAY])
    async with _twin(postgres, database, 2) as (ledger, connection):
        weekly = await _settle_after(ledger, connection, [5 * DAY] * 146)
    async with _twin(postgres, database, 3) as (ledger, connection):
        unevenly = await _settle_after(ledger, connection, [99 * DAY, DAY, 36 * DAY, 171 * DAY, 423 * DAY])
    assert len(at_once) > 40
    kinds = {each["kind"] for each in at_once}
    assert {"SUBSCRIPTION_STARTED", "SUBSCRIPTION_ENDING_SOON", "ALLOCATION_SUSPENDED", "ALLOCATION_RESUMED"} <= kinds
    assert weekly == at_once
    assert unevenly == at_once


Act = Callable[[Ledger], Awaitable[Any]]


async def _refused_call(ledger: Ledger) -> None:
    assert (await refused(do(ledger, "acme", adjust(+1), "id-1"))).reason is Reason.SUSPENDED


async def _rehearsal(ledger: Ledger) -> None:
    [verdict] = await ledger.rehearse("acme", [Call(adjust(-1), "id-1")], SECONDS)
    assert isinstance(verdict, Answer)
    assert verdict.outcome.allocations[0].state is AllocationState.SUSPENDED


async def _refused_rehearsal(ledger: Ledger) -> None:
    [verdict] = await ledger.rehearse("acme", [Call(adjust(+1), "id-1")], SECONDS)
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.SUSPENDED


async def _unknown_thing(ledger: Ledger) -> None:
    async with ledger.snapshot("acme", SECONDS) as snapshot:
        assert await snapshot.allocation("never-was") is None


@pytest.mark.parametrize("act", [_refused_call, _rehearsal, _refused_rehearsal, _unknown_thing])
async def test_settling_stays_whatever_becomes_of_the_call(
    acme: Ledger, connection: Connection, advance: Advance, act: Act
) -> None:
    await advance(20 * DAY)
    await act(acme)
    assert (await told(connection))[-2:] == ["ALLOCATION_SUSPENDED endpoint-sensor", "SUBSCRIPTION_EXPIRED first"]
    assert await request_ids(connection) == []


async def test_settling_stays_when_the_call_is_poison(
    acme: Ledger, connection: Connection, advance: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(*_: object) -> Answer:
        raise ZeroDivisionError

    await advance(20 * DAY)
    monkeypatch.setattr(transaction, "decide", poison)
    assert await verdict(do(acme, "acme", adjust(-1))) is Reason.INTERNAL
    assert (await told(connection))[-1] == "SUBSCRIPTION_EXPIRED first"


async def test_5000_allocations_fall_in_one_transaction_even_if_the_caller_has_no_time(
    ledger: Ledger, connection: Connection, advance: Advance
) -> None:
    """A caller's deadline that undid it would have it tried for ever."""
    await offer_sensors(connection)
    await make_customer(ledger, connection, days=10, grace=timedelta())
    for thousand in range(5):
        hosts = range(1000 * thousand, 1000 * (thousand + 1))
        await do(ledger, "acme", ApplyOperations(tuple(enable(f"host-{each:04}") for each in hosts)))
    before = await revision(connection)
    await advance(20 * DAY)

    assert await verdict(do(ledger, "acme", enable("one-more"), "id-1", seconds=0.03)) is Reason.LOCK_TIMEOUT
    await ledger.drained()
    written = [each for each in await entries(connection) if each["revision"] > before]
    suspended = [each for each in written if each["kind"] == "ALLOCATION_SUSPENDED"]
    assert [each["resource"] for each in suspended] == [f"host-{each:04}" for each in reversed(range(5000))]
    assert len({each["transaction"] for each in written}) == 1
    assert written[-1]["kind"] == "SUBSCRIPTION_EXPIRED"
    assert await request_ids(connection) == []
    async with ledger.snapshot("acme", SECONDS) as snapshot:
        state, _ = snapshot.one_organization()
    assert (state.figures.allocated, state.figures.suspended) == (0, 5000 * SENSOR_CREDITS)
