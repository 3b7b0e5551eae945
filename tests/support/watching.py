"""What tests of watches are told with: who watches and keeps what came, and who writes meanwhile."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

import grpc

from earmark import Enable, Step, names
from earmark.errors import EarmarkError
from earmark.messages import MessageClient
from earmark.v1 import usage_service_pb2 as pb
from earmark.v1.resources_pb2 import Balance, Entry
from earmark.v1.usage_service_pb2_grpc import UsageServiceStub
from services.allocator.server import AllocatorServer
from services.ledger.store.database import Connection, connect_pool
from services.runtime.settings import Settings
from tests.support.books import comes_true
from tests.support.proxy import Proxy, Trap
from tests.support.service_stories import offer

PATIENCE_SECONDS: Final = 20.0
PROMISED_SECONDS: Final = 2.0
"""A revision is late by no more, whatever becomes of the notices."""
ENTRIES_READ: Final = "SELECT e.organization, revision, kind"
"""How the one statement begins that reads entries for watches."""
LOOK: Final = "SELECT organization, max(revision)"
"""How the one begins that finds what no notice told of."""
SENSOR: Final = "endpoint-sensor"
OVERDRAFT: Final = 10**12
MESSAGE_BYTES_MAX: Final = 3 * 2**20

usage_numbers = itertools.count(1)

Message = TypeVar("Message")


class Watching:
    """A watch of one organization that is read all the time, and what it has brought so far."""

    def __init__(self, call: "grpc.aio.UnaryStreamCall[pb.WatchUsageRequest, pb.WatchUsageResponse]") -> None:
        self._call = call
        self._changed = asyncio.Condition()
        self.snapshot: pb.UsageSnapshot | None = None
        self.entries: list[Entry] = []
        self.arrived: dict[int, float] = {}
        """When each revision came, by the monotonic clock."""
        self.heartbeats: list[pb.WatchUsageResponse] = []
        self.messages = 0
        self.token = ""
        self.error: EarmarkError | None = None
        self._task = asyncio.create_task(self._read())

    @property
    def revisions(self) -> list[int]:
        return [each.revision for each in self.entries]

    async def brings(self, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Returns when what has come is enough; raises what ended the watch before."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: condition() or self._task.done() or self.error is not None)
        if not condition():
            raise self.error or AssertionError("the watch has just ended")

    async def begins(self) -> None:
        await self.brings(lambda: self.messages > 0)

    async def reaches(self, revision: int, seconds: float = PATIENCE_SECONDS) -> None:
        await self.brings(lambda: bool(self.entries) and self.entries[-1].revision >= revision, seconds)

    async def is_alive(self) -> None:
        """Returns when something has come once more."""
        before = self.messages
        await self.brings(lambda: self.messages > before)

    async def ends(self, seconds: float = PATIENCE_SECONDS) -> EarmarkError:
        async with asyncio.timeout(seconds):
            await asyncio.wait([self._task])
        assert self.error is not None
        return self.error

    async def close(self) -> None:
        self._call.cancel()
        await asyncio.wait([self._task])

    async def _read(self) -> None:
        try:
            while (message := await self._call.read()) is not grpc.aio.EOF:
                assert isinstance(message, pb.WatchUsageResponse)
                self._take(message)
                async with self._changed:
                    self._changed.notify_all()
        except grpc.aio.AioRpcError as error:
            self.error = EarmarkError.from_rpc(error)
        except asyncio.CancelledError:  # So it ends when it is closed here.
            pass
        finally:
            async with self._changed:
                self._changed.notify_all()

    def _take(self, message: pb.WatchUsageResponse) -> None:
        self.messages += 1
        self.token = message.resume_token
        for entry in message.entries.entries:
            self.arrived[entry.revision] = time.monotonic()
            self.entries.append(entry)
        if message.HasField("snapshot"):
            self.snapshot = message.snapshot
            assert message.revision == message.snapshot.balance.revision
        if message.HasField("heartbeat"):
            self.heartbeats.append(message)
        if message.HasField("entries"):
            newest = message.entries.entries[-1]
            assert (message.revision, message.resume_token) == (newest.revision, token_of(newest))
            assert message.ByteSize() <= MESSAGE_BYTES_MAX


def token_of(entry: Entry) -> str:
    return f"{entry.revision}:{entry.digest.hex()}"


@asynccontextmanager
async def watching(where: str | grpc.aio.Channel, organization: str = "o-1", **start: Any) -> AsyncIterator[Watching]:
    """A watch while the block runs, over a channel of its own where an address is given; `start` as on the wire."""
    if isinstance(where, str):
        async with own_channel(where) as channel, watching(channel, organization, **start) as watch:
            yield watch
        return
    watch = Watching(raw_watch(where, organization, **start))
    try:
        yield watch
    finally:
        await watch.close()


def raw_watch(
    channel: grpc.aio.Channel, organization: str = "o-1", **start: Any
) -> "grpc.aio.UnaryStreamCall[pb.WatchUsageRequest, pb.WatchUsageResponse]":
    """One that nobody reads yet."""
    stub: Any = UsageServiceStub(channel)
    call: grpc.aio.UnaryStreamCall[pb.WatchUsageRequest, pb.WatchUsageResponse] = stub.WatchUsage(
        pb.WatchUsageRequest(name=names.organization(organization), **start)
    )
    return call


def raw_balances_watch(
    channel: grpc.aio.Channel, *organizations: str
) -> "grpc.aio.UnaryStreamCall[pb.WatchBalancesRequest, pb.WatchBalancesResponse]":
    stub: Any = UsageServiceStub(channel)
    call: grpc.aio.UnaryStreamCall[pb.WatchBalancesRequest, pb.WatchBalancesResponse] = stub.WatchBalances(
        pb.WatchBalancesRequest(names=[names.organization(each) for each in organizations])
    )
    return call


@asynccontextmanager
async def own_channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """Shares its connection with no other."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield channel


