"""What gRPC itself has a say in: bytes, sizes, bursts, deadlines, cancelling, and who is calling."""

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import Awaitable
from contextlib import AsyncExitStack

import grpc
import pytest
from google.rpc import error_details_pb2

from earmark import EarmarkError
from earmark.messages import MessageClient
from earmark.v1 import (
    allocation_service_pb2,
    catalog_service_pb2,
    organization_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
)
from services.allocator.server import AllocatorServer
from services.ledger.store.database import Connection, Pool
from services.runtime.settings import Settings
from tests.support.http2 import call_by_hand
from tests.support.processes import running_allocator
from tests.support.service_stories import kinds, refused, serving, waits_for_the_lock

Raw = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]

METHODS = [
    f"/{service.full_name}/{method.name}"
    for module in (
        allocation_service_pb2,
        catalog_service_pb2,
        organization_service_pb2,
        subscription_service_pb2,
        usage_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
GET_ORGANIZATION = "/earmark.v1.OrganizationService/GetOrganization"
BURST_CALLS = 3_000
BURST_CHANNELS = 6


async def ends_with(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def code_of(call: Awaitable[object]) -> grpc.StatusCode:
    return (await ends_with(call)).code()


def test_all_methods_are_known() -> None:
    assert len(METHODS) == 9 + 4 + 4 + 5 + 7


@pytest.mark.parametrize("garbage", [b"\xff\xff", b"\x0a\x7f"], ids=["no tag", "cut off"])
async def test_bytes_that_are_no_message(channel: grpc.aio.Channel, garbage: bytes) -> None:
    for method in METHODS:
        raw: Raw = channel.unary_unary(method)
        error = EarmarkError.from_rpc(await ends_with(raw(garbage)))
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE"), method
        assert isinstance(error.details[1], error_details_pb2.BadRequest)
        assert method in error.message


async def test_text_that_is_no_utf_8(channel: grpc.aio.Channel) -> None:
    raw: Raw = channel.unary_unary(GET_ORGANIZATION)
    assert EarmarkError.from_rpc(await ends_with(raw(b"\x0a\x02\xc3\x28"))).reason == "MALFORMED_MESSAGE"


async def test_fields_of_a_later_release_are_passed_over(channel: grpc.aio.Channel, organization: str) -> None:
    raw: Raw = channel.unary_unary(GET_ORGANIZATION)
    unknown_field = b"\xfa\x7f\x03new"
    assert b"organizations/o-1" in await raw(b"\x0a\x11organizations/o-1" + unknown_field)


async def test_what_is_too_large(channel: grpc.aio.Channel, client: MessageClient, organization: str) -> None:
    raw: Raw = channel.unary_unary(GET_ORGANIZATION)
    assert await code_of(raw(b"\x0a" + b"x" * (4 * 2**20))) is grpc.StatusCode.RESOURCE_EXHAUSTED
    metadata = (("padding", "x" * 2**15),)
    name = b"\x0a\x11organizations/o-1"
    assert await code_of(raw(name, metadata=metadata)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await raw(name)
    error = await refused(client.update_organization(organization, display_name="x" * 2**20), "INVALID_FIELD")
    assert "1048576" in error.message


async def test_a_method_that_is_not_there(channel: grpc.aio.Channel) -> None:
    for method in ("/earmark.v1.AllocationService/NoSuch", "/earmark.v9.AllocationService/EnableAllocation"):
        raw: Raw = channel.unary_unary(method)
        assert await code_of(raw(b"")) is grpc.StatusCode.UNIMPLEMENTED


async def test_a_burst_is_served(database: str, sound: None) -> None:
    """Thousands at once, over several connections: reads and changes, all of them answered by us.

    The process is held while they are sent, or it would begin to answer before the last of them arrives.
    """
    codes: Counter[str] = Counter()

    async def call(channel: grpc.aio.Channel, number: int) -> None:
        read: Raw = channel.unary_unary(GET_ORGANIZATION)
        change: Raw = channel.unary_unary("/earmark.v1.OrganizationService/UpdateOrganization")
        request = organization_service_pb2.UpdateOrganizationRequest(force=True)
        request.organization.name = "organizations/o-1"
        request.organization.display_name = str(number)
        try:
            await (change(request.SerializeToString()) if number % 2 else read(b"\x0a\x11organizations/o-1"))
            codes["OK"] += 1
        except grpc.aio.AioRpcError as error:
            codes[error.code().name] += 1

    async with AsyncExitStack() as stack:
        process, address = stack.enter_context(running_allocator(database))
        client = await stack.enter_async_context(MessageClient(address))
        await client.create_organization("o-1", overdraft_unlimited=True)
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, options)) for _ in range(BURST_CHANNELS)
        ]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        process.send_signal(signal.SIGSTOP)
        calls = zip(itertools.cycle(channels), range(BURST_CALLS))
        burst = [asyncio.create_task(call(*each)) for each in calls]
        done, _ = await asyncio.wait(burst, timeout=0.1)
        process.send_signal(signal.SIGCONT)
        assert not done
        await asyncio.gather(*burst)
    assert codes == {"OK": BURST_CALLS}


async def test_more_calls_than_there_is_room_for(pool: Pool, connection: Connection) -> None:
    narrow = Settings(listen_address="127.0.0.1:0", calls_max=2)
    async with serving(narrow, pool) as address, MessageClient(address) as client:
        await client.create_organization("o-1")
        async with connection.transaction():
            await connection.execute("SELECT FROM organization FOR UPDATE")
            under_way = [asyncio.create_task(client.update_organization("o-1", display_name=name)) for name in "ab"]
            await waits_for_the_lock(connection)
            error = await refused(client.get_organization("o-1"), "TOO_MANY_WAITING")
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert error.metadata == {"waiting": "2"}
        assert isinstance(error.details[1], error_details_pb2.RetryInfo)
        assert {answer.balance.revision for answer in await asyncio.gather(*under_way)} == {2, 3}
        await client.get_organization("o-1")


async def test_a_deadline_that_has_passed(
    allocator: AllocatorServer, organization: str, connection: Connection
) -> None:
    async with MessageClient(allocator.address, timeout_seconds=1e-6) as late:
        with pytest.raises(EarmarkError) as caught:
            await late.update_organization(organization, display_name="x")
    # Whichever of the two notices first: gRPC, or the lane that finds that nobody waits.
    assert (caught.value.code.name, caught.value.reason) in (("DEADLINE_EXCEEDED", ""), ("UNAVAILABLE", "LOCK_TIMEOUT"))
    assert await kinds(connection, organization) == ["ORGANIZATION_CREATED"]


async def test_a_call_that_is_cancelled_while_it_waits_is_not_carried_out(
    client: MessageClient, organization: str, connection: Connection
) -> None:
    async with connection.transaction():
        await connection.execute("SELECT FROM organization FOR UPDATE")
        call = asyncio.create_task(client.update_organization(organization, display_name="cancelled"))
        await waits_for_the_lock(connection)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # On the same connection the cancelling came first, so that who answers this has heard of it.
        await client.get_organization(organization)
    later = await client.update_organization(organization, display_name="later")
    assert (later.organization.display_name, later.balance.revision) == ("later", 2)


async def actors(connection: Connection) -> list[str]:
    rows = await connection.fetch("SELECT actor FROM entry ORDER BY recorded_time")
    return [row["actor"] for row in rows]


async def test_the_ledger_says_who_asked(allocator: AllocatorServer, connection: Connection) -> None:
    for number, actor in enumerate(("", "billing@example.com", "x" * 256)):
        async with MessageClient(allocator.address, actor=actor) as client:
            await client.create_organization(f"o-{number}")
    assert await actors(connection) == ["", "billing@example.com", "x" * 256]


async def test_an_actor_that_is_too_long_is_refused(allocator: AllocatorServer, connection: Connection) -> None:
    async with MessageClient(allocator.address, actor="x" * 257) as client:
        error = await refused(client.create_organization("o-1"), "INVALID_FIELD")
        assert error.details[1].field_violations[0].field == "metadata earmark-actor"
        await refused(client.get_organization("o-1"), "INVALID_FIELD")
    assert await actors(connection) == []


async def test_control_characters_in_the_actor_are_refused(allocator: AllocatorServer, connection: Connection) -> None:
    """gRPC's own clients do not send them, so somebody else's does."""
    create = "/earmark.v1.OrganizationService/CreateOrganization"
    for number, actor in enumerate((b"tab\tbed", b"b\x7fl", b"line\r\n", b"a\x00", b"plain")):
        message = b"\x0a\x03o-%d" % number
        await asyncio.to_thread(call_by_hand, allocator.address, create, message, {b"earmark-actor": actor})
    assert await actors(connection) == ["plain"]
