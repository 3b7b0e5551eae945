"""Day 0 of the story: the catalogue, a purchase, a race, a reallocation."""

import asyncio
from datetime import UTC, timedelta
from typing import Final

from earmark import Disable, EarmarkError, Enable
from earmark.cli import estimate_show
from earmark.messages import MessageClient
from earmark.v1.allocation_service_pb2 import EnableAllocationResponse
from services.admin.catalog_file import SAMPLE_CATALOG, read_catalog
from services.admin.demo.check import Figures, Mismatch, same
from services.admin.demo.stage import DEMO, Stage

WANTED: Final = (("endpoint-sensor", 400), ("email-sensor", 300), ("network-sensor", 1))
RACING: Final = ("private-access", "ai-service-access")
"""What the two racing services switch on: 50 credits for a user, both of them, so that either may win."""


async def estimate(stage: Stage) -> None:
    """Before there is anything but the catalogue."""
    stage.page.chapter("An estimate")
    listed = {each.name: each async for each in stage.first.list_offerings()}
    same("the number of offerings", 42, len(listed))  # the lines of the file, without its header
    with SAMPLE_CATALOG.open(newline="", encoding="utf-8") as lines:
        for row in read_catalog(lines):
            price = listed[f"offerings/{row.offering}"].price
            came = (price.credits_per_block, price.block_units, price.max_credits or None)
            same(
                f"the price of {row.offering}",
                (f"{row.price.credits_per_block:f}", row.price.block_units, row.price.max_credits),
                came,
            )
    created = await stage.first.create_organization(DEMO)
    stage.start = created.balance.as_of.ToDatetime(tzinfo=UTC)
    stage.watcher.begin(stage.second, DEMO)
    nothing = Figures(valid=0, grace=0, allocated=0, available=0, suspended=0)
    await stage.tell(
        "42 offerings are loaded, priced as in the file; organization demo is created, and watched from here on",
        created.balance,
        nothing,
        wrote=["organization created"],
    )
    estimated = await stage.first.estimate_credits(WANTED, organization=DEMO)
    same("the estimate, line by line", [8_000, 1_500, 25_000], [each.credits for each in estimated.lines])
    same("the estimate", 34_500, estimated.required_credits)  # 400 x 20 + 300 x 5 + 1 x 25,000
    same("the recommended purchase", 34_500, estimated.purchase.recommended_credits)
    offerings = " ".join(f"{offering}={units}" for offering, units in WANTED)
    stage.page.screen(f"earmark estimate {offerings} --organization {DEMO}", estimate_show.details(estimated))
    await stage.tell(
        "400 endpoint sensors, 300 email sensors and 1 network sensor would take 34,500",
        await stage.balance(),
        nothing,
        wrote=[],
    )


async def purchase(stage: Stage) -> None:
    stage.page.chapter("A purchase")
    stage.page.jump(stage.start, 0)
    bought = await stage.first.create_subscription(
        DEMO, subscription="first", credits=40_000, end_time=stage.at(365), grace_period=timedelta(days=30)
    )
    await stage.tell(
        "Subscription first: 40,000 credits for 365 days, then 30 days of grace",
        bought.balance,
        Figures(valid=40_000, grace=0, allocated=0, available=40_000, suspended=0),
        wrote=["subscription created: first"],
    )
    for offering, units, text, credits, allocated, available, crossed in (
        ("endpoint-sensor", 400, "400 endpoint sensors", 8_000, 8_000, 32_000, []),  # 400 x 20
        ("email-sensor", 300, "300 email sensors", 1_500, 9_500, 30_500, []),  # 300 x 5
        # 1 x 25,000; and 34,500 of 40,000 are 86 %
        ("network-sensor", 1, "1 network sensor", 25_000, 34_500, 5_500, ["threshold crossed: 75 %"]),
    ):
        enabled = await stage.first.enable_allocation(DEMO, offering=offering, units=units)
        same(f"the credits of {text}", credits, enabled.allocation.credits)
        await stage.tell(
            f"{text} enabled: {credits:,}",
            enabled.balance,
            Figures(valid=40_000, grace=0, allocated=allocated, available=available, suspended=0),
            wrote=[f"allocation enabled: {offering}", *crossed],
        )


