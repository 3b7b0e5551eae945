"""Watches while the database is away, commits late, holds another history than before, or an entry nobody can read."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2

from earmark.messages import MessageClient
from services.admin import embedded
from services.allocator.server import AllocatorServer
from services.ledger.store.database import Connection
from services.ledger.watching.hub import LOOK_SECONDS
from tests.support.proxy import Fate, Proxy, relayed
from tests.support.watching import (
    ENTRIES_READ,
    PROMISED_SECONDS,
    Watching,
    allocating,
    check_folds,
    check_gapless,
    end_of,
    has_looked,
    make_watched,
    messages_until,
    newest,
    raw_balances_watch,
    raw_watch,
    refusal_of,
    springs,
    token_of,
    watching,
    write,
    written_to,
)
from tests.support.ways import Way

HORIZON = "SELECT least(clock_timestamp()"
COMPARE = "SELECT organization, revision, digest"
SHORT_SECONDS, PATIENT_SECONDS = 3.0, 5.0
"""An outage that watches outlast, and for how long they do."""


@pytest.fixture
async def writer(database: str) -> AsyncIterator[MessageClient]:
    """By way of an allocator of its own, which tells the watched one nothing."""
    async with allocating(database) as server, MessageClient(server.address) as client:
        await make_watched(client, "o-1", "o-2")
        yield client


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[Proxy]:
    async with relayed(database) as proxy:
        yield proxy


@pytest.fixture
async def server(proxy: Proxy) -> AsyncIterator[AllocatorServer]:
    """The one that is watched; it reaches the database through the relay only."""
    async with allocating(proxy.url, watch_heartbeat_seconds=0.5) as server:
        yield server
        proxy.let_go()


@pytest.fixture
async def watch(server: AllocatorServer, writer: MessageClient) -> AsyncIterator[Watching]:
    async with watching(server.address) as watch:
        await watch.begins()
        await watch.reaches(await write(writer, 1))
        yield watch


async def test_a_database_that_is_away_for_a_while(proxy: Proxy, watch: Watching, writer: MessageClient) -> None:
    async with written_to(writer):
        proxy.shut()
        await asyncio.sleep(SHORT_SECONDS)
        await proxy.open()
    await watch.reaches(await write(writer, 1), PROMISED_SECONDS)
    check_folds(watch)
    assert watch.error is None


async def test_who_catches_up_as_the_database_goes(
    proxy: Proxy, server: AllocatorServer, writer: MessageClient
) -> None:
    """It is cut off no sooner than who has nothing to read."""
    last = await write(writer, 20)
    gone = proxy.at(ENTRIES_READ, Fate.CUT_BEFORE, for_good=True, run=True)
    async with watching(server.address, after_revision=0) as watch:
        await springs(gone)
        await asyncio.sleep(1)
        await proxy.open()
        await watch.reaches(last)
        check_gapless(watch, after=0, up_to=last)


async def test_a_database_that_stays_away(
    proxy: Proxy, server: AllocatorServer, watch: Watching, writer: MessageClient
) -> None:
    """Watches end. Then nobody watches, so nobody sees the database come back: that makes nobody impatient later."""
    loop = asyncio.get_running_loop()
    async with grpc.aio.insecure_channel(server.address) as channel:
        balances = raw_balances_watch(channel)
        await messages_until(balances, lambda message: message.caught_up)
        proxy.shut()
        began = loop.time()
        error = await watch.ends()
        assert PATIENT_SECONDS < loop.time() - began < PATIENT_SECONDS + 2
        for each in (error, await end_of(balances), await refusal_of(raw_watch(channel))):
            assert (each.code, each.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
            assert error_details_pb2.RetryInfo in map(type, each.details)
        check_folds(watch)
        last = await write(writer, 3)
        await asyncio.sleep(2 * LOOK_SECONDS)
        await proxy.open()
        lost = proxy.at(HORIZON, Fate.CUT_BEFORE, run=True)
        async with watching(channel, resume_token=watch.token) as resumed:
            await springs(lost)
            await resumed.reaches(last)
            await resumed.reaches(await write(writer, 1))
            check_gapless(resumed, after=watch.revisions[-1], up_to=last + 1)


async def test_a_commit_that_takes_long(
    database: str, proxy: Proxy, watch: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry was written long before it can be seen: whoever asks for the last seconds alone never finds it."""
    Way.ALONE.go(monkeypatch)
    async with relayed(database) as slow, allocating(slow.url) as server, MessageClient(server.address) as writer:
        await write(writer, 1)
        held = slow.at("COMMIT", Fate.HOLD_BEFORE)
        writing = asyncio.create_task(write(writer, 1))
        await springs(held)
        await has_looked(proxy, 6)
        assert not writing.done()
        held.release()
        last = await writing
        await watch.reaches(last, PROMISED_SECONDS)
        check_folds(watch)


async def test_what_comes_while_all_is_compared(proxy: Proxy, server: AllocatorServer, writer: MessageClient) -> None:
    """The comparison is older than what was delivered meanwhile, and no sign of another history."""
    compared = proxy.at(COMPARE, Fate.HOLD_AFTER, run=True)
    async with watching(server.address) as watch:
        await springs(compared)
        last = await write(writer, 2)
        server.hub.hear("o-1", last)
        await watch.reaches(last)
        compared.release()
        await has_looked(proxy, 1)
        await watch.reaches(await write(writer, 1))
        check_folds(watch)


