"""Several organizations in one statement: what was decided without a lock is written only where it still holds."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from services.ledger import together as joint
from services.ledger import transaction
from services.ledger.ledger import Ledger
from services.ledger.rules.answers import Answer, Balance
from services.ledger.rules.commands import Call, Command, CreateOrganization, EnableAllocation, UpdateOrganization
from services.ledger.rules.decide import decide
from services.ledger.rules.refusal import Reason
from services.ledger.store import statements
from services.ledger.store.database import Connection, Pool, connect_pool
from services.ledger.store.reads import read_now
from tests.conftest import Advance
from tests.support.books import (
    DAY,
    MICROSECOND,
    SENSOR,
    SENSOR_CREDITS,
    adjust,
    do,
    enable,
    entries,
    lock_is_wanted,
    locked,
    make_customer,
    offer_sensors,
    request_ids,
    revision,
    stop_clock,
    together,
    told,
    units_of,
    verdict,
)
from tests.support.ways import Way

ORGANIZATIONS: Final = ("a", "b", "c")
DEAR: Final = 10**9
"""Units that nobody has the credits for."""
CREATED: Final = ["ORGANIZATION_CREATED", "SUBSCRIPTION_CREATED first"]
GATE: Final = 7

Meanwhile = Callable[[], Awaitable[Any]]


@dataclass
class Guarded:
    """The guarded statements, in the order in which they were to be sent."""

    tried: list[set[str]] = field(default_factory=list)
    """The organizations that each was for."""
    done: dict[int, frozenset[str]] = field(default_factory=dict)
    """Those that it carried out, by its place; absent where it failed."""
    meanwhile: Meanwhile | None = None
    """What happens between the next reading and its guarded statement."""

    def forget(self) -> None:
        """What was until now was only the beginning."""
        self.tried.clear()
        self.done.clear()

    async def write_rows_if(
        self, connection: Connection, shape: statements.Shape, guarded: Sequence[statements.Guarded], until: datetime
    ) -> frozenset[str]:
        place = len(self.tried)
        self.tried.append({each.organization for each in guarded})
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        self.done[place] = await statements.write_rows_if(connection, shape, guarded, until)
        return self.done[place]


@pytest.fixture(autouse=True)
def _in_no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, what is decided is not too old."""
    monkeypatch.setattr(joint, "DECIDED_WITHIN", timedelta(minutes=1))


@pytest.fixture
async def ledger(ledger: Ledger, connection: Connection) -> Ledger:
    """One offering, and organizations with a million credits each and one sensor."""
    await offer_sensors(connection)
    for each in ORGANIZATIONS:
        await make_customer(ledger, connection, each)
        await do(ledger, each, enable())
    return ledger


@pytest.fixture
def other(pool: Pool, ledger: Ledger) -> Ledger:
    """As in another process: nothing but the database is between the two."""
    return Ledger(pool)


