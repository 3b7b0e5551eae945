"""Many callers, one organization: batches, verdicts, locks, patience."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from services.ledger import lane, transaction
from services.ledger.ledger import Ledger
from services.ledger.rules.answers import Answer
from services.ledger.rules.commands import ApplyOperations, Call, EnableAllocation
from services.ledger.rules.decide import decide
from services.ledger.rules.refusal import Reason, Refused
from services.ledger.store.database import Connection, Pool, connect_pool
from tests.support.books import (
    SECONDS,
    SENSOR,
    SENSOR_CREDITS,
    adjust,
    comes_true,
    do,
    enable,
    entries,
    lock_is_wanted,
    locked,
    make_customer,
    make_organization,
    offer_sensors,
    refused,
    request_ids,
    revision,
    together,
    told,
    units_of,
    verdict,
)

CALLERS = 200


@pytest.fixture
async def acme(ledger: Ledger, connection: Connection) -> Ledger:
    """A ledger with one offering and one organization, `acme`, that has a million credits."""
    await offer_sensors(connection)
    await make_customer(ledger, connection)
    return ledger


@pytest.fixture
async def narrow(database: str, sound: None) -> AsyncIterator[Pool]:
    """No more than four connections."""
    async with await connect_pool(database, name="narrow", size=4) as pool:
        yield pool


@pytest.fixture
def calm(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing failed on the way: carrying a batch out again, call by call, would hide it."""
    yield
    assert [each.getMessage() for each in caplog.get_records("call") if each.levelno >= logging.ERROR] == []


ONE_OR_MANY = pytest.mark.parametrize("batch", [1, 512], ids=["one by one", "in batches"])


@pytest.mark.usefixtures("calm")
async def test_200_callers_at_once_are_all_answered_rightly(acme: Ledger, connection: Connection) -> None:
    first = await revision(connection) + 1
    answers = await together([do(acme, "acme", enable(f"host-{each}", units=each)) for each in range(1, CALLERS + 1)])

    balances = {answer.balance.revision: answer.balance for answer in answers if isinstance(answer, Answer)}
    assert sorted(balances) == list(range(first, first + CALLERS))
    ledger = {each["revision"]: each for each in await entries(connection)}
    for at, balance in balances.items():
        assert balance.figures.allocated == ledger[at]["allocated_credits"]
        assert balance.figures.valid == ledger[at]["valid_credits"]
    for units, answer in enumerate(answers, start=1):
        assert isinstance(answer, Answer)
        [allocation] = answer.outcome.allocations
        assert (allocation.allocation, allocation.units) == (f"host-{units}", units)
        assert ledger[answer.balance.revision]["resource"] == f"host-{units}"
        assert ledger[answer.balance.revision]["allocated_delta"] == units * SENSOR_CREDITS


@pytest.mark.usefixtures("calm")
async def test_200_callers_at_once_need_few_commits(acme: Ledger, connection: Connection, database: str) -> None:
    before = await revision(connection)
    commits_before = await _commits(connection)
    async with await connect_pool(database, name="counted", size=4) as pool:
        counted = Ledger(pool)
        verdicts = await together([do(counted, "acme", enable(f"host-{each}")) for each in range(CALLERS)])
        await counted.drained()
    assert all(isinstance(each, Answer) for each in verdicts)

    written = [each for each in await entries(connection) if each["revision"] > before]
    assert len(written) == CALLERS
    assert len({each["transaction"] for each in written}) <= CALLERS // 20
    # Beside its transactions a connection commits what it does when it is opened and given back.
    assert await _commits(connection) - commits_before <= CALLERS // 2


