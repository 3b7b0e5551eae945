"""The campaign's relay, on the way to a real Postgres: what it does is what it says it did."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from services.ledger.ledger import Ledger
from services.ledger.store.database import Connection, Pool, connect_pool
from tests.chaos.relay import HOST, Cut, Way
from tests.chaos.statements import NOTHING, InFlight, Moment, PostgresRelay
from tests.support.books import comes_true, do, enable, make_customer, offer_sensors
from tests.support.books import revision as revision_of

LOST = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
SECONDS = 10.0
MANY = 200_000


@pytest.fixture
async def relay(database: str) -> AsyncIterator[PostgresRelay]:
    parts = urlsplit(database)
    relay = PostgresRelay("to Postgres", (parts.hostname or HOST, parts.port or 5432))
    await relay.start()
    yield relay
    await relay.close()


@pytest.fixture
def far_url(database: str, relay: PostgresRelay) -> str:
    """The same database by way of the relay."""
    parts = urlsplit(database)
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{relay.address}"))


@pytest.fixture
async def far(far_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(far_url)
    yield connection
    connection.terminate()


@pytest.fixture
async def far_pool(far_url: str) -> AsyncIterator[Pool]:
    pool = await connect_pool(far_url, name="far", size=4)
    yield pool
    pool.terminate()


@pytest.fixture
async def notes(connection: Connection) -> Connection:
    """A table `note`."""
    await connection.execute("CREATE TABLE note (text text)")
    return connection


async def write_note(far: Connection) -> None:
    async with far.transaction():
        await far.execute("INSERT INTO note VALUES ('there')")


async def test_it_passes_on_whatever_comes_in_the_order_in_which_it_comes(far: Connection) -> None:
    rows = await far.fetch("SELECT each FROM generate_series(1, $1::int) AS each", MANY)
    assert [row["each"] for row in rows] == list(range(1, MANY + 1))
    assert await far.fetchval("SELECT length($1)", "x" * MANY * 20) == MANY * 20


@pytest.mark.parametrize("way", list(Way))
async def test_what_is_held_back_arrives_once_it_goes_on(relay: PostgresRelay, far: Connection, way: Way) -> None:
    relay.stall(frozenset({way}))
    asked = asyncio.create_task(far.fetchval("SELECT repeat('x', 100)"))
    await comes_true(lambda: _true(relay.bytes_waiting > 0))
    assert not asked.done()
    assert relay.in_flight == InFlight(1, 0)
    relay.resume()
    assert await asked == 100 * "x"
    assert relay.bytes_waiting == 0


async def test_each_piece_is_late_by_the_delay_and_none_overtakes_another(
    relay: PostgresRelay, far: Connection
) -> None:
    relay.delay_seconds = 0.1
    began = monotonic()
    rows = await far.fetch("SELECT each FROM generate_series(1, 5000) AS each")
    assert monotonic() - began >= 0.2
    assert [row["each"] for row in rows] == list(range(1, 5001))
    assert relay.bytes_slowed > 5000


@pytest.mark.parametrize("way", list(Way))
async def test_a_cut_takes_the_very_next_piece_away(
    relay: PostgresRelay, far: Connection, far_url: str, way: Way
) -> None:
    cutting = asyncio.create_task(relay.cut_at_next(way, SECONDS))
    await asyncio.sleep(0)
    with pytest.raises(LOST):
        await far.fetchval("SELECT 1")
    cut = await cutting
    assert cut.links == 1
    assert cut.size > 0
    assert relay.unanswered.statements == 1
    again = await asyncpg.connect(far_url)
    assert await again.fetchval("SELECT 1") == 1
    await again.close()


async def test_where_nothing_comes_nothing_is_cut(relay: PostgresRelay, far: Connection) -> None:
    assert await relay.cut_at_next(Way.TO_SERVER, 0.05) == Cut(0, 0)
    assert await far.fetchval("SELECT 1") == 1


async def test_while_it_is_shut_nobody_gets_through(relay: PostgresRelay, far: Connection, far_url: str) -> None:
    assert relay.shut().links == 1
    with pytest.raises(LOST):
        await asyncpg.connect(far_url)
    relay.open()
    again = await asyncpg.connect(far_url)
    assert await again.fetchval("SELECT 1") == 1
    await again.close()


async def test_pointed_elsewhere_it_cuts_what_led_to_the_old_place(
    relay: PostgresRelay, far: Connection, far_url: str
) -> None:
    there, nowhere = relay.target, (HOST, 1)
    assert relay.point_to(nowhere).links == 1
    with pytest.raises(LOST):
        await far.fetchval("SELECT 1")
    with pytest.raises(LOST):
        await asyncpg.connect(far_url)
    relay.point_to(there)
    again = await asyncpg.connect(far_url)
    assert await again.fetchval("SELECT 1") == 1
    await again.close()


@pytest.mark.parametrize(("moment", "is_there"), [(Moment.BEFORE, False), (Moment.SENT, None), (Moment.ANSWERED, True)])
async def test_a_commit_is_cut_at_the_moment_that_was_asked_for(
    relay: PostgresRelay, far: Connection, notes: Connection, moment: Moment, is_there: bool | None
) -> None:
    catching = asyncio.create_task(relay.catch_commit(moment, lambda: _cut(relay), SECONDS))
    await asyncio.sleep(0)
    with pytest.raises(LOST):
        await write_note(far)
    assert await catching == InFlight(1, 1)
    assert relay.unanswered == InFlight(1, 1)
    found = await notes.fetchval("SELECT count(*) FROM note")
    assert is_there is None or found == int(is_there)


async def test_a_commit_whose_answer_was_caught_goes_on_where_nothing_is_cut(
    relay: PostgresRelay, far: Connection, notes: Connection
) -> None:
    catching = asyncio.create_task(relay.catch_commit(Moment.ANSWERED, lambda: None, SECONDS))
    await asyncio.sleep(0)
    await write_note(far)
    assert await catching == InFlight(1, 1)
    assert relay.in_flight == NOTHING


async def test_what_commits_nothing_is_not_caught(relay: PostgresRelay, far: Connection, notes: Connection) -> None:
    catching = asyncio.create_task(relay.catch_commit(Moment.SENT, lambda: _cut(relay), 0.2))
    await asyncio.sleep(0)
    assert await far.fetch("SELECT text FROM note WHERE text <> $1", "COMMIT") == []
    async with far.transaction():
        await far.execute("INSERT INTO note VALUES ('not yet')")
        assert await catching == NOTHING


async def test_small_calls_that_go_together_commit_in_one_statement_and_are_caught_too(
    relay: PostgresRelay, far_pool: Pool, connection: Connection, pool: Pool, sound: None
) -> None:
    await offer_sensors(connection)
    await make_customer(Ledger(pool), connection)
    before = await revision_of(connection)
    ledger = Ledger(far_pool)
    hit: list[int] = []
    catching = asyncio.create_task(relay.catch_commit(Moment.SENT, lambda: hit.append(1), SECONDS))
    await asyncio.sleep(0)
    await do(ledger, "acme", enable())
    assert (await catching).commits == 1
    assert hit == [1]
    assert await revision_of(connection) == before + 1
    await ledger.drained()


def _cut(relay: PostgresRelay) -> None:
    relay.cut()


async def _true(value: bool) -> bool:
    return value
