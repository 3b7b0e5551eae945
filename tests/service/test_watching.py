"""WatchUsage over gRPC: how a watch begins, what comes, how it is resumed, and how it is refused."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2

from earmark import EarmarkError
from earmark.messages import MessageClient
from services.ledger.store.database import Connection
from tests.conftest import Advance
from tests.support.books import comes_true
from tests.support.proxy import Fate, relayed
from tests.support.service_stories import buy, instant
from tests.support.watching import (
    ENTRIES_READ,
    SENSOR,
    allocating,
    check_folds,
    check_gapless,
    make_watched,
    newest,
    raw_watch,
    refusal_of,
    springs,
    token_of,
    watching,
    write,
    written_to,
)

pytestmark = pytest.mark.usefixtures("watched")


@pytest.fixture
async def watched(client: MessageClient) -> None:
    await make_watched(client, "o-1")


async def test_a_snapshot_and_then_every_entry(client: MessageClient, channel: grpc.aio.Channel) -> None:
    await buy(client, "o-1", 500, subscription="s-1")
    await client.enable_allocation("o-1", offering=SENSOR, units=7)
    async with watching(channel) as watch:
        await watch.begins()
        assert watch.snapshot is not None
        usage = await client.get_usage("o-1")
        assert watch.snapshot.offerings == usage.offerings
        shown, balance = watch.snapshot.balance, usage.balance
        assert shown.as_of.ToDatetime() <= balance.as_of.ToDatetime()
        shown.as_of.CopyFrom(balance.as_of)
        assert shown == balance
        await client.disable_allocation("o-1", SENSOR)
        await watch.reaches(balance.revision + 1)
        check_folds(watch)
    assert [each async for each in client.list_entries("o-1", after_revision=balance.revision)] == watch.entries


async def test_watches_that_begin_while_others_write(client: MessageClient, channel: grpc.aio.Channel) -> None:
    """Whenever one begins: nothing between its snapshot and its first entry is left out or comes again."""
    async with written_to(client), written_to(client), asyncio.TaskGroup() as group:

        async def one(number: int) -> int:
            async with watching(channel) as watch:
                await watch.begins()
                await watch.brings(lambda: len(watch.entries) >= 10)
                check_folds(watch)
                assert watch.snapshot is not None
                return watch.snapshot.balance.revision

        began = []
        for number in range(40):
            began.append(group.create_task(one(number)))
            await write(client, 1)
    assert len({each.result() for each in began}) > 20, "they began at different revisions"


async def test_where_a_watch_begins(client: MessageClient, channel: grpc.aio.Channel) -> None:
    last = await write(client, 5)
    ledger = [each async for each in client.list_entries("o-1")]
    beginning = "0:" + "00" * 32
    for start, after in (
        ({"after_revision": 0}, 0),
        ({"after_revision": 3}, 3),
        ({"after_revision": last}, last),
        ({"resume_token": beginning}, 0),
        ({"resume_token": token_of(ledger[3])}, 4),
        ({"resume_token": token_of(ledger[-1])}, last),
    ):
        async with watching(channel, **start) as watch:
            if after < last:
                await watch.reaches(last)
            revision = await write(client, 1)
            await watch.reaches(revision)
            assert watch.snapshot is None
            check_gapless(watch, after=after, up_to=revision)
            last = revision


async def test_a_start_that_does_not_exist(client: MessageClient, channel: grpc.aio.Channel) -> None:
    last = await write(client, 2)
    [*_, newest_entry] = [each async for each in client.list_entries("o-1")]
    for ahead in ({"after_revision": last + 1}, {"resume_token": f"{last + 1}:{'ab' * 32}"}):
        error = await refusal_of(raw_watch(channel, **ahead))
        assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_NOT_REACHED")
        assert error.metadata == {"revision": str(last + 1), "newestRevision": str(last)}
    revision, _, digest = token_of(newest_entry).partition(":")
    altered = ("0" if digest[0] != "0" else "1") + digest[1:]
    for token in (f"{revision}:{altered}", "0:" + "ab" * 32, f"1:{digest}"):
        error = await refusal_of(raw_watch(channel, resume_token=token))
        assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "HISTORY_REPLACED")
        assert error.metadata == {"revision": token.partition(":")[0]}
    error = await refusal_of(raw_watch(channel, "o-9"))
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "ORGANIZATION_NOT_FOUND")


MALFORMED_TOKENS = (
    "",
    "7",
    "1:",
    "1:" + "a" * 63,
    "1:" + "a" * 65,
    "1:" + "A" * 64,
    "1:" + "g" * 64,
    "01:" + "a" * 64,
    "-1:" + "a" * 64,
    "+1:" + "a" * 64,
    " 1:" + "a" * 64,
    "1:" + "a" * 64 + "\n",
    "\u0661:" + "a" * 64,
    "9" * 20 + ":" + "a" * 64,
    "x" * 10_000,
)


async def test_malformed_tokens(channel: grpc.aio.Channel) -> None:
    for token in MALFORMED_TOKENS:
        error = await refusal_of(raw_watch(channel, resume_token=token))
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"), token
        [violation] = error.details[1].field_violations
        assert violation.field == "resume_token"


async def test_other_malformed_starts(channel: grpc.aio.Channel) -> None:
    error = await refusal_of(raw_watch(channel, after_revision=-1))
    assert [each.field for each in error.details[1].field_violations] == ["after_revision"]
    error = await refusal_of(raw_watch(channel, "_", after_revision=-1))
    assert [each.field for each in error.details[1].field_violations] == ["name", "after_revision"]
    error = await refusal_of(raw_watch(channel, resume_token=f"{'9' * 19}:{'a' * 64}"))
    assert error.reason == "REVISION_NOT_REACHED", "well-formed, and beyond every revision"


async def test_two_allocators_show_one_history(database: str, client: MessageClient, channel: grpc.aio.Channel) -> None:
    """Clients write through both, and watches on both see it all; a token of one is good at the other."""
    async with allocating(database) as other, MessageClient(other.address) as other_client:
        async with watching(channel) as here, watching(other.address) as there:
            await here.begins()
            await there.begins()
            last = max(await asyncio.gather(*(write(each, 40) for each in (client, other_client))))
            for watch in (here, there):
                await watch.reaches(last)
                check_folds(watch)
                check_gapless(watch, after=1, up_to=last)
            assert here.entries == there.entries
            assert here.token == there.token
        for token in (token_of(here.entries[20]), token_of(here.entries[-1])):
            async with watching(other.address, resume_token=token) as resumed:
                newer = await write(client, 1)
                await resumed.reaches(newer)
                check_gapless(resumed, after=int(token.partition(":")[0]), up_to=newer)


async def test_what_time_brings(client: MessageClient, channel: grpc.aio.Channel, advance: Advance) -> None:
    """A snapshot is settled; what is settled later, by whomever, arrives with the instant at which it took effect."""
    bought = await buy(client, "o-1", 100, subscription="s-1", lasting=timedelta(days=10), grace=timedelta(days=5))
    end = instant(bought.subscription.end_time)
    await advance(timedelta(days=11))
    async with watching(channel) as watch:
        await watch.begins()
        assert watch.snapshot is not None
        balance = watch.snapshot.balance
        assert (balance.valid_credits, balance.grace_credits) == (0, 100)
        await advance(timedelta(days=5))
        await client.get_organization("o-1")
        await watch.reaches(balance.revision + 1)
        expired = watch.entries[-1]
        assert expired.Kind.Name(expired.kind) == "SUBSCRIPTION_EXPIRED"
        assert instant(expired.effective_time) == end + timedelta(days=5)
        assert instant(expired.recorded_time) >= end + timedelta(days=6)
        check_folds(watch)


async def test_heartbeats(database: str, client: MessageClient, channel: grpc.aio.Channel) -> None:
    """They come when nothing else does, and say how far the watch is."""
    async with allocating(database, watch_heartbeat_seconds=0.1) as quick, watching(quick.address) as watch:
        await watch.brings(lambda: len(watch.heartbeats) >= 2)
        assert watch.snapshot is not None
        assert {each.revision for each in watch.heartbeats} == {watch.snapshot.balance.revision}
        last = await write(client, 1)
        await watch.reaches(last)
        await watch.brings(lambda: watch.heartbeats[-1].revision == last)
        token = watch.heartbeats[-1].resume_token
        assert token == token_of(watch.entries[-1])
    async with watching(channel, resume_token=token) as resumed:
        following = await write(client, 1)
        await resumed.reaches(following)
        check_gapless(resumed, after=last, up_to=following)


async def test_no_heartbeat_while_entries_come(database: str) -> None:
    loop = asyncio.get_running_loop()
    async with (
        allocating(database, watch_heartbeat_seconds=0.5) as slow,
        MessageClient(slow.address) as writer,
        watching(slow.address) as watch,
        written_to(writer),
    ):
        await watch.begins()
        began = loop.time()
        await watch.brings(lambda: loop.time() - began > 1.5)
        assert len(watch.entries) > 10
        assert watch.heartbeats == []


async def test_more_watches_than_there_may_be(database: str) -> None:
    async with (
        allocating(database, watches_max=2) as full,
        grpc.aio.insecure_channel(full.address) as channel,
        watching(channel) as one,
        watching(channel) as two,
    ):
        await one.begins()
        await two.begins()
        error = await refusal_of(raw_watch(channel))
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "TOO_MANY_WAITING")
        assert error_details_pb2.RetryInfo in map(type, error.details)
        await one.close()
        await comes_true(lambda: begins_at(channel))


async def begins_at(channel: grpc.aio.Channel) -> bool:
    """Whether there is room for one more watch: the place of one that was given up is free a moment later."""
    async with watching(channel) as watch:
        try:
            await watch.begins()
        except EarmarkError:
            return False
    return True


async def test_a_hundred_watches_cost_one_reader(database: str, connection: Connection) -> None:
    """Each commit is read once, not once for each watch: what Postgres is told to run is counted."""
    watches, commits = 100, 30
    async with relayed(database) as proxy, allocating(proxy.url) as server, MessageClient(server.address) as writer:
        async with grpc.aio.insecure_channel(server.address) as channel, asyncio.TaskGroup() as group:
            barrier = asyncio.Barrier(watches + 1)
            began = await newest(connection)

            async def one() -> None:
                async with watching(channel) as watch:
                    await watch.begins()
                    await barrier.wait()
                    await watch.reaches(began + commits)
                    check_gapless(watch, after=began, up_to=began + commits)

            for _ in range(watches):
                group.create_task(one())
            await barrier.wait()
            before = proxy.count_runs(ENTRIES_READ)
            await write(writer, commits)
        assert 1 <= proxy.count_runs(ENTRIES_READ) - before <= commits + 2


async def test_who_has_caught_up_reads_no_more_alone(database: str, client: MessageClient) -> None:
    """It reads up to where the others are, though there is more by then, and from there on with them."""
    async with relayed(database) as proxy, allocating(proxy.url) as server, AsyncExitStack() as stack:
        first = await stack.enter_async_context(watching(server.address))
        last = await write(client, 5)
        server.hub.hear("o-1", last)
        await first.reaches(last)
        held = proxy.at(ENTRIES_READ, Fate.HOLD_BEFORE, run=True)
        server.hub.hear("o-1", await write(client, 1))
        await springs(held)
        late = await stack.enter_async_context(watching(server.address, after_revision=0))
        await late.reaches(last)
        newer = await write(client, 1)
        before = proxy.count_runs(ENTRIES_READ)
        held.release()
        for each in (first, late):
            await each.reaches(newer)
        check_gapless(late, after=0, up_to=newer)
        assert proxy.count_runs(ENTRIES_READ) == before + 1, "both got it from one reading"
