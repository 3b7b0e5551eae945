"""ForecastUsage: what it said is what then happens if nobody calls, to the credit and to the microsecond."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from earmark.messages import MessageClient
from services.allocator.server import AllocatorServer
from services.ledger.store.database import Connection
from tests.conftest import Advance
from tests.model import looking, words
from tests.model.lives import life
from tests.support import rules_looking as rules
from tests.support import wire_answers as wire
from tests.support import wire_looking as looks
from tests.support.frozen_clock import FrozenClock
from tests.support.reflected import ReflectedClient, Refusal
from tests.support.service_stories import DAY, buy, now, offer
from tests.support.wire_requests import instant as sent
from tests.support.wired_life import WiredLife

STEPS: Final = 25
LIVES: Final = range(500, 512)


@pytest.fixture
async def reflected(allocator: AllocatorServer) -> AsyncIterator[ReflectedClient]:
    async with ReflectedClient(allocator.address) as client:
        yield client


@pytest.mark.timeout(240)
async def test_what_was_said_is_what_happens(reflected: ReflectedClient, connection: Connection) -> None:
    """After random lives; some are carried by grace, overdrawn, suspended in part, or without any bound."""
    clock = FrozenClock(connection)
    await clock.freeze()
    told = looking.Forecast([], [], [], [])
    for seed in LIVES:
        lived = WiredLife(reflected, clock, connection, seed)
        await lived.begin()
        for number, step in enumerate(life(seed, STEPS)):
            await lived.take(step, number)
        dice = random.Random(seed)
        lived.model.settle(lived.now)
        until = dice.choice(rules.horizons(lived.model.state, dice)[1:] or [lived.now + words.DAY])
        said = await reflected.call("ForecastUsage", name=lived.wording.parent, until=sent(until))
        shown = looks.forecast(said, lived.wording)
        at_once = dice.random() < 0.3
        if not at_once:
            await _see_each_point_come(reflected, clock, lived, said)
        await clock.set(until)
        assert await _what_happened(reflected, lived, said.balance) == shown, f"life {seed} until {until}"
        for field in ("points", "grace_starts", "coverage_ends", "suspended"):
            getattr(told, field).extend(getattr(shown, field))
    assert all((told.points, told.grace_starts, told.coverage_ends, told.suspended)), "there was something to say"


async def _see_each_point_come(client: ReflectedClient, clock: FrozenClock, lived: WiredLife, said: Any) -> None:
    """The figures are those of the point from its instant on, and those of the one before a microsecond earlier."""
    before = sums(said.balance)
    for point in said.points:
        at = wire.instant(point.time)
        await clock.set(at - 1)
        assert sums((await client.call("GetUsage", name=lived.wording.parent)).balance) == before
        await clock.set(at)
        before = sums((await client.call("GetUsage", name=lived.wording.parent)).balance)
        assert before == sums(point)


async def _what_happened(client: ReflectedClient, lived: WiredLife, before: Any) -> looking.Forecast:
    """By the entries that were written since, put together as the model does."""
    sent = {"parent": lived.wording.parent, "after_revision": before.revision, "page_size": 1_000}
    written = (await client.call("ListEntries", **sent)).entries
    return looking.forecast([_as_model_entry(each, lived) for each in written], wire.figures(before))


def _as_model_entry(message: Any, lived: WiredLife) -> words.Entry:
    shown = looks.entry(message, lived.wording)
    names = ("revision", "resource", "effective", "recorded", "after", "deltas", "figures")
    return words.Entry(kind=shown["kind"].lower(), **{name: shown[name] for name in names})


def sums(figures: Any) -> tuple[int, ...]:
    return tuple(getattr(figures, each) for each in looks.SUMS)


async def test_until_is_not_in_the_past(
    client: MessageClient, reflected: ReflectedClient, connection: Connection, advance: Advance
) -> None:
    await client.create_organization("o-1")
    await advance(100 * DAY)
    before = await now(connection)
    with pytest.raises(Refusal) as refused:
        await reflected.call("ForecastUsage", name="organizations/o-1", until=_sent(before - 50 * DAY))
    after = await now(connection)
    assert (refused.value.reason, refused.value.fields) == ("INVALID_FIELD", ("until",))
    told = refused.value.figures
    assert told["until"] == _text(before - 50 * DAY)
    assert _text(before) <= told["now"] <= _text(after)
    assert told["until"] in refused.value.message
    assert told["now"] in refused.value.message
    for until in (None, {"seconds": -1}, {"seconds": 7_289_654_400}, {"nanos": -1}):
        with pytest.raises(Refusal) as refused:
            await reflected.call("ForecastUsage", name="organizations/o-1", until=until)
        assert (refused.value.reason, len(refused.value.fields)) == ("INVALID_FIELD", 1)
    with pytest.raises(Refusal) as refused:
        await reflected.call("ForecastUsage", name="organizations/nobody", until=_sent(after + DAY))
    assert refused.value.reason == "ORGANIZATION_NOT_FOUND"


async def test_a_forecast_changes_nothing_and_settles_first(
    client: MessageClient, reflected: ReflectedClient, connection: Connection, advance: Advance
) -> None:
    """The purchase ends before anybody asks; what is still to come is told, and then it is as it was."""
    await offer(client, app="1")
    await client.create_organization("o-1")
    await buy(client, "o-1", 100, subscription="s-1", lasting=10 * DAY, grace=20 * DAY)
    await client.enable_allocation("o-1", offering="app", units=60, allocation="low")
    await client.enable_allocation("o-1", offering="app", units=40, allocation="high", priority=1)
    await advance(15 * DAY)
    until = await now(connection) + 300 * DAY
    said = await reflected.call("ForecastUsage", name="organizations/o-1", until=_sent(until))
    assert sums(said.balance) == (0, 100, 100, 0), "it has been carried by grace since before"
    assert [sums(each) for each in said.points] == [(0, 0, 0, 100)]
    assert list(said.grace_start_times) == []
    assert list(said.coverage_end_times) == [said.points[0].time]
    assert [each.rpartition("/")[2] for each in said.suspended.names] == ["low", "high"], "the lowest first"
    again = await reflected.call("ForecastUsage", name="organizations/o-1", until=_sent(until))
    again.balance.as_of.CopyFrom(said.balance.as_of)
    assert again == said


def _sent(at: datetime) -> dict[str, int]:
    return {"seconds": int(at.timestamp()), "nanos": at.microsecond * 1000}


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
