"""WatchBalances: all of them first, then the newest of each that changes, and never an older one after it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

import grpc
import pytest

from earmark import names
from earmark.messages import MessageClient
from earmark.v1.usage_service_pb2 import WatchBalancesResponse
from services.allocator.server import AllocatorServer
from services.ledger.store.database import Connection
from services.ledger.watching import board
from tests.support.proxy import Fate, Proxy, relayed
from tests.support.watching import (
    allocating,
    has_looked,
    make_watched,
    messages_until,
    raw_balances_watch,
    refusal_of,
    springs,
    write,
)

BALANCES_READ = "SELECT organization, display_name"
"""How the statements begin that read balances for watches."""
MANY = 2_500


@pytest.fixture
async def writer(database: str) -> AsyncIterator[MessageClient]:
    """By way of an allocator of its own, which tells the watched one nothing."""
    async with allocating(database) as server, MessageClient(server.address) as client:
        await make_watched(client, "o-1", "o-2", "o-3")
        yield client


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[Proxy]:
    async with relayed(database) as proxy:
        yield proxy


@pytest.fixture
async def server(proxy: Proxy, writer: MessageClient) -> AsyncIterator[AllocatorServer]:
    """The one that is watched; it reaches the database through the relay only."""
    async with allocating(proxy.url, watch_heartbeat_seconds=0.3) as server:
        yield server
        proxy.let_go()


@pytest.fixture
async def channel(server: AllocatorServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel


async def crowd(connection: Connection) -> list[str]:
    """Many more organizations like o-1; returns the ids of all."""
    await connection.execute(
        """
        INSERT INTO organization (organization, display_name, valid_credits, grace_credits, allocated_credits,
            suspended_credits, overdraft_limit, overdraft_unlimited, revision, digest, settled_time,
            next_transition_time, threshold_percent, open_allocations, changed_revision, create_time, update_time,
            usage_revision)
        SELECT 'p-' || lpad(number::text, 4, '0'), display_name, valid_credits, grace_credits, allocated_credits,
            suspended_credits, overdraft_limit, overdraft_unlimited, revision, digest, settled_time,
            next_transition_time, threshold_percent, open_allocations, changed_revision, create_time, update_time,
            usage_revision
        FROM organization CROSS JOIN generate_series(1, $1) number WHERE organization = 'o-1'
        """,
        MANY,
    )
    return ["o-1", "o-2", "o-3", *(f"p-{number:04}" for number in range(1, MANY + 1))]


def shown(messages: Iterable[WatchBalancesResponse]) -> list[tuple[str, int]]:
    """Each balance as (organization, revision), in order."""
    return [
        (names.id_of(balance.organization), balance.revision) for message in messages for balance in message.balances
    ]


def check_order(messages: Sequence[WatchBalancesResponse]) -> None:
    """No older balance of an organization comes after a newer one."""
    latest: dict[str, int] = {}
    for organization, revision in shown(messages):
        assert revision >= latest.get(organization, 0)
        latest[organization] = revision


def caught_up(message: WatchBalancesResponse) -> bool:
    return message.caught_up


async def test_all_of_them_and_then_what_changes(
    connection: Connection, writer: MessageClient, channel: grpc.aio.Channel
) -> None:
    everybody = await crowd(connection)
    watch = raw_balances_watch(channel)
    pages = await messages_until(watch, caught_up)
    assert [len(page.balances) for page in pages] == [1_000, 1_000, 503]
    assert shown(pages) == [(each, 1) for each in everybody]
    last = await write(writer, 3, "o-2")
    messages = await messages_until(watch, lambda message: ("o-2", last) in shown([message]))
    check_order([*pages, *messages])
    [balance] = [each for each in messages[-1].balances if each.revision == last]
    expected = (await writer.get_organization("o-2")).balance
    assert balance.as_of.ToDatetime() <= expected.as_of.ToDatetime()
    balance.as_of.CopyFrom(expected.as_of)
    assert balance == expected
    await writer.create_organization("a-new-one")
    messages += await messages_until(watch, lambda message: ("a-new-one", 1) in shown([message]))
    assert {name for name, _ in shown(messages)} <= {"o-1", "o-2", "o-3", "a-new-one"}, "what changed lately, at most"
    assert len(shown(messages)) <= 3 + 3 + 1
    watch.cancel()


async def test_named_ones_alone(writer: MessageClient, channel: grpc.aio.Channel) -> None:
    watch = raw_balances_watch(channel, "o-3", "o-1", "o-3")
    [first] = await messages_until(watch, caught_up)
    assert shown([first]) == [("o-1", 1), ("o-3", 1)]
    await writer.create_organization("o-4")
    await write(writer, 1, "o-2")
    last = await write(writer, 1, "o-3")
    messages = await messages_until(watch, lambda message: ("o-3", last) in shown([message]))
    assert {name for name, _ in shown(messages)} <= {"o-1", "o-3"}
    watch.cancel()


async def test_refused_balances(channel: grpc.aio.Channel) -> None:
    error = await refusal_of(raw_balances_watch(channel, "o-1", "o-9", "o-8"))
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "ORGANIZATION_NOT_FOUND")
    assert "organizations/o-8" in error.message
    for organizations, field in (
        (["o-1", "_"], "names[1]"),
        (["o-1", "-"], "names"),
        ([f"o-{number}" for number in range(1_001)], "names"),
    ):
        error = await refusal_of(raw_balances_watch(channel, *organizations))
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert [each.field for each in error.details[1].field_violations] == [field]
    for everything in ([], ["-"]):
        watch = raw_balances_watch(channel, *everything)
        assert len(shown(await messages_until(watch, caught_up))) == 3
        watch.cancel()


async def test_heartbeats_of_balances(channel: grpc.aio.Channel) -> None:
    watch = raw_balances_watch(channel)
    for _ in range(3):
        [*_, heartbeat] = await messages_until(watch, lambda message: not message.balances)
        assert heartbeat == WatchBalancesResponse(caught_up=True)
    watch.cancel()


async def test_a_flood_of_lies_shows_nothing(server: AllocatorServer, writer: MessageClient, proxy: Proxy) -> None:
    """It costs a few dozen looks, and nobody is sent the same again and again."""
    async with server.hub.board.watcher(None) as watcher:
        await server.hub.board.next(watcher, 20)
        last = await write(writer, 1)
        while (await server.hub.board.next(watcher, 20))[0] == []:
            pass
        before = proxy.count_runs(BALANCES_READ)
        for number in range(1_000):
            server.hub.hear("o-1", 10**15 + number)
            await asyncio.sleep(0.0005)
        assert proxy.count_runs(BALANCES_READ) - before < 100
        assert await server.hub.board.next(watcher, 0.1) == ([], True)
        following = await write(writer, 1)
        assert following == last + 1
        found = [(each.organization, each.revision) for each in (await server.hub.board.next(watcher, 20))[0]]
        assert found == [("o-1", following)]


async def test_a_slow_watcher_gets_the_newest_alone(server: AllocatorServer, writer: MessageClient) -> None:
    """However many there were since it read last."""
    hub = server.hub
    async with hub.board.watcher(None) as slow, hub.board.watcher(frozenset(["o-2"])) as quick:
        for each in (slow, quick):
            await hub.board.next(each, 20)
        last = 1
        for _ in range(10):
            await write(writer, 1, "o-1")
            last = await write(writer, 1, "o-2")
            hub.hear("o-1", last)
            hub.hear("o-2", last)
            while ("o-2", last) not in [
                (each.organization, each.revision) for each in (await hub.board.next(quick, 20))[0]
            ]:
                pass
        found, all_of_it = await hub.board.next(slow, 20)
        assert {("o-1", last), ("o-2", last)} <= {(each.organization, each.revision) for each in found}
        assert len(found) <= 3
        assert all_of_it


async def test_what_changes_during_the_first_reading(
    connection: Connection, server: AllocatorServer, writer: MessageClient, proxy: Proxy, channel: grpc.aio.Channel
) -> None:
    """It is neither lost, nor overtaken by what was read before it."""
    everybody = await crowd(connection)
    held = proxy.at(BALANCES_READ, Fate.HOLD_AFTER, run=True)
    watch = raw_balances_watch(channel)
    await springs(held)
    newest = {"o-1": await write(writer, 1, "o-1")}
    server.hub.hear("o-1", newest["o-1"])
    await has_looked(proxy, 1)
    held.release()
    messages = await messages_until(watch, lambda message: bool(message.balances))
    for each in ("o-2", "p-0999", "p-2400"):
        newest[each] = await write(writer, 1, each) if each == "o-2" else await rewrite(connection, each)
        server.hub.hear(each, newest[each])
    while dict(shown(messages)) != {**dict.fromkeys(everybody, 1), **newest}:
        messages += await messages_until(watch, lambda message: bool(message.balances))
    check_order(messages)
    assert len(shown(messages)) <= len(everybody) + len(newest) + 3, "and what changed just before"
    watch.cancel()


async def rewrite(connection: Connection, organization: str) -> int:
    """A new revision of one of the crowd."""
    revision: int = await connection.fetchval(
        "UPDATE organization SET revision = revision + 1 WHERE organization = $1 RETURNING revision", organization
    )
    return revision


async def test_nobody_knows_what_changed_while_all_are_read(
    connection: Connection, server: AllocatorServer, proxy: Proxy
) -> None:
    """What is then to be read anew is not taken for read because an older page comes in."""
    await crowd(connection)
    hub = server.hub
    async with hub.board.watcher(None) as watcher:
        held = proxy.at(BALANCES_READ, Fate.HOLD_AFTER, run=True)
        reading = asyncio.create_task(hub.board.next(watcher, 20))
        await springs(held)
        last = await rewrite(connection, "o-1")
        hub.board.compare_all()
        held.release()
        old_page, _ = await reading
        assert (old_page[0].organization, old_page[0].revision) == ("o-1", 1)
        new_page, _ = await hub.board.next(watcher, 20)
        assert (new_page[0].organization, new_page[0].revision) == ("o-1", last)


async def test_more_changes_than_are_kept(
    connection: Connection, server: AllocatorServer, writer: MessageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then all are read anew, of whom and to whom it may be: nothing is lost."""
    monkeypatch.setattr(board, "PENDING_MAX", 2)
    hub = server.hub
    async with hub.board.watcher(None) as slow, hub.board.watcher(frozenset(["o-1", "o-2", "o-3"])) as named:
        for each in (slow, named):
            await hub.board.next(each, 20)
        newest = {}
        for organization in ("o-1", "o-2", "o-3"):
            newest[organization] = await write(writer, 2, organization)
            hub.hear(organization, newest[organization])
        for each in (slow, named):
            assert len(each.pending) <= 2
            found: dict[str, int] = {}
            while found != newest:
                page, _ = await hub.board.next(each, 20)
                for balance in page:
                    assert balance.revision >= found.get(balance.organization, 0)
                    found[balance.organization] = balance.revision
