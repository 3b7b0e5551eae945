"""The way to the database breaks at the worst moments: every caller is told the truth, or that it is not known."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from earmark import EarmarkError
from earmark.messages import MessageClient
from earmark.v1.allocation_service_pb2 import AdjustAllocationResponse
from services.admin import embedded
from services.allocator.server import AllocatorServer
from services.ledger import lane
from services.ledger.ledger import Ledger
from services.ledger.rules.answers import Answer
from services.ledger.rules.cataloguing import CreateOffering, Terms
from services.ledger.rules.commands import CreateOrganization, UpdateOrganization
from services.ledger.rules.refusal import Reason
from services.ledger.store import catalog_tables
from services.ledger.store.database import AWAY, Connection, Pool, connect_pool
from services.ledger.store.migrate import migrate
from services.ledger.store.reads import read_now
from services.ledger.together import DECIDED_WITHIN
from services.runtime.settings import Settings
from tests.conftest import Advance
from tests.support.books import (
    DAY,
    MICROSECOND,
    SECONDS,
    SENSOR,
    adjust,
    comes_true,
    do,
    enable,
    lock_is_wanted,
    make_customer,
    offer_sensors,
    refused,
    request_ids,
    revision,
    standby_is_awaited,
    stop_clock,
    together,
    told,
    units_of,
    verdict,
)
from tests.support.proxy import Fate, Proxy, relayed
from tests.support.ways import GUARDED, Way

WITH_AND_WITHOUT_ID = pytest.mark.parametrize("request_id", ["", "id-1"], ids=["without id", "with id"])
NEW_OFFERING = CreateOffering("new", Terms(Decimal(1)))
BATCH = 12
"""Calls, few enough to go together with others."""
OTHERS = ("one", "two", "three")
BEFORE_AND_AFTER = pytest.mark.parametrize("fate", [Fate.CUT_BEFORE, Fate.CUT_AFTER])


@pytest.fixture
async def acme(pool: Pool, connection: Connection, sound: None) -> None:
    """`acme` has a million credits and one sensor."""
    ledger = Ledger(pool)
    await offer_sensors(connection)
    await make_customer(ledger, connection, days=3, grace=DAY / 2)
    await do(ledger, "acme", enable())


@pytest.fixture(params=list(Way), ids=[each.value for each in Way])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way:
    """How small batches are carried out."""
    way: Way = request.param
    way.go(monkeypatch)
    return way


@pytest.fixture
async def proxy(database: str, acme: None) -> AsyncIterator[Proxy]:
    async with relayed(database) as proxy:
        yield proxy


@pytest.fixture
async def far_pool(proxy: Proxy) -> AsyncIterator[Pool]:
    """Reaches the database through the relay only."""
    async with await connect_pool(proxy.url, name="far", size=4) as pool:
        yield pool


@pytest.fixture
async def far(far_pool: Pool, proxy: Proxy) -> AsyncIterator[Ledger]:
    ledger = Ledger(far_pool)
    yield ledger
    proxy.let_go()
    await ledger.drained()


@WITH_AND_WITHOUT_ID
@BEFORE_AND_AFTER
async def test_a_commit_that_is_cut_off_is_carried_out_once(
    far: Ledger, proxy: Proxy, way: Way, connection: Connection, fate: Fate, request_id: str
) -> None:
    before = await revision(connection)
    trap = way.at_commit(proxy, fate)
    answer = await do(far, "acme", adjust(+1), request_id)

    assert trap.sprung.is_set()
    assert answer.outcome.allocations[0].units == 2
    assert answer.balance.revision == before + 1
    assert await revision(connection) == before + 1
    assert await units_of(connection) == 2
    if request_id:
        assert await do(far, "acme", adjust(+1), request_id) == answer
        assert await units_of(connection) == 2


@BEFORE_AND_AFTER
async def test_a_batch_that_is_cut_off_is_carried_out_once(
    far: Ledger, proxy: Proxy, way: Way, connection: Connection, fate: Fate
) -> None:
    before = await revision(connection)
    trap = way.at_commit(proxy, fate)
    dear = 10**9
    verdicts = await together([do(far, "acme", adjust(dear if each == 7 else +1)) for each in range(BATCH)])

    assert trap.sprung.is_set()
    assert verdicts[7] is Reason.INSUFFICIENT_CREDITS
    answers = [each for each in verdicts if isinstance(each, Answer)]
    assert sorted(each.outcome.allocations[0].units for each in answers) == list(range(2, BATCH + 1))
    assert sorted(each.balance.revision for each in answers) == list(range(before + 1, before + BATCH))
    assert await units_of(connection) == BATCH


@BEFORE_AND_AFTER
async def test_organizations_that_are_cut_off_together_are_each_carried_out_once(
    far: Ledger, proxy: Proxy, connection: Connection, fate: Fate
) -> None:
    for each in OTHERS:
        await make_customer(far, connection, each)
        await do(far, each, enable())
    before = {each: await revision(connection, each) for each in OTHERS}
    commits = proxy.count("COMMIT")
    trap = proxy.at(GUARDED, fate, run=True)
    answers = await asyncio.gather(*(do(far, each, adjust(+1)) for each in OTHERS))

    assert trap.sprung.is_set()
    assert proxy.count("COMMIT") - commits >= len(OTHERS), "each is looked up"
    assert [each.balance.revision for each in answers] == [before[each] + 1 for each in OTHERS]
    assert {each: await revision(connection, each) for each in OTHERS} == {each: before[each] + 1 for each in OTHERS}
    assert [await units_of(connection, SENSOR, each) for each in OTHERS] == [2] * len(OTHERS)


@BEFORE_AND_AFTER
async def test_the_creation_of_an_organization_that_is_cut_off_happens_once(
    far: Ledger, proxy: Proxy, connection: Connection, fate: Fate
) -> None:
    trap = proxy.at("COMMIT", fate)
    answer = await do(far, "new", CreateOrganization("New"))
    assert trap.sprung.is_set()
    assert answer.balance.revision == 1
    assert await told(connection, "new") == ["ORGANIZATION_CREATED"]


@BEFORE_AND_AFTER
async def test_settling_that_is_cut_off_happens_once(
    far: Ledger, proxy: Proxy, connection: Connection, advance: Advance, fate: Fate
) -> None:
    before = await revision(connection)
    await advance(10 * DAY)
    trap = proxy.at("COMMIT", fate)
    assert await verdict(do(far, "acme", adjust(+1))) is Reason.SUSPENDED
    assert trap.sprung.is_set()
    assert await told(connection, after=before) == [
        "SUBSCRIPTION_ENDING_SOON first",
        "SUBSCRIPTION_ENDED first",
        "ALLOCATION_SUSPENDED endpoint-sensor",
        "SUBSCRIPTION_EXPIRED first",
    ]


@WITH_AND_WITHOUT_ID
async def test_a_commit_that_is_still_on_its_way_is_waited_for(
    far: Ledger, proxy: Proxy, connection: Connection, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client has lost it, but its backend has not: to look without the row lock would find nothing."""
    Way.ALONE.go(monkeypatch)
    before = await revision(connection)
    trap = proxy.at("COMMIT", Fate.CUT_MEANWHILE)
    calling = asyncio.create_task(do(far, "acme", adjust(+1), request_id))
    await trap.sprung.wait()
    await _looked_up_in_vain(proxy)
    assert not calling.done()
    trap.release()

    answer = await calling
    assert answer.balance.revision == before + 1
    assert await revision(connection) == before + 1
    assert await units_of(connection) == 2