async def test_reading_that_fails_while_looking_does_not(proxy: Proxy, watch: Watching, writer: MessageClient) -> None:
    """Longer than a look reaches back."""
    traps = [proxy.at(ENTRIES_READ, Fate.CUT_BEFORE, run=True) for _ in range(7)]
    last = await write(writer, 1)
    await springs(traps[-1])
    await watch.reaches(last)
    check_folds(watch)


async def test_lies_cost_little(proxy: Proxy, server: AllocatorServer, watch: Watching, writer: MessageClient) -> None:
    """A thousand false notices in a second are a few dozen looks, and what is true arrives between them."""
    before = proxy.count_runs(ENTRIES_READ)
    for number in range(1_000):
        server.hub.hear("o-1", 10**15 + number)
        server.hub.hear(f"nobody-{number}", 1)
        await asyncio.sleep(0.001)
    reads = proxy.count_runs(ENTRIES_READ) - before
    assert 1 <= reads <= 100
    await watch.reaches(await write(writer, 1), PROMISED_SECONDS)
    check_folds(watch)


async def test_an_entry_that_nobody_can_read(
    proxy: Proxy,
    server: AllocatorServer,
    watch: Watching,
    writer: MessageClient,
    connection: Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its watches are told, and all others go on."""
    async with watching(server.address, "o-2") as other:
        await other.begins()
        with caplog.at_level(logging.CRITICAL, "services"):
            await connection.execute(
                """
                INSERT INTO entry SELECT (e).* FROM (
                    SELECT jsonb_populate_record(e, '{"revision": 3, "kind": "OF_A_LATER_RELEASE"}') AS e
                    FROM entry e WHERE organization = 'o-1' AND revision = 2) altered
                """
            )
            server.hub.hear("o-1", 3)
            error = await watch.ends()
        assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        await other.reaches(await write(writer, 1, "o-2"))


async def test_an_altered_entry_beneath_a_watch(watch: Watching, writer: MessageClient, connection: Connection) -> None:
    """What was delivered is no longer what the ledger holds."""
    await connection.execute("ALTER TABLE entry DISABLE TRIGGER entry_is_final")
    last = await newest(connection)
    await connection.execute(
        "UPDATE entry SET digest = sha256(digest) WHERE organization = 'o-1' AND revision = $1", last
    )
    await write(writer, 1)
    error = await watch.ends()
    assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "HISTORY_REPLACED")
    assert error.metadata == {"revision": str(last)}
    check_gapless(watch, after=1, up_to=last)


@pytest.mark.parametrize("written_after", [0, 2, 3], ids=["shorter", "as long", "longer"])
async def test_a_database_that_is_restored_beneath_a_watch(
    postgres: embedded.Server, database: str, proxy: Proxy, server: AllocatorServer, written_after: int
) -> None:
    """To an earlier state, after which others may have gone on writing: another history under the same numbers."""
    async with MessageClient(server.address) as client, grpc.aio.insecure_channel(server.address) as channel:
        await make_watched(client, "o-1", "o-2")
        shared = await write(client, 2)
        await back_up(postgres, database, proxy)
        async with watching(channel, after_revision=0) as watch, watching(channel, "o-2") as other:
            last = await write(client, 2)
            await watch.reaches(last)
            await other.begins()
            async with (
                restored(postgres, database, proxy),
                allocating(database) as direct,
                MessageClient(direct.address) as writer,
            ):
                await write(writer, written_after)
            error = await watch.ends()
            assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "HISTORY_REPLACED")
            assert error.metadata == {"revision": str(last)}
            check_gapless(watch, after=0, up_to=last)
            await other.reaches(await write(client, 1, "o-2"))
        error = await refusal_of(raw_watch(channel, resume_token=watch.token))
        assert error.reason == ("HISTORY_REPLACED" if written_after >= 2 else "REVISION_NOT_REACHED")
        async with watching(channel, resume_token=token_of(watch.entries[shared - 1])) as resumed:
            await resumed.reaches(await write(client, 1))
            check_gapless(resumed, after=shared, up_to=shared + written_after + 1)


async def test_a_database_that_is_gone_while_it_is_restored(
    postgres: embedded.Server, database: str, server: AllocatorServer, writer: MessageClient
) -> None:
    """It is away, and no bug of ours."""
    name = database.rpartition("/")[2]
    connection = await asyncpg.connect(postgres.url)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            for call in (raw_watch(channel), raw_balances_watch(channel)):
                assert (await refusal_of(call)).reason == "DATABASE_UNAVAILABLE"
    finally:
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()


async def back_up(postgres: embedded.Server, database: str, proxy: Proxy) -> None:
    """Nobody may be connected meanwhile, but by way of the relay."""
    name = database.rpartition("/")[2]
    proxy.shut()
    connection = await asyncpg.connect(postgres.url)
    await connection.execute(f"CREATE DATABASE {name}_backup TEMPLATE {name}")
    await connection.close()
    await proxy.open()


@asynccontextmanager
async def restored(postgres: embedded.Server, database: str, proxy: Proxy) -> AsyncIterator[None]:
    """The relay opens again at the end of the block."""
    name = database.rpartition("/")[2]
    proxy.shut()
    connection = await asyncpg.connect(postgres.url)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.execute(f"ALTER DATABASE {name}_backup RENAME TO {name}")
    await connection.close()
    yield
    await proxy.open()
