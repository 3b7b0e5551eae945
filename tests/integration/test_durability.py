"""What Postgres must be set to, and that nothing is read which a failover may undo."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg
import grpc
import pytest

from earmark import EarmarkError
from earmark.messages import MessageClient
from services.admin import embedded
from services.admin.verify import verify
from services.ledger.starting import CannotStart, open_pool
from services.ledger.store import database as connecting
from services.ledger.store import durability
from services.ledger.store.database import AWAY, Connection, NotPrimary, StandbyAway, connect_pool, pooled
from services.ledger.store.durability import DISK, LEVELS, NONE, STANDBY
from services.ledger.store.migrate import migrate
from services.runtime.settings import BadSettings, Settings
from tests.support.books import comes_true
from tests.support.cluster import Cluster, cluster
from tests.support.processes import ALLOCATOR, EXPIRY, run, running_allocator
from tests.support.proxy import Fate, relayed
from tests.support.service_stories import offer

SAFE: Final = {"fsync": "on", "full_page_writes": "on", "synchronous_standby_names": ""}
AT_THE_BARRIER: Final = """
SELECT pid FROM pg_stat_activity
WHERE application_name = 'ours' AND wait_event = 'SyncRep' AND query LIKE '%pg_logical_emit_message%'
"""
WAITS_FOR_STANDBY: Final = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
SECONDS: Final = 20.0
SOON: Final = 0.3


@pytest.fixture(scope="module")
def own_server() -> Iterator[embedded.Server]:
    """One whose settings are changed while it runs."""
    with embedded.postgres() as server:
        yield server


@pytest.fixture
async def own(own_server: embedded.Server) -> AsyncIterator[Connection]:
    """A connection to it that waits for no standby; its schema is there. Afterwards it is as safe as one server is."""
    async with connected(own_server.url, synchronous_commit="local") as connection:
        await migrate(connection)
        yield connection
        await put(connection, **SAFE)
        await connection.execute("ALTER DATABASE earmark RESET ALL")


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    """A primary and its standby. Every test leaves them in step."""
    with cluster() as pair:
        yield pair


@asynccontextmanager
async def connected(url: str, **settings: str) -> AsyncIterator[Connection]:
    """A plain connection, which waits for nobody."""
    connection = await asyncpg.connect(url, server_settings=settings)
    try:
        yield connection
    finally:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=5)


async def put(connection: Connection, **settings: str) -> None:
    """Changes the server's settings; returns when they are in force."""
    for name, value in settings.items():
        await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    await connection.execute("SELECT pg_reload_conf()")

    async def are_in_force() -> bool:
        return all([await connection.fetchval(f"SHOW {name}") == value for name, value in settings.items()])

    await comes_true(are_in_force)


async def start(server: embedded.Server, level: str) -> None:
    pool = await open_pool(server.url, name="ours", size=1, durability=level)
    await pool.close()


async def one_waits(connection: Connection, where: str) -> int:
    """Returns when a backend does: its process id."""
    found: list[int] = []

    async def one_does() -> bool:
        found[:] = [row["pid"] for row in await connection.fetch(where)]
        return found != []

    await comes_true(one_does)
    return found[0]


@pytest.mark.parametrize("level", [DISK, STANDBY])
@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
async def test_a_server_that_a_crash_may_ruin_is_refused(
    own_server: embedded.Server, own: Connection, name: str, level: str
) -> None:
    await put(own, **{name: "off"})
    with pytest.raises(CannotStart, match=f"{name} is off and must be on.*EARMARK_DURABILITY=none starts anyway"):
        await start(own_server, level)