async def refusal_of(call: "grpc.aio.UnaryStreamCall[Any, Any]") -> EarmarkError:
    """What a watch is refused with at once."""
    try:
        message = await call.read()
    except grpc.aio.AioRpcError as error:
        return EarmarkError.from_rpc(error)
    raise AssertionError(f"it was not refused: {message}")


async def messages_until(
    call: "grpc.aio.UnaryStreamCall[Any, Message]", condition: Callable[[Message], bool]
) -> list[Message]:
    """The next messages, up to and with the first that the condition holds for."""
    messages: list[Message] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not messages or not condition(messages[-1]):
            message = await call.read()
            assert message is not grpc.aio.EOF
            messages.append(cast(Message, message))
    return messages


async def end_of(call: "grpc.aio.UnaryStreamCall[Any, Any]") -> EarmarkError:
    """What ends a watch, whatever it brings before."""
    try:
        await messages_until(call, lambda _: False)
    except grpc.aio.AioRpcError as error:
        return EarmarkError.from_rpc(error)
    raise AssertionError


async def read_up_to(
    call: "grpc.aio.UnaryStreamCall[Any, pb.WatchUsageResponse]",
    after: int,
    last: int,
    at_each: Callable[[], None] = lambda: None,
) -> int:
    """The bytes of all messages from the revision on to the last one, each of which came once and in order."""
    size = 0
    while after < last:
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = await call.read()
        assert isinstance(message, pb.WatchUsageResponse)
        assert message.ByteSize() <= MESSAGE_BYTES_MAX
        for entry in message.entries.entries:
            assert entry.revision == after + 1
            after = entry.revision
        assert message.revision == after
        size += message.ByteSize()
        at_each()
    return size


def check_gapless(watch: Watching, *, after: int, up_to: int | None = None) -> None:
    """Each revision came once and in order, none was left out."""
    last = up_to or after + len(watch.entries)
    assert watch.revisions == list(range(after + 1, last + 1))


def check_folds(watch: Watching) -> None:
    """What follows the snapshot takes up where it ends, and adds up."""
    assert watch.snapshot is not None
    balance = watch.snapshot.balance
    for entry in watch.entries:
        assert entry.revision == balance.revision + 1
        assert figures_after(balance, entry) == _figures(entry.balance)
        balance = entry.balance