async def _commits(connection: Connection) -> int:
    """Those of this database so far; a backend has told its own for certain when it is gone."""

    async def all_gone() -> bool:
        return not await connection.fetch("SELECT FROM pg_stat_activity WHERE application_name = 'counted'")

    await comes_true(all_gone)
    await connection.execute("SELECT pg_stat_force_next_flush()")
    commits: int = await connection.fetchval(
        "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    )
    return commits


async def test_one_caller_alone_does_not_wait_for_company(acme: Ledger, connection: Connection) -> None:
    """Three in a row are three transactions: nobody was kept waiting for the next."""
    for each in range(3):
        await do(acme, "acme", enable(f"host-{each}"))
    assert len({each["transaction"] for each in (await entries(connection))[-3:]}) == 3


@pytest.mark.usefixtures("calm")
async def test_a_refusal_fails_no_neighbour(acme: Ledger, connection: Connection) -> None:
    dear = 1_000_000
    calls = [do(acme, "acme", enable(f"host-{each}", dear if each == 7 else 1)) for each in range(20)]
    verdicts = await together(calls)
    assert verdicts[7] is Reason.INSUFFICIENT_CREDITS
    assert all(isinstance(each, Answer) for number, each in enumerate(verdicts) if number != 7)
    assert await units_of(connection, "host-7") is None
    assert len({each["transaction"] for each in (await entries(connection))[-19:]}) == 1


async def test_a_poisonous_call_fails_alone(
    acme: Ledger, connection: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def poisoned(book: Any, organization: str, call: Call, now: Any) -> Answer:
        if isinstance(call.command, EnableAllocation) and call.command.allocation == "host-7":
            raise ZeroDivisionError("poison")
        return decide(book, organization, call, now)

    monkeypatch.setattr(transaction, "decide", poisoned)
    verdicts = await together([do(acme, "acme", enable(f"host-{each}"), f"id-{each}") for each in range(20)])

    assert verdicts[7] is Reason.INTERNAL
    assert Counter(map(type, verdicts)) == {Answer: 19, Reason: 1}
    assert [await units_of(connection, f"host-{each}") for each in range(20)] == [1] * 7 + [None] + [1] * 12
    assert "id-7" not in await request_ids(connection)
    assert "ZeroDivisionError: poison" in caplog.text
    refusal = await refused(do(acme, "acme", enable("host-7")))
    assert "poison" not in refusal.message


async def test_what_the_database_cannot_store_is_poison_too(acme: Ledger, connection: Connection) -> None:
    unstorable = EnableAllocation("host-3", SENSOR, 1, labels={"zero": "\0"})
    calls = [do(acme, "acme", unstorable if each == 3 else enable(f"host-{each}")) for each in range(6)]
    verdicts = await together(calls)
    assert [isinstance(each, Answer) for each in verdicts] == [True, True, True, False, True, True]
    assert verdicts[3] is Reason.INTERNAL
    assert [await units_of(connection, f"host-{each}") for each in range(6)] == [1, 1, 1, None, 1, 1]


@pytest.mark.usefixtures("calm")
async def test_an_id_twice_in_a_batch_is_a_replay(acme: Ledger, connection: Connection) -> None:
    await do(acme, "acme", enable(units=5))
    before = await revision(connection)
    first, second = await together([do(acme, "acme", adjust(+1), "same") for _ in range(2)])
    assert isinstance(first, Answer)
    assert first == second
    assert await units_of(connection) == 6
    assert await revision(connection) == before + 1


@pytest.mark.usefixtures("calm")
async def test_an_id_twice_in_a_batch_with_another_meaning_is_refused(acme: Ledger, connection: Connection) -> None:
    await do(acme, "acme", enable(units=5))
    one, other = await acme.change_each("acme", [Call(adjust(+1), "same"), Call(adjust(+2), "same")], SECONDS)
    assert isinstance(one, Answer)
    assert isinstance(other, Refused)
    assert other.reason is Reason.REQUEST_ID_REUSED
    assert await units_of(connection) == 6


async def test_a_lock_held_outside_costs_patience_and_changes_nothing(
    acme: Ledger, connection: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "PATIENCE_SECONDS", 2.0)
    await make_customer(acme, connection, "other")
    before = await told(connection)
    async with locked(database, ["acme"]):
        waiting = asyncio.create_task(verdict(do(acme, "acme", enable(), "id-1")))
        await lock_is_wanted(connection)
        for each in range(5):
            await do(acme, "other", enable(f"host-{each}"))
        assert not waiting.done()
        assert await waiting is Reason.LOCK_TIMEOUT
    await acme.drained()
    assert await told(connection) == before
    assert await request_ids(connection) == []
    assert isinstance(await do(acme, "acme", enable(), "id-1"), Answer)


async def test_a_lock_that_is_let_go_in_time_costs_nothing(acme: Ledger, connection: Connection, database: str) -> None:
    async with locked(database, ["acme"]):
        waiting = asyncio.create_task(do(acme, "acme", enable(units=3)))
        await lock_is_wanted(connection)
    assert (await waiting).outcome.allocations[0].units == 3


async def test_20_stuck_organizations_leave_room_for_a_21st(
    narrow: Pool, connection: Connection, database: str
) -> None:
    ledger = Ledger(narrow)
    await offer_sensors(connection)
    stuck = [f"stuck-{each}" for each in range(20)]
    for organization in (*stuck, "free"):
        await make_customer(ledger, connection, organization)
    async with locked(database, stuck):
        waiting = [asyncio.create_task(do(ledger, each, enable())) for each in stuck]
        await lock_is_wanted(connection, 4)
        for each in range(2):
            assert isinstance(await do(ledger, "free", enable(f"host-{each}")), Answer)
        assert not any(each.done() for each in waiting)
    for task in waiting:
        assert (await task).outcome.allocations[0].units == 1


async def test_a_call_whose_time_is_up_while_it_waits_is_dropped(
    acme: Ledger, connection: Connection, database: str
) -> None:
    before = await told(connection)
    async with locked(database, ["acme"]):
        hasty = asyncio.create_task(verdict(do(acme, "acme", enable("hasty"), "id-1", seconds=0.3)))
        patient = asyncio.create_task(do(acme, "acme", enable("patient")))
        assert await hasty is Reason.LOCK_TIMEOUT
    await patient
    await acme.drained()
    assert await told(connection) == [*before, "ALLOCATION_ENABLED patient"]
    assert await request_ids(connection) == []


async def test_a_caller_who_leaves_while_it_waits_is_dropped(
    acme: Ledger, connection: Connection, database: str
) -> None:
    before = await told(connection)
    async with locked(database, ["acme"]):
        leaving = asyncio.create_task(
            acme.change_each("acme", [Call(enable("leaving-1")), Call(enable("leaving-2"))], SECONDS)
        )
        staying = asyncio.create_task(do(acme, "acme", enable("staying")))
        await lock_is_wanted(connection)
        leaving.cancel()
        await asyncio.wait([leaving])
    await staying
    await acme.drained()
    assert await told(connection) == [*before, "ALLOCATION_ENABLED staying"]


async def test_a_full_queue_refuses_at_once(
    acme: Ledger, connection: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "QUEUE_CALLS_MAX", 10)
    await make_customer(acme, connection, "other")
    async with locked(database, ["acme"]):
        first = asyncio.create_task(do(acme, "acme", enable("host-0")))
        await lock_is_wanted(connection)
        queued = [asyncio.create_task(do(acme, "acme", enable(f"host-{each}"))) for each in range(1, 11)]
        await asyncio.sleep(0)  # Each has come as far as the queue.
        refusal = await refused(do(acme, "acme", enable("one-too-many")))
        assert refusal.reason is Reason.TOO_MANY_WAITING
        assert refusal.figures == {"waiting": "10"}
        assert isinstance(await do(acme, "other", enable()), Answer)
        assert not first.done()
    await asyncio.gather(first, *queued)
    assert await units_of(connection, "one-too-many") is None
    assert [await units_of(connection, f"host-{each}") for each in range(11)] == [1] * 11


async def test_what_comes_too_late_is_refused_at_once(
    acme: Ledger, connection: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole batch is ahead of it, and by how long batches take its turn comes after its time."""
    monkeypatch.setattr(lane, "BATCH_CALLS_MAX", 1)
    async with locked(database, ["acme"]):
        first = asyncio.create_task(do(acme, "acme", enable("first")))
        await lock_is_wanted(connection)
        acme._lanes["acme"]._batch_seconds = SECONDS
        second = asyncio.create_task(do(acme, "acme", enable("second")))
        await asyncio.sleep(0)  # It has come as far as the queue, where no whole batch is ahead of it.
        assert (await refused(do(acme, "acme", enable("third")))).reason is Reason.TOO_MANY_WAITING
        patient = asyncio.create_task(do(acme, "acme", enable("patient"), seconds=100 * SECONDS))
        await asyncio.sleep(0)
        assert not patient.done()
    assert all(isinstance(each, Answer) for each in await asyncio.gather(first, second, patient))
    assert await units_of(connection, "third") is None


async def test_operations_fill_a_queue_too(
    acme: Ledger, connection: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "QUEUE_OPERATIONS_MAX", 3)
    several = ApplyOperations(tuple(enable(f"host-{each}") for each in range(3)))
    async with locked(database, ["acme"]):
        first = asyncio.create_task(do(acme, "acme", enable("first")))
        await lock_is_wanted(connection)
        queued = asyncio.create_task(do(acme, "acme", several))
        await asyncio.sleep(0)
        assert (await refused(do(acme, "acme", enable("one-too-many")))).reason is Reason.TOO_MANY_WAITING
    assert all(isinstance(each, Answer) for each in await asyncio.gather(first, queued))


async def test_two_ledgers_on_one_organization_take_turns(acme: Ledger, connection: Connection, narrow: Pool) -> None:
    """As two processes would: nothing but the database is between them."""
    other = Ledger(narrow)
    await do(acme, "acme", enable(units=1))
    before = await revision(connection)
    calls = [do((acme, other)[each % 2], "acme", adjust(+1), f"id-{each}") for each in range(100)]
    verdicts = await together(calls)

    answers = [each for each in verdicts if isinstance(each, Answer)]
    assert len(answers) == 100
    assert sorted(each.balance.revision for each in answers) == list(range(before + 1, before + 101))
    assert sorted(each.outcome.allocations[0].units for each in answers) == list(range(2, 102))
    assert await units_of(connection) == 101
    allocated = [each["allocated_credits"] for each in (await entries(connection))[-100:]]
    assert allocated == [SENSOR_CREDITS * units for units in range(2, 102)]


@pytest.mark.usefixtures("calm")
async def test_two_ledgers_never_sell_the_last_credit_twice(acme: Ledger, connection: Connection, narrow: Pool) -> None:
    other = Ledger(narrow)
    await make_customer(acme, connection, "small", credits=10 * SENSOR_CREDITS)
    calls = [do((acme, other)[each % 2], "small", enable(f"host-{each}")) for each in range(40)]
    verdicts = await together(calls)
    assert Counter(each if isinstance(each, Reason) else "sold" for each in verdicts) == {
        "sold": 10,
        Reason.INSUFFICIENT_CREDITS: 30,
    }


@ONE_OR_MANY
@pytest.mark.usefixtures("calm")
async def test_two_ledgers_create_one_organization_once(
    ledger: Ledger, connection: Connection, narrow: Pool, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no row to lock yet."""
    monkeypatch.setattr(lane, "BATCH_CALLS_MAX", batch)
    other = Ledger(narrow)
    verdicts = await together([make_organization((ledger, other)[each % 2], "new") for each in range(20)])
    assert Counter(each if isinstance(each, Reason) else "created" for each in verdicts) == {
        "created": 1,
        Reason.ORGANIZATION_ALREADY_EXISTS: 19,
    }
    assert await told(connection, "new") == ["ORGANIZATION_CREATED"]