async def race(stage: Stage) -> tuple[str, str]:
    """Two services, two allocator processes, one moment. Returns what the winner and the loser asked for."""
    stage.page.chapter("A race for the last credits")
    start = asyncio.Barrier(len(RACING))
    clients = (stage.first, stage.second)
    answers = await asyncio.gather(*(_run(start, *each) for each in zip(clients, RACING, strict=True)))
    won = [each for each in zip(RACING, answers, strict=True) if not isinstance(each[1], EarmarkError)]
    same("the number of winners", 1, len(won))
    [(winner, answer)] = won
    [(loser, refused)] = [each for each in zip(RACING, answers, strict=True) if each[0] != winner]
    assert isinstance(refused, EarmarkError)
    assert not isinstance(answer, EarmarkError)
    figures = Figures(valid=40_000, grace=0, allocated=39_000, available=1_000, suspended=0)  # 34,500 + 90 x 50
    await stage.tell(
        f"Two services at once, at two allocators, want 4,500 each (90 users x 50): {winner} wins",
        answer.balance,
        figures,
        wrote=[f"allocation enabled: {winner}", "threshold crossed: 90 %"],  # 39,000 of 40,000 are 97.5 %
    )
    await stage.tell_refusal(
        f"{loser} is told what is missing",
        refused,
        # 90 x 50, of which the 1,000 that are left cover all but 3,500
        {"required": "4500", "available": "1000", "overdraftLimit": "0", "suspended": "0", "shortfall": "3500"},
        figures,
    )
    return winner, loser


async def _run(start: asyncio.Barrier, client: MessageClient, offering: str) -> EnableAllocationResponse | EarmarkError:
    await client.get_organization(DEMO)  # the way to the allocator is open
    await start.wait()
    try:
        return await client.enable_allocation(DEMO, offering=offering, units=90)
    except EarmarkError as error:
        return error


async def last_credits(stage: Stage, loser: str) -> None:
    """The loser takes what is left in two calls; an answer gets lost, and the call is sent again."""
    taken = await stage.second.enable_allocation(DEMO, offering=loser, units=10)
    await stage.tell(
        "It asks for less: 10 users, 500",  # 10 x 50
        taken.balance,
        Figures(valid=40_000, grace=0, allocated=39_500, available=500, suspended=0),
        wrote=[f"allocation enabled: {loser}"],
    )
    last = Figures(valid=40_000, grace=0, allocated=40_000, available=0, suspended=0)  # another 10 x 50
    more = await stage.second.adjust_allocation(DEMO, loser, delta_units=10, request_id="ten-more-users")
    await stage.tell(
        "Then for 10 more: the last credits",
        more.balance,
        last,
        wrote=[f"allocation adjusted: {loser}", "threshold crossed: 100 %"],
    )
    again = await stage.first.adjust_allocation(DEMO, loser, delta_units=10, request_id="ten-more-users")
    same("the answer to the same request id", more, again)
    same("its users", 20, again.allocation.units)
    await stage.tell(
        "The same request id again, at the other allocator: the same answer, 20 users",
        again.balance,
        last,
        wrote=[],
    )


async def reallocation(stage: Stage, winner: str) -> None:
    stage.page.chapter("A reallocation")
    full = Figures(valid=40_000, grace=0, allocated=40_000, available=0, suspended=0)
    try:
        await stage.first.apply_operations(
            DEMO, [Disable(allocation=winner), Enable(offering="endpoint-advanced", units=101)]
        )
        raise Mismatch("101 units of endpoint-advanced were enabled, and there are credits for 100")
    except EarmarkError as refused:
        await stage.tell_refusal(
            f"{winner} off, 101 x endpoint-advanced on, all or nothing: nothing",
            refused,
            # 101 x 45 is 4,545, and 4,500 come back
            {
                "required": "45",
                "available": "0",
                "overdraftLimit": "0",
                "suspended": "0",
                "shortfall": "45",
                "operationIndex": "1",
            },
            full,
        )
    done = await stage.first.apply_operations(
        DEMO, [Disable(allocation=winner), Enable(offering="endpoint-advanced", units=100)]
    )
    await stage.tell(
        "The same with 100, for 4,500: both at once",  # 100 x 45 = 90 x 50
        done.balance,
        full,
        wrote=[f"allocation disabled: {winner}", "allocation enabled: endpoint-advanced"],
    )
