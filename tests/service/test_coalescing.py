"""Calls that are made at the same time travel together; each has its own answer, error, deadline and end."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from grpc import StatusCode, aio

from earmark import Client, EarmarkError, errors
from earmark.types import AllocationState, EntryKind
from services.allocator.server import AllocatorServer
from services.ledger.store.database import Connection

HELD = "SELECT 1 FROM organization WHERE organization = 'o-1' FOR UPDATE"


class Counting(aio.UnaryUnaryClientInterceptor):
    """Counts what is sent, by method. A call that is stalled never arrives."""

    def __init__(self) -> None:
        self.stalls = 0
        self.sent: Counter[str] = Counter()
        self.sending = asyncio.Event()

    async def intercept_unary_unary(
        self, continuation: Callable[[aio.ClientCallDetails, Any], Any], details: aio.ClientCallDetails, request: Any
    ) -> Any:
        method: Any = details.method
        self.sent[(method.decode() if isinstance(method, bytes) else method).rpartition("/")[2]] += 1
        self.sending.set()
        if self.stalls:
            self.stalls -= 1
            await asyncio.Event().wait()
        return await continuation(details, request)


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
async def client(allocator: AllocatorServer, counting: Counting) -> AsyncIterator[Client]:
    """Of `o-1`, with 100,000 credits, and sensors at 1."""
    async with Client(allocator.address) as plain:
        await plain.create_offering("sensor", price=1)
        await plain.create_organization("o-1")
        end = datetime.now(UTC) + timedelta(days=30)
        await plain.create_subscription("o-1", credits=100_000, end_time=end)
    async with Client(allocator.address, coalesce=True, interceptors=[counting]) as client:
        yield client


@asynccontextmanager
async def held(connection: Connection) -> AsyncIterator[None]:
    """Nothing of `o-1` can be changed."""
    async with connection.transaction():
        await connection.execute(HELD)
        yield


def ids(count: int) -> list[str]:
    return [f"sensor~{number}" for number in range(count)]


async def test_many_at_once_are_few_calls(client: Client, counting: Counting) -> None:
    changes = await asyncio.gather(
        *(
            client.enable("o-1", offering="sensor", units=number + 1, allocation=each)
            for number, each in enumerate(ids(300))
        )
    )
    assert [each.allocation.units for each in changes] == list(range(1, 301))
    assert [each.allocation.id for each in changes] == ids(300)
    assert len({each.balance.revision for each in changes}) == 300
    assert counting.sent == {"ApplyOperations": 1}
    entries = [each async for each in client.list_entries("o-1", kinds=[EntryKind.ALLOCATION_ENABLED])]
    assert len({each.request_id for each in entries}) == 300


async def test_more_than_a_call_can_hold_are_several(client: Client, counting: Counting) -> None:
    changes = await asyncio.gather(
        *(client.enable("o-1", offering="sensor", units=1, allocation=each) for each in ids(2_500))
    )
    assert {each.allocation.state for each in changes} == {AllocationState.ENABLED}
    assert counting.sent["ApplyOperations"] == 3


async def test_the_largest_operations_go_together_and_one_that_is_far_too_large_fails_alone(
    client: Client, counting: Counting
) -> None:
    largest = {f"{number:02}{'k' * 61}": "v" * 63 for number in range(16)}
    outcomes = await asyncio.gather(
        *(
            client.enable(
                "o-1",
                offering="sensor",
                units=1,
                allocation=f"{number:0128}",
                labels={"k": "v" * 5 * 2**20} if number == 500 else largest,
            )
            for number in range(1_500)
        ),
        return_exceptions=True,
    )
    [too_large] = [each for each in outcomes if isinstance(each, BaseException)]
    assert isinstance(too_large, EarmarkError)
    assert outcomes[500] is too_large
    assert too_large.code is StatusCode.RESOURCE_EXHAUSTED
    assert counting.sent["ApplyOperations"] == 3


async def test_each_has_its_own_answer_or_its_own_exception(client: Client, counting: Counting) -> None:
    outcomes = await asyncio.gather(
        client.enable("o-1", offering="sensor", units=5, request_id="a"),
        client.enable("o-1", offering="nothing", units=5, request_id="b"),
        client.adjust("o-1", "never", delta_units=1, request_id="c"),
        client.enable("o-1", offering="sensor", units=200_000, allocation="sensor~2", request_id="d"),
        client.enable("o-1", offering="sensor", units=0, allocation="sensor~3", request_id="e"),
        client.disable("o-2", "sensor", request_id="f"),
        client.adjust("o-1", "sensor", delta_units=2, request_id="g"),
        return_exceptions=True,
    )
    kinds = [type(each) for each in outcomes[1:6]]
    assert kinds == [
        errors.OfferingNotFound,
        errors.AllocationNotFound,
        errors.InsufficientCredits,
        errors.InvalidField,
        errors.OrganizationNotFound,
    ]
    assert [each.request_id for each in outcomes if isinstance(each, EarmarkError)] == ["b", "c", "d", "e", "f"]
    short = outcomes[3]
    assert isinstance(short, errors.InsufficientCredits)
    assert short.shortfall == 200_005 - 100_000
    assert [each.allocation.units for each in outcomes if not isinstance(each, BaseException)] == [5, 7]
    assert counting.sent == {"ApplyOperations": 3}, "one for each organization, one for what has to come afterwards"


async def test_what_was_asked_first_is_done_first(client: Client) -> None:
    steps = [client.enable("o-1", offering="sensor", units=1)]
    for _ in range(20):
        steps += [
            client.adjust("o-1", "sensor", delta_units=3),
            client.disable("o-1", "sensor"),
            client.adjust("o-1", "sensor", delta_units=1),
        ]
    changes = await asyncio.gather(*steps)
    revisions = [each.balance.revision for each in changes]
    assert revisions == sorted(revisions)
    assert [each.allocation.units for each in changes] == [1, *[4, 0, 1] * 20]


async def test_a_request_id_that_is_sent_twice_is_done_once(client: Client) -> None:
    await client.enable("o-1", offering="sensor", units=1)
    twice = await asyncio.gather(*(client.adjust("o-1", "sensor", delta_units=1, request_id="once") for _ in range(2)))
    assert twice[0] == twice[1]
    assert (await client.get_allocation("o-1", "sensor")).units == 2


async def test_a_rehearsal_travels_alone_and_changes_nothing(client: Client, counting: Counting) -> None:
    would = await client.enable("o-1", offering="sensor", units=1, validate_only=True)
    assert would.balance.allocated_credits == 1
    assert counting.sent == {"EnableAllocation": 1}
    assert [each async for each in client.list_allocations("o-1")] == []


async def test_each_actor_speaks_for_itself(client: Client) -> None:
    await asyncio.gather(
        *(
            client.using(actor=actor).enable("o-1", offering="sensor", units=1, allocation=f"sensor~{actor}")
            for actor in ("day", "night")
        )
    )
    entries = [each async for each in client.list_entries("o-1", kinds=[EntryKind.ALLOCATION_ENABLED])]
    assert {(each.actor, each.resource.rpartition("~")[2]) for each in entries} == {("day", "day"), ("night", "night")}


async def test_who_leaves_before_the_others_takes_nothing_with_him(
    client: Client, connection: Connection, counting: Counting
) -> None:
    async with held(connection):
        calls = [
            asyncio.create_task(client.enable("o-1", offering="sensor", units=1, allocation=each)) for each in ids(10)
        ]
        await counting.sending.wait()
        late = asyncio.create_task(client.enable("o-1", offering="sensor", units=1, allocation="never-sent"))
        await asyncio.sleep(0)
        late.cancel()
        calls[3].cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls[3]
    done = await asyncio.gather(*calls[:3], *calls[4:])
    assert [each.allocation.state for each in done] == [AllocationState.ENABLED] * 9
    assert (await client.enable("o-1", offering="sensor", units=1)).allocation.units == 1  # Nothing is under way.
    listed = {each.id async for each in client.list_allocations("o-1")} - {"sensor"}
    assert listed - {ids(10)[3]} == {*ids(10)} - {ids(10)[3]}


async def test_a_short_deadline_is_its_callers_alone(
    client: Client, connection: Connection, counting: Counting
) -> None:
    async with held(connection):
        patient = [
            asyncio.create_task(client.enable("o-1", offering="sensor", units=1, allocation=each)) for each in ids(3)
        ]
        hasty = asyncio.create_task(
            client.using(timeout_seconds=0.2).enable("o-1", offering="sensor", units=1, request_id="hasty")
        )
        with pytest.raises(errors.DeadlineExceeded) as late:
            await hasty
        assert late.value.request_id == "hasty"
        assert late.value.is_outcome_open
        assert not any(each.done() for each in patient)
    assert len(await asyncio.gather(*patient)) == 3
    again = await client.enable("o-1", offering="sensor", units=1, request_id="hasty")
    assert again.allocation.units == 1


async def test_what_the_service_puts_off_is_sent_again_until_the_deadline(
    client: Client, connection: Connection, counting: Counting
) -> None:
    """The lock is held for longer than the allocator waits for it, so it refuses, and asks to be asked again."""
    async with held(connection):
        calls = [
            asyncio.create_task(client.enable("o-1", offering="sensor", units=1, allocation=each)) for each in ids(3)
        ]
        while counting.sent["ApplyOperations"] < 2:
            counting.sending.clear()
            await counting.sending.wait()
    assert len(await asyncio.gather(*calls)) == 3
    entries = [each async for each in client.list_entries("o-1", kinds=[EntryKind.ALLOCATION_ENABLED])]
    assert len(entries) == 3


async def test_nobody_waits_for_a_call_that_all_have_left(client: Client, counting: Counting) -> None:
    counting.stalls = 1
    calls = [asyncio.create_task(client.enable("o-1", offering="sensor", units=1, allocation=each)) for each in ids(3)]
    await counting.sending.wait()
    for each in calls:
        each.cancel()
    assert (await client.enable("o-1", offering="sensor", units=2)).allocation.units == 2
    assert [each.id async for each in client.list_allocations("o-1")] == ["sensor"]


async def test_whoever_leaves_the_client_leaves_nobody_waiting(allocator: AllocatorServer, client: Client) -> None:
    async with Client(allocator.address, coalesce=True) as another:
        calls = [
            asyncio.create_task(another.enable("o-1", offering="sensor", units=1, allocation=each)) for each in ids(50)
        ]
        await asyncio.sleep(0)
    assert len(await asyncio.gather(*calls)) == 50


async def test_no_server_is_an_error_for_each() -> None:
    async with Client("127.0.0.1:1", coalesce=True, timeout_seconds=0.3) as client:
        outcomes = await asyncio.gather(
            *(client.enable("o-1", offering="sensor", units=1, allocation=each) for each in ids(3)),
            return_exceptions=True,
        )
    assert [type(each) for each in outcomes] == [errors.Unreachable] * 3
    assert len({id(each) for each in outcomes}) == 3
    assert len({each.request_id for each in outcomes if isinstance(each, EarmarkError)}) == 3
