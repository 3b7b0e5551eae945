"""The catalogue: offerings, versions of prices, and what they mean for what is switched on already."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from services.ledger.ledger import Ledger
from services.ledger.rules import cataloguing
from services.ledger.rules.cataloguing import CatalogCommand, CreateOffering, Terms, UpdateOffering
from services.ledger.rules.commands import CancelSubscription, CreateSubscription
from services.ledger.rules.price import Offering
from services.ledger.rules.refusal import Reason
from services.ledger.store import catalog_tables
from services.ledger.store.database import Connection, Pool
from services.ledger.store.reads import read_now
from tests.conftest import Advance
from tests.support.books import (
    DAY,
    MICROSECOND,
    SECONDS,
    SENSOR,
    adjust,
    do,
    enable,
    entries,
    in_days,
    make_customer,
    refused,
    together,
    verdict,
)

OFFER = CreateOffering(SENSOR, Terms(Decimal(20)), "Endpoint sensor", "Endpoints", "sensor")


async def change(ledger: Ledger, command: CatalogCommand, validate_only: bool = False) -> Offering:
    offering, _ = await ledger.change_catalog(command, request_id="", validate_only=validate_only, seconds=SECONDS)
    return offering


async def stored(connection: Connection, offering: str = SENSOR) -> Offering | None:
    return (await catalog_tables.read_offerings(connection, [offering])).get(offering)


async def test_what_is_offered_is_stored_as_it_is(ledger: Ledger, connection: Connection) -> None:
    exact = Terms(Decimal("0.05"), block_units=500, max_credits=8_000)
    offering = await change(ledger, CreateOffering("data", exact, "Data", "SIEM", "GB", retired=True))
    assert await stored(connection, "data") == offering
    [price] = offering.prices
    assert (price.credits_per_block, price.block_units, price.max_credits) == (Decimal("0.05"), 500, 8_000)
    assert (offering.display_name, offering.solution, offering.unit, offering.retired) == ("Data", "SIEM", "GB", True)
    assert price.effective_time == offering.create_time == offering.update_time


async def test_an_offering_is_created_once_and_updated_only_if_it_exists(ledger: Ledger) -> None:
    assert (await refused(change(ledger, UpdateOffering(SENSOR)))).reason is Reason.OFFERING_NOT_FOUND
    await change(ledger, OFFER)
    assert (await refused(change(ledger, OFFER))).reason is Reason.OFFERING_ALREADY_EXISTS


async def test_an_update_changes_what_is_sent_and_nothing_else(ledger: Ledger, connection: Connection) -> None:
    before = await change(ledger, OFFER)
    after = await change(ledger, UpdateOffering(SENSOR, unit="host"))
    assert after == replace(before, unit="host", changes=2, update_time=after.update_time)
    assert after.update_time > before.update_time
    assert await change(ledger, UpdateOffering(SENSOR, unit="host", display_name="Endpoint sensor")) == after
    assert await stored(connection) == after


async def test_a_stale_etag_stops_an_update(ledger: Ledger, connection: Connection) -> None:
    first = await change(ledger, OFFER)
    second = await change(ledger, UpdateOffering(SENSOR, unit="host", etag=first.etag))
    refusal = await refused(change(ledger, UpdateOffering(SENSOR, unit="seat", etag=first.etag)))
    assert refusal.reason is Reason.ETAG_MISMATCH
    assert await stored(connection) == second


async def test_a_rehearsed_change_changes_nothing(ledger: Ledger, connection: Connection) -> None:
    assert (await change(ledger, OFFER, validate_only=True)).offering == SENSOR
    assert await stored(connection) is None
    before = await change(ledger, OFFER)
    after = await change(ledger, UpdateOffering(SENSOR, price=Terms(Decimal(30))), validate_only=True)
    assert len(after.prices) == 2
    assert await stored(connection) == before


async def test_an_allocation_keeps_its_price_until_it_is_disabled(ledger: Ledger, connection: Connection) -> None:
    await change(ledger, OFFER)
    await make_customer(ledger, connection)
    await do(ledger, "acme", enable("old", 10))
    await change(ledger, UpdateOffering(SENSOR, price=Terms(Decimal(30))))

    async def credits(command: Any) -> tuple[int, int]:
        [allocation] = (await do(ledger, "acme", command)).outcome.allocations
        return allocation.credits, allocation.price_version

    assert await credits(adjust(+1, "old")) == (220, 1)
    assert await credits(enable("new", 10)) == (300, 2)
    assert await credits(adjust(-11, "old")) == (0, 1)
    assert await credits(adjust(+1, "old")) == (30, 2)
    versions = [each["after"] for each in await entries(connection) if each["resource"] in ("old", "new")]
    assert ['"price_version": 2' in after for after in versions] == [False, False, True, False, True]


async def test_a_price_from_a_later_instant_holds_from_that_instant(
    ledger: Ledger, connection: Connection, advance: Advance
) -> None:
    await change(ledger, OFFER)
    await make_customer(ledger, connection)
    soon = await read_now(connection) + DAY
    await change(ledger, UpdateOffering(SENSOR, price=Terms(Decimal(30), effective_time=soon)))
    assert (await do(ledger, "acme", enable("today"))).outcome.allocations[0].credits == 20
    await advance(DAY)
    assert (await do(ledger, "acme", enable("tomorrow"))).outcome.allocations[0].credits == 30


async def test_a_price_in_the_past_is_refused(ledger: Ledger, connection: Connection) -> None:
    before = await change(ledger, OFFER)
    past = await read_now(connection) - MICROSECOND
    refusal = await refused(change(ledger, UpdateOffering(SENSOR, price=Terms(Decimal(30), effective_time=past))))
    assert refusal.reason is Reason.INVALID_FIELD
    assert [each.field for each in refusal.violations] == ["offering.price.effective_time"]
    first = CreateOffering("new", Terms(Decimal(1), effective_time=in_days(1)))
    assert (await refused(change(ledger, first))).reason is Reason.INVALID_FIELD
    assert await stored(connection) == before


async def test_the_same_terms_again_are_no_new_version(ledger: Ledger) -> None:
    before = await change(ledger, OFFER)
    assert await change(ledger, UpdateOffering(SENSOR, price=Terms(Decimal("20.000")))) == before
    changed = await change(ledger, UpdateOffering(SENSOR, price=Terms(Decimal(30))))
    back = await change(ledger, UpdateOffering(SENSOR, price=Terms(Decimal(20))))
    assert [each.version for each in changed.prices] == [1, 2]
    assert [each.version for each in back.prices] == [1, 2, 3]


async def test_what_is_retired_is_switched_on_no_more_and_goes_on_where_it_is(
    ledger: Ledger, connection: Connection
) -> None:
    await change(ledger, OFFER)
    await make_customer(ledger, connection, credits=1000)
    for allocation in ("grows", "shrinks", "off"):
        await do(ledger, "acme", enable(allocation, 3))
    await do(ledger, "acme", adjust(-3, "off"))
    await change(ledger, UpdateOffering(SENSOR, retired=True))

    for command in (enable("new"), enable("off"), adjust(+1, "off")):
        assert await verdict(do(ledger, "acme", command)) is Reason.OFFERING_RETIRED
    assert (await do(ledger, "acme", adjust(+1, "grows"))).outcome.allocations[0].units == 4
    assert (await do(ledger, "acme", adjust(-1, "shrinks"))).outcome.allocations[0].units == 2
    await do(ledger, "acme", CancelSubscription("first", force=True))
    bought = await do(ledger, "acme", CreateSubscription("second", 1000, in_days(9)))
    assert bought.outcome.consequences is not None
    assert bought.outcome.consequences.resumed.first == ("grows", "shrinks")


async def test_the_number_of_offerings_and_of_prices_has_a_limit(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cataloguing, "OFFERINGS_MAX", 2)
    monkeypatch.setattr(cataloguing, "PRICE_VERSIONS_MAX", 3)
    await change(ledger, OFFER)
    await change(ledger, replace(OFFER, offering="second"))
    refusal = await refused(change(ledger, replace(OFFER, offering="third")))
    assert (refusal.reason, refusal.figures["limit"]) == (Reason.LIMIT_EXCEEDED, "2")
    for price in (21, 22):
        await change(ledger, UpdateOffering(SENSOR, price=Terms(Decimal(price))))
    refusal = await refused(change(ledger, UpdateOffering(SENSOR, price=Terms(Decimal(23)))))
    assert (refusal.reason, refusal.figures["limit"]) == (Reason.LIMIT_EXCEEDED, "3")


async def test_concurrent_changes_in_two_processes_have_one_order(
    ledger: Ledger, connection: Connection, pool: Pool
) -> None:
    ledgers = (ledger, Ledger(pool))
    created = await together([change(ledgers[each % 2], OFFER) for each in range(20)])
    assert Counter(each if isinstance(each, Reason) else "created" for each in created) == {
        "created": 1,
        Reason.OFFERING_ALREADY_EXISTS: 19,
    }
    prices = [UpdateOffering(SENSOR, price=Terms(Decimal(100 + each))) for each in range(20)]
    changed = await together([change(ledgers[each % 2], command) for each, command in enumerate(prices)])
    offerings = [each for each in changed if isinstance(each, Offering)]
    assert sorted(each.changes for each in offerings) == list(range(2, 22))
    last = await stored(connection)
    assert last == max(offerings, key=lambda each: each.changes)
    assert [each.version for each in last.prices] == list(range(1, 22))
    times = [each.effective_time for each in last.prices]
    assert times == sorted(times)


async def test_a_price_change_between_two_calls_of_one_organization_is_seen_by_the_second(
    ledger: Ledger, connection: Connection
) -> None:
    """Nothing of the catalogue is remembered from one batch to the next."""
    await change(ledger, OFFER)
    await make_customer(ledger, connection)
    for price in range(20, 25):
        await change(ledger, UpdateOffering(SENSOR, price=Terms(Decimal(price))))
        answer = await do(ledger, "acme", enable(f"host-{price}"))
        assert answer.outcome.allocations[0].credits == price