@pytest.fixture
def guarded(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Guarded:
    guarded = Guarded()
    monkeypatch.setattr(joint, "write_rows_if", guarded.write_rows_if)
    return guarded


@pytest.fixture
def calm(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing failed on the way: carrying it out again, alone, would hide it."""
    yield
    assert [each.getMessage() for each in caplog.get_records("call") if each.levelno >= logging.ERROR] == []


async def all_at_once(ledger: Ledger, commands: Mapping[str, Command]) -> dict[str, Answer | Reason]:
    """One call for each organization, which remembers it by `id-` and its own name."""
    verdicts = await together([do(ledger, each, command, f"id-{each}") for each, command in commands.items()])
    return dict(zip(commands, verdicts, strict=True))


def units_in(answer: Answer | Reason) -> int:
    assert isinstance(answer, Answer), answer
    return answer.outcome.allocations[0].units


async def transactions(connection: Connection, organizations: Sequence[str]) -> set[str]:
    """Those that wrote the newest entry of each."""
    return {(await entries(connection, each))[-1]["transaction"] for each in organizations}


@pytest.mark.usefixtures("calm")
async def test_organizations_share_a_transaction_and_a_refusal_fails_no_neighbour(
    ledger: Ledger, connection: Connection, guarded: Guarded
) -> None:
    before = {each: await told(connection, each) for each in ORGANIZATIONS}
    verdicts = await all_at_once(ledger, {"a": adjust(+1), "b": adjust(DEAR), "c": adjust(+2)})

    assert guarded.done == {0: {"a", "c"}, 1: {"b"}}  # Of another shape: nothing of it is to be written.
    assert (units_in(verdicts["a"]), verdicts["b"], units_in(verdicts["c"])) == (2, Reason.INSUFFICIENT_CREDITS, 3)
    assert [await units_of(connection, SENSOR, each) for each in ORGANIZATIONS] == [2, 1, 3]
    assert len(await transactions(connection, ["a", "c"])) == 1
    assert await told(connection, "b") == before["b"]
    assert [await request_ids(connection, each) for each in ORGANIZATIONS] == [["id-a"], [], ["id-c"]]


async def test_a_call_that_cannot_be_decided_fails_alone(
    ledger: Ledger,
    connection: Connection,
    guarded: Guarded,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def poisoned(book: Any, organization: str, call: Call, now: Any) -> Answer:
        if organization == "b":
            raise ZeroDivisionError("poison")
        return decide(book, organization, call, now)

    monkeypatch.setattr(transaction, "decide", poisoned)
    verdicts = await all_at_once(ledger, {each: adjust(+1) for each in ORGANIZATIONS})
    assert guarded.done == {0: {"a", "c"}}
    assert (units_in(verdicts["a"]), verdicts["b"], units_in(verdicts["c"])) == (2, Reason.INTERNAL, 2)
    assert await units_of(connection, SENSOR, "b") == 1
    assert "ZeroDivisionError: poison" in caplog.text


async def test_a_call_that_cannot_be_stored_fails_alone(
    ledger: Ledger, connection: Connection, guarded: Guarded
) -> None:
    unstorable = EnableAllocation("host", SENSOR, 1, labels={"zero": "\0"})
    verdicts = await all_at_once(ledger, {"a": adjust(+1), "b": unstorable, "c": adjust(+1)})
    assert guarded.tried == [set(ORGANIZATIONS)]
    assert guarded.done == {}
    assert (units_in(verdicts["a"]), verdicts["b"], units_in(verdicts["c"])) == (2, Reason.INTERNAL, 2)
    assert [await request_ids(connection, each) for each in ORGANIZATIONS] == [["id-a"], [], ["id-c"]]


@pytest.mark.parametrize("poison", ["a", "c"])
async def test_what_fails_in_one_shape_does_not_repeat_what_another_one_wrote(
    ledger: Ledger, connection: Connection, guarded: Guarded, poison: str
) -> None:
    """Without an id, so that carrying it out again would show."""
    unstorable = EnableAllocation("host", SENSOR, 1, labels={"zero": "\0"})
    good = [each for each in ORGANIZATIONS if each != poison]
    calls = [
        do(ledger, each, unstorable, "id-1") if each == poison else do(ledger, each, adjust(+1))
        for each in ORGANIZATIONS
    ]
    verdicts = dict(zip(ORGANIZATIONS, await together(calls), strict=True))
    assert sorted(map(sorted, guarded.tried)) == sorted([[poison], good])
    assert verdicts[poison] is Reason.INTERNAL
    assert [units_in(verdicts[each]) for each in good] == [2, 2]
    assert [await units_of(connection, SENSOR, each) for each in good] == [2, 2]


async def test_what_the_server_refuses_is_not_unknown(database: str, connection: Connection, guarded: Guarded) -> None:
    """As by one that has become a standby: it answers, so nothing was written, and alone it is refused as well."""
    before = await told(connection, "a")
    async with await connect_pool(database, name="standby", size=1) as pool:
        standby = Ledger(pool)

        async def demote() -> None:
            # The session that is about to write is the pool's only one.
            only: Any = pool
            [holder] = only._holders
            await holder._con.execute("SET default_transaction_read_only = on")

        guarded.meanwhile = demote
        refused = await verdict(do(standby, "a", adjust(+1), "id-1"))
        assert refused is Reason.DATABASE_UNAVAILABLE
        await standby.drained()
    assert guarded.done == {}
    assert await told(connection, "a") == before


@pytest.mark.usefixtures("calm")
async def test_the_last_credits_are_sold_once(
    ledger: Ledger, other: Ledger, connection: Connection, guarded: Guarded
) -> None:
    """Each is decided while there are credits for one."""
    await make_customer(ledger, connection, "small", credits=SENSOR_CREDITS)
    guarded.forget()
    guarded.meanwhile = lambda: do(other, "small", enable("theirs"))
    verdicts = await all_at_once(ledger, {"a": adjust(+1), "small": enable("ours")})

    assert sorted(map(sorted, guarded.tried)) == [["a"], ["small"], ["small"]]
    assert sorted(map(sorted, guarded.done.values())) == [[], ["a"], ["small"]]
    assert (units_in(verdicts["a"]), verdicts["small"]) == (2, Reason.INSUFFICIENT_CREDITS)
    assert await told(connection, "small") == [*CREATED, "ALLOCATION_ENABLED theirs", "THRESHOLD_CROSSED"]


@pytest.mark.usefixtures("calm")
async def test_what_was_changed_meanwhile_is_decided_again(
    ledger: Ledger, other: Ledger, connection: Connection, guarded: Guarded
) -> None:
    before = await revision(connection, "a")
    guarded.meanwhile = lambda: do(other, "a", adjust(+10))
    answer = await do(ledger, "a", adjust(+1), "id-1")
    assert guarded.done == {0: frozenset(), 1: {"a"}}
    assert (units_in(answer), answer.balance.revision) == (12, before + 2)
    assert await units_of(connection, SENSOR, "a") == 12


@pytest.fixture
async def gated(database: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ledger]:
    """Its guarded statements have their snapshot, and then go on only past a gate, before they lock anything."""
    found, locked = "FROM organization WHERE", "FOR UPDATE SKIP LOCKED"
    assert found in statements.GUARD
    assert locked in statements.GUARD
    gate = f"FROM (SELECT pg_advisory_xact_lock({GATE}) OFFSET 0) AS passed CROSS JOIN organization WHERE"
    guard = statements.GUARD.replace(found, gate).replace(locked, "FOR UPDATE OF organization SKIP LOCKED")
    monkeypatch.setattr(statements, "GUARD", guard)
    statements._guarded_statement.cache_clear()
    async with await connect_pool(database, name="gated", size=1) as pool:
        async with pool.acquire() as only:
            await only.execute("SET lock_timeout = 0")
        yield Ledger(pool)
    statements._guarded_statement.cache_clear()


@pytest.mark.usefixtures("calm")
async def test_what_is_changed_between_snapshot_and_lock_is_decided_again(
    gated: Ledger, other: Ledger, connection: Connection, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is there at the revision, in the snapshot of the very statement; what is locked is a later version."""
    before = await revision(connection, "a")
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", GATE)
        ours = asyncio.create_task(do(gated, "a", adjust(+1)))
        await lock_is_wanted(connection)
        Way.ALONE.go(monkeypatch)
        assert units_in(await do(other, "a", adjust(+10))) == 11
    answer = await ours
    assert guarded.done == {0: frozenset()}
    assert (units_in(answer), answer.balance.revision) == (12, before + 2)


@pytest.mark.parametrize("late", [False, True], ids=["just in time", "too late"])
@pytest.mark.usefixtures("calm")
async def test_what_was_decided_too_long_ago_is_decided_again(
    ledger: Ledger, connection: Connection, guarded: Guarded, late: bool
) -> None:
    """A microsecond is the difference."""
    decided = await read_now(connection)
    await stop_clock(connection, decided)
    until = decided + joint.DECIDED_WITHIN
    written = until + MICROSECOND if late else until
    guarded.meanwhile = lambda: stop_clock(connection, written)
    verdicts = await all_at_once(ledger, {"a": adjust(+1), "b": adjust(+2)})

    assert [units_in(each) for each in verdicts.values()] == [2, 3]
    assert guarded.done[0] == (frozenset() if late else {"a", "b"})
    for each in ("a", "b"):
        assert (await entries(connection, each))[-1]["recorded_time"] == (written if late else decided)


@pytest.mark.usefixtures("calm")
async def test_what_ended_meanwhile_is_not_sold(
    ledger: Ledger, connection: Connection, guarded: Guarded, advance: Advance
) -> None:
    await make_customer(ledger, connection, "short", days=10, grace=DAY)
    before = await revision(connection, "short")
    guarded.forget()
    guarded.meanwhile = lambda: advance(20 * DAY)
    assert await verdict(do(ledger, "short", enable())) is Reason.INSUFFICIENT_CREDITS
    assert guarded.done == {0: frozenset()}
    assert set(await told(connection, "short", before)) == {
        "SUBSCRIPTION_ENDING_SOON first",
        "SUBSCRIPTION_ENDED first",
        "SUBSCRIPTION_EXPIRED first",
    }


@pytest.mark.usefixtures("calm")
async def test_one_that_is_locked_from_outside_waits_and_its_neighbours_do_not(
    ledger: Ledger, connection: Connection, database: str, guarded: Guarded
) -> None:
    async with locked(database, ["b"]):
        a, b, c = (asyncio.create_task(do(ledger, each, adjust(+1))) for each in ORGANIZATIONS)
        assert [units_in(each) for each in await asyncio.gather(a, c)] == [2, 2]
        assert guarded.tried == [set(ORGANIZATIONS)]
        assert guarded.done == {0: {"a", "c"}}
        assert len(await transactions(connection, ["a", "c"])) == 1
        await lock_is_wanted(connection)
        assert not b.done()
    assert units_in(await b) == 2


async def test_one_whose_time_is_up_while_it_waits_for_the_lock_did_not_happen(
    ledger: Ledger, connection: Connection, database: str, guarded: Guarded
) -> None:
    """It was decided, but nothing of that was written: there is nothing unknown about it."""
    before = await told(connection, "b")
    async with locked(database, ["b"]):
        assert await verdict(do(ledger, "b", adjust(+1), "id-1")) is Reason.LOCK_TIMEOUT
        assert set(guarded.done.values()) == {frozenset()}
    await ledger.drained()
    assert await told(connection, "b") == before
    assert await request_ids(connection, "b") == []


@pytest.mark.usefixtures("calm")
async def test_an_id_that_was_used_meanwhile_by_a_call_that_changed_nothing_is_known(
    ledger: Ledger, other: Ledger, connection: Connection, guarded: Guarded
) -> None:
    """The revision is the same. One is the same call, which is a replay, and one means something else."""
    before = [await revision(connection, each) for each in ORGANIZATIONS]
    idle = UpdateOrganization(display_name="")
    theirs: list[Answer] = []

    async def use_the_ids() -> None:
        theirs.extend([await do(other, each, idle, f"id-{each}") for each in ("a", "b")])

    guarded.meanwhile = use_the_ids
    verdicts = await all_at_once(ledger, {"a": idle, "b": adjust(+1), "c": adjust(+1)})
    assert sorted(map(sorted, guarded.tried)) == [["a"], ["a"], ["b"], ["b", "c"]]
    assert sorted(map(sorted, guarded.done.values())) == [["a"], ["b"]]
    assert verdicts["a"] == theirs[0]
    assert verdicts["b"] is Reason.REQUEST_ID_REUSED
    assert units_in(verdicts["c"]) == 2
    assert [await revision(connection, each) for each in ORGANIZATIONS] == [before[0], before[1], before[2] + 1]


@pytest.mark.usefixtures("calm")
async def test_what_is_not_simple_is_carried_out_alone(
    ledger: Ledger, connection: Connection, guarded: Guarded, advance: Advance
) -> None:
    """One that is absent, one that is due, and one that a release wrote that keeps no sums of usage."""
    await make_customer(ledger, connection, "due", days=10, grace=DAY)
    end = await revision(connection, "due")
    await advance(5 * DAY)
    await connection.execute("UPDATE organization SET usage_revision = 0 WHERE organization = 'b'")
    guarded.forget()
    commands: dict[str, Command] = {
        "a": adjust(+1),
        "b": adjust(+2),
        "due": enable(units=4),
        "new": CreateOrganization("New"),
    }
    verdicts = await all_at_once(ledger, commands)

    assert guarded.done == {0: {"a"}}
    assert [units_in(verdicts[each]) for each in ("a", "b", "due")] == [2, 3, 4]
    assert isinstance(verdicts["new"], Answer)
    assert await told(connection, "due", end) == ["SUBSCRIPTION_ENDING_SOON first", f"ALLOCATION_ENABLED {SENSOR}"]
    assert await told(connection, "new") == CREATED[:1]
    assert await connection.fetchval("SELECT usage_revision = revision FROM organization WHERE organization = 'b'")


@pytest.mark.usefixtures("calm")
async def test_each_is_announced_once_and_after_its_commit(
    ledger: Ledger, pool: Pool, connection: Connection, database: str, guarded: Guarded
) -> None:
    """Neither one that is left out is, before it is carried out, nor one that was refused."""
    announced: list[tuple[str, int]] = []

    def announce(balance: Balance) -> None:
        announced.append((balance.organization, balance.revision))
        if balance.organization == "a":
            assert {"a"} in guarded.done.values()

    announcing = Ledger(pool, announce)
    before = await revision(connection, "a")
    async with locked(database, ["b"]):
        a, b, c = (
            asyncio.create_task(verdict(do(announcing, each, command)))
            for each, command in zip(ORGANIZATIONS, (adjust(+1), adjust(+1), adjust(DEAR)), strict=True)
        )
        assert units_in(await a) == 2
        assert await c is Reason.INSUFFICIENT_CREDITS
        assert announced == [("a", before + 1)]
    assert units_in(await b) == 2
    assert announced == [("a", before + 1), ("b", await revision(connection, "b"))]