def figures_after(balance: Balance, entry: Entry) -> tuple[int, ...]:
    deltas = (entry.valid_delta, entry.grace_delta, entry.allocated_delta, entry.suspended_delta)
    return tuple(figure + delta for figure, delta in zip(_figures(balance), deltas, strict=True))


def _figures(balance: Balance) -> tuple[int, ...]:
    return (balance.valid_credits, balance.grace_credits, balance.allocated_credits, balance.suspended_credits)


@asynccontextmanager
async def allocating(database: str, **settings: Any) -> AsyncIterator[AllocatorServer]:
    """An allocator in this process, with a pool and settings of its own, that hears no notices."""
    async with await connect_pool(database, name="watched", size=8) as pool:
        server = AllocatorServer(Settings(database_url=database, listen_address="127.0.0.1:0", **settings), pool)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


async def make_watched(client: MessageClient, *organizations: str) -> None:
    """Organizations that may hold sensors as many as they like; each is at revision 1."""
    await offer(client, endpoint_sensor="1")
    for each in organizations or ("o-1",):
        await client.create_organization(each, overdraft_limit=OVERDRAFT)


async def has_looked(proxy: Proxy, times: int) -> None:
    """Returns when an allocator behind the relay has asked so many times more what changed."""
    before = proxy.count_runs(LOOK)

    async def often_enough() -> bool:
        return proxy.count_runs(LOOK) >= before + times

    await comes_true(often_enough)


async def springs(trap: Trap) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await trap.sprung.wait()


async def write(client: MessageClient, count: int, organization: str = "o-1") -> int:
    """So many commits, one after the other, each of one entry; returns the newest revision."""
    revision = 0
    for _ in range(count):
        units = next(usage_numbers)
        answer = await client.enable_allocation(organization, offering=SENSOR, units=units)
        revision = answer.balance.revision
    return revision


async def write_much(client: MessageClient, count: int, organization: str = "o-1") -> int:
    """One commit of so many of the largest entries that allocations have; returns the newest revision."""
    labels = {f"{number:02}".ljust(63, "k"): "v" * 63 for number in range(16)}
    units = next(usage_numbers)
    operations: list[Step] = [
        Enable(offering=SENSOR, units=units, allocation=f"{number:0128}", labels=labels) for number in range(count)
    ]
    answer = await client.apply_operations(organization, operations, request_id=f"{units:0128}")
    return answer.balance.revision


async def multiply(connection: Connection, count: int, organization: str = "o-1") -> int:
    """So many more entries like the newest, but heavier, written at once and past every rule; returns the newest."""
    before = await newest(connection, organization)
    await connection.execute(
        """
        WITH added AS (
            INSERT INTO entry (organization, revision, kind, resource, effective_time, recorded_time, actor, request_id,
                causes, cause_count, after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta,
                valid_credits, grace_credits, allocated_credits, suspended_credits, overdraft_limit,
                overdraft_unlimited, last, digest)
            SELECT organization, revision + number, kind, resource, effective_time, recorded_time,
                repeat(chr(127744), 256), request_id, array_fill(repeat('c', 300), ARRAY[5]), 5, after, detail,
                valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits, grace_credits,
                allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last,
                sha256(int8send(revision + number))
            FROM entry CROSS JOIN generate_series(1, $3) number WHERE organization = $1 AND revision = $2)
        UPDATE organization SET revision = $2 + $3, digest = sha256(int8send($2 + $3)) WHERE organization = $1
        """,
        organization,
        before,
        count,
    )
    return before + count


@asynccontextmanager
async def written_to(client: MessageClient, organization: str = "o-1") -> AsyncIterator[None]:
    """Somebody writes all the time while the block runs."""
    stop = asyncio.Event()

    async def work() -> None:
        while not stop.is_set():
            await write(client, 1, organization)

    working = asyncio.create_task(work())
    try:
        yield
    finally:
        stop.set()
        await working


async def newest(connection: Connection, organization: str = "o-1") -> int:
    found: int = await connection.fetchval("SELECT revision FROM organization WHERE organization = $1", organization)
    return found
