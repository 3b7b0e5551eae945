"""QueryUsageHistory: its bounds, what a step shows, and that what is over never changes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from earmark.messages import MessageClient
from services.allocator.server import AllocatorServer
from services.ledger.rules.limits import ANSWER_BYTES_MAX, HISTORY_STEPS_MAX
from services.ledger.store.database import Connection
from services.ledger.together import DECIDED_WITHIN
from tests.support.frozen_clock import FrozenClock
from tests.support.reflected import ReflectedClient, Refusal
from tests.support.service_stories import DAY, buy, offer

HOUR: Final = timedelta(hours=1)
MICROSECOND: Final = timedelta(microseconds=1)
MIDNIGHT: Final = datetime(2030, 3, 31, tzinfo=UTC)
"""In some places this day has 23 hours; in UTC it has 24."""
STEPS: Final = {HOUR: 1, DAY: 2}

Shown = list[tuple[int, int, int, bool]]
"""(valid, allocated, peak, in progress) of each step"""


@pytest.fixture
async def clock(connection: Connection) -> FrozenClock:
    clock = FrozenClock(connection)
    await clock.freeze()
    return clock


@pytest.fixture
async def reflected(allocator: AllocatorServer) -> AsyncIterator[ReflectedClient]:
    async with ReflectedClient(allocator.address) as client:
        yield client


async def at(clock: FrozenClock, instant: datetime) -> None:
    await clock.set(int(instant.timestamp()) * 1_000_000 + instant.microsecond)


def sent(instant: datetime) -> dict[str, int]:
    return {"seconds": int(instant.timestamp()), "nanos": instant.microsecond * 1000}


def asked(start: datetime, end: datetime, length: timedelta) -> dict[str, Any]:
    interval = {"start_time": sent(start), "end_time": sent(end)}
    return {"name": "organizations/o-1", "interval": interval, "step": STEPS[length]}


async def history(client: ReflectedClient, start: datetime, end: datetime, length: timedelta) -> Shown:
    answer = await client.call("QueryUsageHistory", **asked(start, end, length))
    starts = [each.start_time.ToDatetime(tzinfo=UTC) for each in answer.steps]
    assert starts == [start + number * length for number in range(len(starts))]
    return [
        (each.valid_credits, each.allocated_credits, each.peak_allocated_credits, each.in_progress)
        for each in answer.steps
    ]


@pytest.fixture
async def made(client: MessageClient, clock: FrozenClock) -> None:
    """At half past one: 100 credits, of which 10 are earmarked."""
    await at(clock, MIDNIGHT + 1.5 * HOUR)
    await offer(client, app="1")
    await client.create_organization("o-1")
    await buy(client, "o-1", 100, since=MIDNIGHT, lasting=2 * DAY, grace=timedelta())
    await client.enable_allocation("o-1", offering="app", units=10)


@pytest.mark.usefixtures("made")
async def test_steps_before_after_and_in_progress(reflected: ReflectedClient, clock: FrozenClock) -> None:
    nothing = (0, 0, 0, False)
    assert await history(reflected, MIDNIGHT, MIDNIGHT + 4 * HOUR, HOUR) == [nothing, (100, 10, 10, True)]
    assert await history(reflected, MIDNIGHT - DAY, MIDNIGHT + 9 * DAY, DAY) == [nothing, (100, 10, 10, True)]
    assert await history(reflected, MIDNIGHT + 2 * HOUR, MIDNIGHT + 4 * HOUR, HOUR) == []
    await at(clock, MIDNIGHT + 2 * HOUR - MICROSECOND)
    assert await history(reflected, MIDNIGHT + HOUR, MIDNIGHT + 4 * HOUR, HOUR) == [(100, 10, 10, True)]
    await at(clock, MIDNIGHT + 2 * HOUR + DECIDED_WITHIN)  # Before, it would wait, and this clock stands still.
    assert await history(reflected, MIDNIGHT + HOUR, MIDNIGHT + 4 * HOUR, HOUR) == [
        (100, 10, 10, False),
        (100, 10, 10, True),
    ]
    await at(clock, MIDNIGHT + DAY + DECIDED_WITHIN)
    assert await history(reflected, MIDNIGHT, MIDNIGHT + 2 * DAY, DAY) == [(100, 10, 10, False), (100, 10, 10, True)]


@pytest.mark.usefixtures("made")
async def test_a_peak_is_what_lasted_or_was_left_behind(
    client: MessageClient, reflected: ReflectedClient, clock: FrozenClock
) -> None:
    """What it begins with counts unless something took effect at its very start; what a call passes through never."""
    for after, units in ((2.25, 50), (2.5, 5), (3, 7), (3.5, 20), (3.75, 1), (5, 3)):
        await at(clock, MIDNIGHT + after * HOUR)
        await client.enable_allocation("o-1", offering="app", units=units)
    assert await history(reflected, MIDNIGHT + HOUR, MIDNIGHT + 6 * HOUR, HOUR) == [
        (100, 10, 10, False),
        (100, 5, 50, False),
        (100, 1, 20, False),  # It began with 7: the 5 from before ended as it started.
        (100, 1, 1, False),
        (100, 3, 3, True),
    ]
    assert await history(reflected, MIDNIGHT, MIDNIGHT + DAY, DAY) == [(100, 3, 50, True)]


@pytest.mark.usefixtures("made")
async def test_what_ends_with_a_day_does_not_count_for_the_next(
    client: MessageClient, reflected: ReflectedClient, clock: FrozenClock
) -> None:
    """The subscription ends at the very start of a day, and nobody calls until long after."""
    await at(clock, MIDNIGHT + 2 * DAY - MICROSECOND)
    await client.enable_allocation("o-1", offering="app", units=100)
    await at(clock, MIDNIGHT + 5 * DAY)
    expected = [(100, 10, 10, False), (100, 100, 100, False), (0, 0, 0, False), (0, 0, 0, False), (0, 0, 0, False)]
    assert await history(reflected, MIDNIGHT, MIDNIGHT + 5 * DAY, DAY) == expected
    hours = await history(reflected, MIDNIGHT, MIDNIGHT + 5 * DAY, HOUR)
    assert hours[:2] == [(0, 0, 0, False), (100, 10, 10, False)]
    assert hours[46:50] == [(100, 10, 10, False), (100, 100, 100, False), (0, 0, 0, False), (0, 0, 0, False)]
    [balance] = [each async for each in client.list_organizations()]
    assert balance.balance.valid_credits == expected[-1][0]


@pytest.mark.usefixtures("made")
async def test_the_most_steps(reflected: ReflectedClient, clock: FrozenClock) -> None:
    start = MIDNIGHT - HISTORY_STEPS_MAX * HOUR
    answer = await reflected.call("QueryUsageHistory", **asked(start, MIDNIGHT, HOUR))
    assert len(answer.steps) == HISTORY_STEPS_MAX
    assert answer.ByteSize() <= ANSWER_BYTES_MAX
    for beyond in (asked(start - HOUR, MIDNIGHT, HOUR), asked(MIDNIGHT - 10_001 * DAY, MIDNIGHT, DAY)):
        await bad(reflected, ["interval"], **beyond)


@pytest.mark.usefixtures("made")
async def test_what_cannot_be_asked_for(reflected: ReflectedClient) -> None:
    good = asked(MIDNIGHT, MIDNIGHT + DAY, DAY)
    start, end = "interval.start_time", "interval.end_time"
    await bad(reflected, ["interval"], **asked(MIDNIGHT, MIDNIGHT, DAY))
    await bad(reflected, ["interval"], **asked(MIDNIGHT, MIDNIGHT - DAY, DAY))
    await bad(reflected, [start], **asked(MIDNIGHT + MICROSECOND, MIDNIGHT + DAY, DAY))
    await bad(reflected, [start, end], **asked(MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR, DAY))
    await bad(reflected, [end], **asked(MIDNIGHT, MIDNIGHT + timedelta(minutes=59), HOUR))
    await bad(reflected, [start, end], **{**good, "interval": None})
    await bad(reflected, [end], **{**good, "interval": {"start_time": sent(MIDNIGHT)}})
    await bad(reflected, ["step"], **{**good, "step": None})
    await bad(reflected, ["step"], **{**good, "step": 3})
    await bad(reflected, ["name", "step", start, end], name="o-1", interval={"start_time": {"seconds": -1}})
    assert await history(reflected, MIDNIGHT, MIDNIGHT + HOUR, HOUR) == [(0, 0, 0, False)]
    with pytest.raises(Refusal) as refused:
        await reflected.call("QueryUsageHistory", **{**good, "name": "organizations/nobody"})
    assert refused.value.reason == "ORGANIZATION_NOT_FOUND"


async def bad(client: ReflectedClient, fields: list[str], **request: Any) -> None:
    with pytest.raises(Refusal) as refused:
        await client.call("QueryUsageHistory", **request)
    assert (refused.value.reason, list(refused.value.fields)) == ("INVALID_FIELD", fields)
    assert refused.value.figures["violationCount"] == str(len(fields))
