"""EstimateCredits: prices of lines, and what to buy for them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from earmark import Enable
from earmark.messages import MessageClient, price
from services.allocator.server import AllocatorServer
from services.ledger.store.database import Connection
from tests.conftest import Advance
from tests.support.reflected import ReflectedClient, Refusal
from tests.support.service_stories import DAY, buy, now, offer

MOST = 10**12


@pytest.fixture
async def reflected(allocator: AllocatorServer) -> AsyncIterator[ReflectedClient]:
    async with ReflectedClient(allocator.address) as client:
        yield client


@pytest.fixture(autouse=True)
async def catalogue(client: MessageClient) -> None:
    await offer(client, sensor="20", retention="0.05", free="0")
    await client.create_offering("account", price=price("1000", block_units=500, max_credits=8_000))


def line(offering: str, units: int) -> dict[str, Any]:
    return {"offering": f"offerings/{offering}", "units": units}


async def estimate(client: ReflectedClient, *lines: dict[str, Any], organization: str = "") -> Any:
    return await client.call("EstimateCredits", lines=lines, organization=organization)


async def test_every_line_is_an_allocation_of_its_own(reflected: ReflectedClient) -> None:
    """Ten cloud accounts of one resource each cost ten times as much as one of ten."""
    apart = await estimate(reflected, *[line("account", 1)] * 10)
    together = await estimate(reflected, line("account", 10), line("retention", 21), line("free", 7))
    assert ([each.credits for each in apart.lines], apart.required_credits) == ([1_000] * 10, 10_000)
    assert ([each.credits for each in together.lines], together.required_credits) == ([1_000, 2, 0], 1_002)
    assert [each.offering for each in together.lines] == [
        f"offerings/{each}" for each in ("account", "retention", "free")
    ]
    assert [each.units for each in together.lines] == [10, 21, 7]
    assert not together.HasField("purchase")
    most = await estimate(reflected, line("account", MOST))
    assert most.required_credits == 8_000


async def test_what_to_buy(
    client: MessageClient, reflected: ReflectedClient, advance: Advance, connection: Connection
) -> None:
    """2,000 credits carry 1,600; then they end, and a smaller purchase brings half of it back."""
    await client.create_organization("o-1")
    await buy(client, "o-1", 2_000, lasting=10 * DAY, grace=DAY)
    steps = [Enable(offering="sensor", units=40, allocation=each) for each in ("a", "b")]
    await client.apply_operations("o-1", steps, request_id="r-1")
    asked = {"organization": "organizations/o-1"}

    found = await estimate(reflected, line("sensor", 10), **asked)
    assert purchase(found) == (200, 400 - 200, 0)
    found = await estimate(reflected, line("sensor", 30), **asked)
    assert purchase(found) == (600, 400 - 600, 200)
    await advance(10.5 * DAY)  # Carried by grace: 1,600 allocated, nothing valid.
    found = await estimate(reflected, line("sensor", 1), **asked)
    assert purchase(found) == (20, -1_600 - 20, 1_620)
    await advance(DAY)  # Both are suspended.
    found = await estimate(reflected, line("sensor", 1), **asked)
    assert purchase(found) == (20, -20, 1_620)
    await buy(client, "o-1", 1_000, since=await now(connection))  # One of them comes back.
    found = await estimate(reflected, line("sensor", 1), **asked)
    assert purchase(found) == (20, 200 - 20, 620)
    assert found.purchase.balance.suspended_credits == 800
    again = await estimate(reflected, line("sensor", 1), **asked)
    assert again.purchase.balance.revision == found.purchase.balance.revision, "it allocates nothing"
    await client.update_organization("o-1", overdraft_limit=10_000)
    found = await estimate(reflected, line("sensor", 1), **asked)
    assert purchase(found) == (20, 1_000 - 1_600 - 20, 620), "an overdraft buys nothing"


def purchase(found: Any) -> tuple[int, int, int]:
    """(required, remaining, recommended)"""
    told = found.purchase
    return found.required_credits, told.remaining_credits, told.recommended_credits


async def test_prices_in_force_and_what_is_retired(
    client: MessageClient, reflected: ReflectedClient, advance: Advance
) -> None:
    await client.update_offering("sensor", price=price("30"))
    found = await estimate(reflected, line("sensor", 1))
    assert [(each.credits, each.price_version, each.retired) for each in found.lines] == [(30, 2, False)]
    await client.update_offering("sensor", retired=True)
    found = await estimate(reflected, line("sensor", 1))
    assert [(each.credits, each.price_version, each.retired) for each in found.lines] == [(30, 2, True)]
    assert found.as_of.seconds > 0


async def test_the_most_lines(client: MessageClient, reflected: ReflectedClient) -> None:
    await offer(client, dear="1000000")
    found = await estimate(reflected, *[line("dear", 10**6)] * 1_000)
    assert found.required_credits == 1_000 * 10**12
    assert len(found.lines) == 1_000


async def test_what_cannot_be_estimated(client: MessageClient, reflected: ReflectedClient) -> None:
    good = line("sensor", 1)

    async def refused(reason: str, *lines: dict[str, Any], organization: str = "") -> Refusal:
        with pytest.raises(Refusal) as found:
            await estimate(reflected, *lines, organization=organization)
        assert found.value.reason == reason
        return found.value

    for lines, fields in (
        ([], ["lines"]),
        ([good] * 1_001, ["lines"]),
        ([good, line("sensor", 0)], ["lines[1].units"]),
        ([line("sensor", -1), line("sensor", MOST + 1)], ["lines[0].units", "lines[1].units"]),
        ([{"offering": "sensor", "units": 1}, {}], ["lines[0].offering", "lines[1].offering", "lines[1].units"]),
    ):
        assert list((await refused("INVALID_FIELD", *lines)).fields) == fields
    assert (await refused("INVALID_FIELD", good, organization="o-1")).fields == ("organization",)
    assert (await refused("INVALID_FIELD", good, organization="organizations/-")).fields == ("organization",)
    await refused("ORGANIZATION_NOT_FOUND", good, organization="organizations/nobody")

    error = await refused("OFFERING_NOT_FOUND", good, good, line("nothing", 1), good)
    assert (error.code, error.figures["lineIndex"]) == ("NOT_FOUND", "2")
    assert "line 2" in error.message
    error = await refused("LIMIT_EXCEEDED", good, line("sensor", MOST))
    assert (error.code, error.figures["lineIndex"]) == ("FAILED_PRECONDITION", "1")
    assert (error.figures["value"], error.figures["limit"]) == (str(20 * MOST), str(MOST))
    at_most = await estimate(reflected, line("sensor", MOST // 20))
    assert at_most.required_credits == MOST
    await refused("LIMIT_EXCEEDED", line("sensor", MOST // 20 + 1))
