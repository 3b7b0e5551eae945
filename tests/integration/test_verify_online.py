"""Verifying while calls go on: what is committed meanwhile is no problem, and no snapshot is held for long."""

import asyncio
import itertools
from collections.abc import Iterator
from decimal import Decimal

from services.admin.verify import verify, verify_each
from services.ledger.ledger import Ledger
from services.ledger.rules.cataloguing import Terms, UpdateOffering
from services.ledger.rules.commands import (
    ApplyOperations,
    CreateSubscription,
    DisableAllocation,
    UpdateAllocation,
    UpdateOrganization,
)
from services.ledger.store.database import Connection
from tests.support.books import (
    SECONDS,
    SENSOR,
    adjust,
    do,
    enable,
    in_days,
    make_customer,
    make_organization,
    offer_sensors,
)

TIMES = 12
ROUNDS_MAX = 1_000


async def test_what_is_committed_meanwhile_is_no_problem(ledger: Ledger, connection: Connection) -> None:
    """Also prices, and organizations that come into being."""
    await offer_sensors(connection)
    names = ("acme", "beta")
    for name in names:
        await make_customer(ledger, connection, name)
        await do(ledger, name, enable("shared", 10))
    enough = asyncio.Event()
    numbers = itertools.count(1)
    calls = asyncio.gather(*(_keep_calling(ledger, name, numbers, enough) for name in names))
    counted = []
    try:
        for _ in range(TIMES):
            report = await verify(connection)
            assert report.problems == []
            counted.append(report.entries)
    finally:
        enough.set()
        await calls
    assert len(set(counted)) == TIMES, "nothing happened meanwhile"


async def test_a_price_that_is_made_meanwhile_is_known(ledger: Ledger, connection: Connection) -> None:
    """Beta uses it when acme was verified already."""
    await offer_sensors(connection)
    for name in ("acme", "beta"):
        await make_customer(ledger, connection, name)
        await do(ledger, name, enable())
    verified = verify_each(connection)
    assert (await anext(verified)).problems == []
    price = UpdateOffering(SENSOR, Terms(Decimal(7)))
    await ledger.change_catalog(price, request_id="", validate_only=False, seconds=SECONDS)
    await do(ledger, "beta", enable("other"))
    beta = await anext(verified)
    assert (beta.organization, beta.entries, beta.problems) == ("beta", 4, [])
    assert [each async for each in verified] == []


async def test_no_snapshot_is_held_from_one_organization_to_the_next(ledger: Ledger, connection: Connection) -> None:
    for name in ("acme", "beta", "gamma"):
        await make_organization(ledger, name)
    seen = []
    async for each in verify_each(connection):
        assert not connection.is_in_transaction()
        seen.append(each.organization)
    assert seen == ["acme", "beta", "gamma"]


async def test_progress_is_told_now_and_then(ledger: Ledger, connection: Connection) -> None:
    await offer_sensors(connection)
    await make_customer(ledger, connection, credits=10**9)
    for number in range(3):
        await do(ledger, "acme", ApplyOperations(tuple(enable(f"{number}-{each}") for each in range(1_000))))
    told: list[tuple[int, int]] = []
    [one] = [each async for each in verify_each(connection, progress=lambda *far: told.append(far))]
    assert one.problems == []
    assert told == [(1_000, 3_002), (2_000, 3_002), (3_000, 3_002)]


async def _keep_calling(ledger: Ledger, name: str, numbers: Iterator[int], enough: asyncio.Event) -> None:
    for number in itertools.islice(numbers, ROUNDS_MAX):
        if enough.is_set():
            return
        await do(ledger, name, enable(f"host-{number % 7}", number % 3 + 1), f"enable-{number}")
        several = (adjust(1, "shared"), enable("other", number), adjust(-1, "shared"))
        await do(ledger, name, ApplyOperations(several), f"several-{number}")
        await do(ledger, name, UpdateAllocation("shared", priority=number), f"update-{number}")
        if number % 5 == 0:
            await do(ledger, name, DisableAllocation("other"), f"disable-{number}")
            await do(ledger, name, UpdateOrganization(overdraft_limit=number), f"limit-{number}")
            await make_organization(ledger, f"new-{number}")
        if number % 20 == 0 and number <= 1_000:  # A price has at most 100 versions.
            price = UpdateOffering(SENSOR, Terms(Decimal(number) / 10))
            await ledger.change_catalog(price, request_id="", validate_only=False, seconds=SECONDS)
            await do(ledger, name, CreateSubscription(f"s-{number}", 5, in_days(9)), f"buy-{number}")