async def _looked_up_in_vain(proxy: Proxy) -> None:
    """Returns when a look-up that could not tell has been rolled back, and another one has begun."""
    done = proxy.count("ROLLBACK")

    async def again() -> bool:
        return proxy.count("ROLLBACK") > done + 1

    await comes_true(again)


@WITH_AND_WITHOUT_ID
async def test_what_may_still_arrive_without_a_lock_is_waited_for(
    far: Ledger, proxy: Proxy, connection: Connection, request_id: str
) -> None:
    """Nobody has the row yet: that it is not there does not say that it will not be."""
    await stop_clock(connection, await read_now(connection))
    before = await revision(connection)
    trap = proxy.at(GUARDED, Fate.CUT_MEANWHILE, run=True)
    calling = asyncio.create_task(do(far, "acme", adjust(+1), request_id))
    await trap.sprung.wait()
    await _looked_up_in_vain(proxy)
    assert not calling.done()
    assert await revision(connection) == before
    trap.release()

    answer = await calling
    assert answer.balance.revision == before + 1
    assert await revision(connection) == before + 1
    assert await units_of(connection) == 2


async def test_what_arrives_too_late_is_not_written(
    far: Ledger, proxy: Proxy, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the caller was told that it did not happen."""
    monkeypatch.setattr(lane, "PATIENCE_SECONDS", 0.0)
    now = await read_now(connection)
    await stop_clock(connection, now)
    before = await told(connection)
    trap = proxy.at(GUARDED, Fate.CUT_MEANWHILE, run=True)
    calling = asyncio.create_task(verdict(do(far, "acme", adjust(+1), "id-1")))
    await trap.sprung.wait()
    await stop_clock(connection, now + DECIDED_WITHIN + MICROSECOND)
    assert await calling is Reason.LOCK_TIMEOUT
    trap.release()
    await trap.answered.wait()
    assert await told(connection) == before
    assert await request_ids(connection) == []


@pytest.mark.parametrize(
    ("way", "statements"),
    [
        (Way.TOGETHER, ("WITH held", GUARDED)),
        (Way.ALONE, ("BEGIN", "SELECT FROM organization", "WITH held", "WITH part_0")),
    ],
    indirect=["way"],
    ids=["together", "alone"],
)
@BEFORE_AND_AFTER
async def test_a_transaction_that_is_cut_off_before_its_commit_is_begun_again(
    far: Ledger,
    far_pool: Pool,
    proxy: Proxy,
    way: Way,
    connection: Connection,
    fate: Fate,
    statements: tuple[str, ...],
) -> None:
    for units, statement in enumerate(statements, 2):
        trap = proxy.at(statement, fate)
        # A new connection prepares its statements anew, so that the relay sees them.
        await far_pool.expire_connections()
        answer = await do(far, "acme", adjust(+1))
        assert trap.sprung.is_set(), statement
        assert answer.outcome.allocations[0].units == await units_of(connection) == units


@BEFORE_AND_AFTER
async def test_a_reading_that_is_cut_off_is_done_again(
    far: Ledger, proxy: Proxy, connection: Connection, fate: Fate
) -> None:
    await do(far, "acme", adjust(+1))  # The statement is prepared by now.
    trap = proxy.at("WITH held", fate, run=True)
    answer = await do(far, "acme", adjust(+1))
    assert trap.sprung.is_set()
    assert answer.outcome.allocations[0].units == await units_of(connection) == 3


@pytest.mark.usefixtures("way")
@BEFORE_AND_AFTER
async def test_a_connection_that_breaks_as_it_is_given_back_undoes_no_verdict(
    proxy: Proxy, connection: Connection, fate: Fate
) -> None:
    """What is done is done by then: the pool's own last statement is nobody's business."""
    async with asyncpg.create_pool(proxy.url, min_size=1, max_size=2) as pool:
        far, before = Ledger(pool), await revision(connection)
        trap = proxy.at("SELECT pg_advisory_unlock_all", fate)
        answer = await do(far, "acme", adjust(+1))
        assert trap.sprung.is_set()
        assert answer.balance.revision == await revision(connection) == before + 1
        assert await units_of(connection) == 2

        trap = proxy.at("SELECT pg_advisory_unlock_all", fate)
        offering, _ = await far.change_catalog(NEW_OFFERING, request_id="", validate_only=False, seconds=SECONDS)
        assert trap.sprung.is_set()
        assert (await catalog_tables.read_offerings(connection, ["new"]))["new"] == offering


@pytest.mark.usefixtures("way")
async def test_a_slow_way_changes_no_verdict(far: Ledger, proxy: Proxy, connection: Connection) -> None:
    proxy.delay_seconds = 0.01
    verdicts = await together([do(far, "acme", adjust(+1)) for _ in range(BATCH)])
    assert all(isinstance(each, Answer) for each in verdicts)
    assert await units_of(connection) == BATCH + 1


@BEFORE_AND_AFTER
async def test_where_nothing_can_be_looked_up_the_caller_hears_so_before_its_deadline(
    far_pool: Pool, proxy: Proxy, way: Way, connection: Connection, fate: Fate
) -> None:
    """Had the answer come later, the caller would have seen DEADLINE_EXCEEDED, which says nothing."""
    server = AllocatorServer(Settings(listen_address="127.0.0.1:0"), far_pool)
    await server.start()
    async with MessageClient(server.address, timeout_seconds=3.0) as client:
        trap = way.at_commit(proxy, fate, for_good=True)
        with pytest.raises(EarmarkError) as lost:
            await client.adjust_allocation("acme", SENSOR, delta_units=+1, request_id="id-1")
        assert trap.sprung.is_set()
        assert lost.value.reason == "OUTCOME_UNKNOWN"
        assert lost.value.code.name == "UNAVAILABLE"
        assert lost.value.metadata == {"outcome": "unknown"}

        await proxy.open()
        assert (await _answered(client)).allocation.units == 2
    await server.stop()
    assert await units_of(connection) == 2
    assert (await told(connection)).count(f"ALLOCATION_ADJUSTED {SENSOR}") == 1


async def _answered(client: MessageClient) -> AdjustAllocationResponse:
    """What the caller does who was told that the outcome is unknown: the same again, with the same id."""
    while True:
        try:
            return await client.adjust_allocation("acme", SENSOR, delta_units=+1, request_id="id-1")
        except EarmarkError as error:
            if error.reason not in ("LOCK_TIMEOUT", "DATABASE_UNAVAILABLE", "OUTCOME_UNKNOWN"):
                raise


async def test_a_call_whose_outcome_was_unknown_is_not_carried_out_after_its_deadline(
    far: Ledger, proxy: Proxy, way: Way, connection: Connection
) -> None:
    """Its caller was told that it may or may not have happened: it must not happen later."""
    before = await told(connection)
    way.at_commit(proxy, Fate.CUT_BEFORE, for_good=True)
    assert await verdict(do(far, "acme", adjust(+1), "id-1", seconds=2.0)) is Reason.OUTCOME_UNKNOWN
    await proxy.open()
    await far.drained()
    assert await told(connection) == before
    assert await request_ids(connection) == []


@pytest.mark.parametrize("fate", [Fate.HOLD_BEFORE, Fate.HOLD_AFTER])
async def test_a_commit_that_hangs_closes_its_lane_and_no_other(
    far: Ledger,
    proxy: Proxy,
    way: Way,
    connection: Connection,
    pool: Pool,
    fate: Fate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await make_customer(Ledger(pool), connection, "other")
    await stop_clock(connection, await read_now(connection))  # However long it hangs, it is not too late.
    monkeypatch.setattr(lane, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(lane, "COMMIT_PATIENCE_SECONDS", 0.1)
    trap = way.at_commit(proxy, fate)
    assert await verdict(do(far, "acme", adjust(+1), seconds=0.2)) is Reason.OUTCOME_UNKNOWN

    async def is_closed() -> bool:
        return await verdict(do(far, "acme", adjust(+1), seconds=0.02)) is Reason.DATABASE_UNAVAILABLE

    await comes_true(is_closed)
    assert isinstance(await do(far, "other", enable()), Answer)
    trap.release()
    await far.drained()
    assert await units_of(connection) == 2
    assert (await do(far, "acme", adjust(+1))).outcome.allocations[0].units == 3


async def test_calls_and_reads_say_that_the_database_is_away_and_work_when_it_is_back(
    far: Ledger, proxy: Proxy, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "PATIENCE_SECONDS", 0.3)
    before = await told(connection)
    proxy.shut()
    verdicts = await together([do(far, "acme", adjust(+1), f"id-{each}") for each in range(20)])
    assert verdicts == [Reason.DATABASE_UNAVAILABLE] * 20
    assert (await refused(_read(far))).reason is Reason.DATABASE_UNAVAILABLE
    assert await told(connection) == before

    await proxy.open()
    assert (await do(far, "acme", adjust(+1), "id-0")).outcome.allocations[0].units == 2
    assert await _read(far) == 2


async def _read(ledger: Ledger) -> int | None:
    async with ledger.snapshot("acme", 5.0) as snapshot:
        found = await snapshot.allocation(SENSOR)
    return found[0].units if found else None


@WITH_AND_WITHOUT_ID
@BEFORE_AND_AFTER
async def test_a_change_of_the_catalogue_that_is_cut_off_is_carried_out_once(
    far: Ledger, proxy: Proxy, connection: Connection, fate: Fate, request_id: str
) -> None:
    trap = proxy.at("COMMIT", fate)
    offering, _ = await far.change_catalog(NEW_OFFERING, request_id=request_id, validate_only=False, seconds=SECONDS)
    assert trap.sprung.is_set()
    assert offering.changes == 1
    assert (await catalog_tables.read_offerings(connection, ["new"]))["new"] == offering


@BEFORE_AND_AFTER
async def test_a_change_of_the_catalogue_that_cannot_be_looked_up_is_unknown(
    far: Ledger, proxy: Proxy, connection: Connection, fate: Fate
) -> None:
    proxy.at("COMMIT", fate, for_good=True)
    refusal = await refused(far.change_catalog(NEW_OFFERING, request_id="id-1", validate_only=False, seconds=0.5))
    assert refusal.reason is Reason.OUTCOME_UNKNOWN
    await proxy.open()
    offering, _ = await far.change_catalog(NEW_OFFERING, request_id="id-1", validate_only=False, seconds=SECONDS)
    assert (await catalog_tables.read_offerings(connection, ["new"]))["new"] == offering


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    """A Postgres that waits for a standby when a test says so."""
    with embedded.postgres(settings={"fsync": "off", "wal_level": "replica"}) as server:
        yield server


@pytest.fixture
async def own_connection(own_server: embedded.Server) -> AsyncIterator[Connection]:
    """Waits for no standby itself. Afterwards nobody does."""
    connection = await asyncpg.connect(own_server.url, server_settings={"synchronous_commit": "local"})
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await migrate(connection, movable_clock=True)
    yield connection
    await _wait_for_standby(connection, "")
    await connection.close()


@pytest.fixture
async def unreplicated(own_server: embedded.Server, own_connection: Connection, way: Way) -> AsyncIterator[Ledger]:
    """A ledger that is prepared as `acme` is; from then on every commit waits for a standby that is away."""
    async with await connect_pool(own_server.url, name="unreplicated", size=4) as pool:
        ledger = Ledger(pool)
        await offer_sensors(own_connection)
        await make_customer(ledger, own_connection)
        await do(ledger, "acme", enable())
        await _wait_for_standby(own_connection, "away")
        yield ledger
        await _wait_for_standby(own_connection, "")
        await ledger.drained()


async def _wait_for_standby(connection: Connection, name: str) -> None:
    await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    await connection.execute("SELECT pg_reload_conf()")

    async def is_in_force() -> bool:
        return bool(await connection.fetchval("SHOW synchronous_standby_names") == name)

    await comes_true(is_in_force)


async def test_a_commit_whose_wait_for_the_standby_was_cancelled_is_unknown(
    unreplicated: Ledger, own_connection: Connection
) -> None:
    """It has happened here; a failover would lose it."""
    calling = asyncio.create_task(refused(do(unreplicated, "acme", adjust(+1), "id-1")))
    await own_connection.execute("SELECT pg_cancel_backend($1)", await standby_is_awaited(own_connection))
    assert (await calling).reason is Reason.OUTCOME_UNKNOWN
    assert await units_of(own_connection) == 2

    await _wait_for_standby(own_connection, "")
    assert (await do(unreplicated, "acme", adjust(+1), "id-1")).outcome.allocations[0].units == 2
    assert await units_of(own_connection) == 2


@pytest.mark.parametrize("way", [Way.TOGETHER], indirect=True, ids=["together"])
async def test_organizations_whose_joint_commit_is_not_replicated_are_unknown_and_no_other(
    unreplicated: Ledger, own_connection: Connection
) -> None:
    await _wait_for_standby(own_connection, "")
    await make_customer(unreplicated, own_connection, "other")
    await _wait_for_standby(own_connection, "away")
    joint = [
        asyncio.create_task(verdict(do(unreplicated, each, UpdateOrganization(display_name="x"))))
        for each in ("acme", "other")
    ]
    apart = asyncio.create_task(do(unreplicated, "new", CreateOrganization("New")))
    await own_connection.execute("SELECT pg_cancel_backend($1)", await standby_is_awaited(own_connection))
    assert await asyncio.gather(*joint) == [Reason.OUTCOME_UNKNOWN] * 2

    await _wait_for_standby(own_connection, "")
    assert (await apart).balance.revision == 1


async def test_a_replay_waits_for_the_standby(unreplicated: Ledger, own_connection: Connection) -> None:
    """What it saw may have been committed by somebody whose standby has not got it."""
    await _wait_for_standby(own_connection, "")
    answer = await do(unreplicated, "acme", adjust(+1), "id-1")
    await _wait_for_standby(own_connection, "away")
    replay = asyncio.create_task(do(unreplicated, "acme", adjust(+1), "id-1"))
    await standby_is_awaited(own_connection)
    assert not replay.done()
    await _wait_for_standby(own_connection, "")
    assert await replay == answer


async def test_a_commit_whose_backend_ended_as_it_waited_for_the_standby_is_unknown(
    unreplicated: Ledger, own_connection: Connection
) -> None:
    """The look-up finds the entry, and must not say so before the standby has it."""
    calling = asyncio.create_task(verdict(do(unreplicated, "acme", adjust(+1), "id-1", seconds=4.0)))
    await own_connection.execute("SELECT pg_terminate_backend($1)", await standby_is_awaited(own_connection))
    assert await calling is Reason.OUTCOME_UNKNOWN
    await _wait_for_standby(own_connection, "")
    await unreplicated.drained()
    assert (await do(unreplicated, "acme", adjust(+1), "id-1")).outcome.allocations[0].units == 2


async def test_a_commit_that_waits_for_the_standby_is_answered_at_the_deadline(
    unreplicated: Ledger, own_connection: Connection
) -> None:
    calling = asyncio.create_task(verdict(do(unreplicated, "acme", adjust(+1), "id-1", seconds=3.0)))
    backend = await standby_is_awaited(own_connection)
    begun = "SELECT query_start FROM pg_stat_activity WHERE pid = $1"
    commit = await own_connection.fetchval(begun, backend)
    assert await calling is Reason.OUTCOME_UNKNOWN
    assert await standby_is_awaited(own_connection) == backend
    assert await own_connection.fetchval(begun, backend) == commit, "its commit was cancelled"

    await _wait_for_standby(own_connection, "")
    assert (await do(unreplicated, "acme", adjust(+1), "id-1")).outcome.allocations[0].units == 2
    assert await units_of(own_connection) == 2


async def test_a_backend_that_ends_while_it_is_written_to_is_not_waited_for(pool: Pool, connection: Connection) -> None:
    """It reads no more than it has room for, and the driver has much more to send."""
    locking = connection.transaction()
    await locking.start()
    await connection.execute("SELECT pg_advisory_xact_lock(1)")
    much = [("x" * 2**20,)] * 64
    async with pool.acquire() as held:
        backend = await held.fetchval("SELECT pg_backend_pid()")
        writing = asyncio.create_task(held.fetchmany("SELECT pg_advisory_xact_lock(1), length($1)", much))
        await lock_is_wanted(connection)
        await connection.execute("SELECT pg_terminate_backend($1)", backend)
        done, _ = await asyncio.wait([writing], timeout=SECONDS)
        assert done, "it waits for ever"
        assert isinstance(writing.exception(), AWAY)
    await locking.rollback()


async def test_a_database_that_stops_and_starts_again_needs_no_restart_of_its_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "PATIENCE_SECONDS", 0.3)
    settings = {"fsync": "off"}
    with embedded.postgres(tmp_path, settings=settings) as server:
        connection = await asyncpg.connect(server.url)
        await migrate(connection)
        await offer_sensors(connection)
        pool = await connect_pool(server.url, name="test", size=4)
        ledger = Ledger(pool)
        await make_customer(ledger, connection)
        await do(ledger, "acme", enable())
        await connection.close()
    verdicts = await together([do(ledger, "acme", adjust(+1)) for _ in range(5)])
    assert verdicts == [Reason.DATABASE_UNAVAILABLE] * 5
    assert (await refused(_read(ledger))).reason is Reason.DATABASE_UNAVAILABLE
    with embedded.postgres(tmp_path, port=server.port, settings=settings):
        assert (await do(ledger, "acme", adjust(+1))).outcome.allocations[0].units == 2
        assert await _read(ledger) == 2
        await pool.close()