async def test_a_server_that_a_crash_may_ruin_is_put_up_with_loudly(
    own_server: embedded.Server, own: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await put(own, fsync="off", full_page_writes="off")
    await start(own_server, NONE)
    [said] = [each.getMessage() for each in caplog.records if each.name == durability.__name__]
    assert said.startswith("THIS DATABASE MAY LOSE WHAT IT HAS ACKNOWLEDGED: fsync is off and must be on; full_page_w")


async def test_a_server_without_a_standby_is_refused_where_one_is_wanted(
    own_server: embedded.Server, own: Connection
) -> None:
    with pytest.raises(CannotStart, match="synchronous_standby_names is empty and must name a standby"):
        await start(own_server, STANDBY)


async def test_a_server_without_a_standby_is_put_up_with_loudly(
    own_server: embedded.Server, own: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await start(own_server, DISK)
    [said] = [each.getMessage() for each in caplog.records if each.name == durability.__name__]
    assert said.startswith("NO STANDBY HAS WHAT THIS DATABASE ACKNOWLEDGES: synchronous_standby_names is empty")


@pytest.mark.parametrize("level", LEVELS)
async def test_nothing_is_said_of_a_server_that_lacks_nothing(
    pair: Cluster, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(pair.primary.url) as connection:
        await migrate(connection)
    await start(pair.primary, level)
    assert [each for each in caplog.records if each.name == durability.__name__] == []


@pytest.mark.parametrize("module", [ALLOCATOR, EXPIRY])
async def test_a_process_says_it_in_one_line_and_ends(module: str, database: str) -> None:
    done = await asyncio.to_thread(run, module, database_url=database, durability="disk")
    [line] = done.stderr.splitlines()
    assert "fsync is off and must be on; full_page_writes is off and must be on" in line
    assert (done.returncode, done.stdout) == (1, "")


def test_the_levels_are_those_of_the_setting() -> None:
    assert Settings.from_environment({}).durability == DISK
    for each in LEVELS:
        assert Settings.from_environment({"EARMARK_DURABILITY": each}).durability == each
    with pytest.raises(BadSettings, match="EARMARK_DURABILITY must be disk, standby or none"):
        Settings.from_environment({"EARMARK_DURABILITY": "DISK"})


@pytest.mark.parametrize(
    ("asked", "got"),
    [("off", "on"), ("local", "on"), ("remote_write", "on"), ("on", "on"), ("remote_apply", "remote_apply")],
)
async def test_no_default_weakens_a_commit_of_ours(
    own_server: embedded.Server, own: Connection, asked: str, got: str
) -> None:
    await own.execute(f"ALTER DATABASE earmark SET synchronous_commit = '{asked}'")
    async with await connect_pool(own_server.url, name="ours", size=1) as pool:
        for _ in range(2):  # As it is connected, and as it is handed out again.
            async with pool.acquire() as connection:
                assert await connection.fetchval("SHOW synchronous_commit") == got
    await start(own_server, DISK)


async def test_a_start_ends_with_the_name_of_the_standby_that_is_away(
    own_server: embedded.Server, own: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "STANDBY_SECONDS", SOON)
    await put(own, synchronous_standby_names="FIRST 1 (elsewhere)")
    with pytest.raises(
        CannotStart, match=r"standby that is away.*synchronous_standby_names is 'FIRST 1 \(elsewhere\)'"
    ):
        await start(own_server, NONE)

    async def nobody_waits() -> bool:
        return await own.fetch(WAITS_FOR_STANDBY) == []

    await comes_true(nobody_waits)


async def test_a_connection_whose_wait_was_cancelled_is_not_used(own_server: embedded.Server, own: Connection) -> None:
    """The server says that it has committed, and warns that the standby has not got it."""
    await put(own, synchronous_standby_names="elsewhere")
    opening = asyncio.create_task(connect_pool(own_server.url, name="ours", size=1))
    await own.execute("SELECT pg_cancel_backend($1)", await one_waits(own, AT_THE_BARRIER))
    with pytest.raises(StandbyAway, match="canceling wait for synchronous replication"):
        await opening


async def test_nothing_is_read_that_a_failover_may_undo(pair: Cluster) -> None:
    """A commit waits for a standby that is away, and the primary crashes: then everybody sees what nobody was told."""
    async with connected(pair.primary.url) as plain:
        await plain.execute("CREATE TABLE kept (number int)")
    async with await connect_pool(pair.primary.url, name="ours", size=2) as pool:
        await asyncio.to_thread(pair.lose_standby)
        hanging = asyncio.create_task(write(pair, 1))
        async with connected(pair.primary.url) as plain:
            await one_waits(plain, WAITS_FOR_STANDBY)
            assert await plain.fetch("SELECT number FROM kept") == []
        await asyncio.to_thread(pair.crash_primary)
        with pytest.raises((OSError, asyncpg.PostgresError)):
            await hanging
        await asyncio.to_thread(pair.start_primary)
        async with connected(pair.primary.url) as plain:
            assert await plain.fetchval("SELECT number FROM kept") == 1
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with pooled(pool, wait_seconds=SOON):
                        pytest.fail("it was read")
            reading = [asyncio.create_task(read(pool)) for _ in range(2)]
            await one_waits(plain, AT_THE_BARRIER)
            assert not any(each.done() for each in reading)
            waiting = len(await plain.fetch(AT_THE_BARRIER))
            assert waiting <= 2, "those that were given up still wait at the server"
        await asyncio.to_thread(pair.start_standby)
        assert await asyncio.gather(*reading) == [1, 1]


async def write(pair: Cluster, number: int) -> None:
    async with connected(pair.primary.url) as connection:
        await connection.execute("INSERT INTO kept VALUES ($1)", number)


async def read(pool: "connecting.Pool") -> int | None:
    async with pooled(pool, wait_seconds=SECONDS) as connection:
        number: int | None = await connection.fetchval("SELECT number FROM kept")
        return number


async def test_giving_up_takes_no_longer_where_the_network_says_nothing(
    own_server: embedded.Server, own: Connection
) -> None:
    async with relayed(own_server.url) as proxy:
        pool = await connect_pool(proxy.url, name="ours", size=2)
        async with pool.acquire():
            proxy.at("SELECT set_config('synchronous_commit'", Fate.HOLD_AFTER)
            async with asyncio.timeout(SOON + connecting.RELEASE_SECONDS + 1):
                with pytest.raises(TimeoutError):
                    await pool.acquire(timeout=SOON)
        pool.terminate()


async def test_a_standby_is_no_database_to_serve_from(pair: Cluster) -> None:
    assert pair.standby is not None
    with pytest.raises(NotPrimary, match="takes no writes") as caught:
        await connect_pool(pair.standby.url, name="ours", size=1)
    assert isinstance(caught.value, AWAY)
    with pytest.raises(CannotStart, match="is a standby, which takes no writes; name its primary"):
        await start(pair.standby, NONE)


async def test_a_caller_whose_commit_no_longer_waits_for_the_standby_is_not_told_that_all_is_well(
    pair: Cluster,
) -> None:
    async with connected(pair.primary.url) as plain:
        await migrate(plain)
        with running_allocator(pair.primary.url, durability="standby") as (_, address):
            async with MessageClient(address) as client:
                await offer(client, sensor="1")
                await client.create_organization("o-1", overdraft_limit=100)
                await asyncio.to_thread(pair.lose_standby)
                enabling = asyncio.create_task(
                    client.enable_allocation("o-1", offering="sensor", units=2, request_id="id-1")
                )
                await plain.execute("SELECT pg_cancel_backend($1)", await one_waits(plain, WAITS_FOR_STANDBY))
                with pytest.raises(EarmarkError) as caught:
                    await enabling
                assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN")
                await asyncio.to_thread(pair.start_standby)
                answer = await client.enable_allocation("o-1", offering="sensor", units=2, request_id="id-1")
                assert answer.allocation.units == 2
        assert (await verify(plain)).problems == []
