"""What time does in the story: an overlapping subscription, an end, its grace, a suspension, a renewal."""

from earmark import EarmarkError
from services.admin import embedded
from services.admin.demo.check import Figures, Mismatch, same
from services.admin.demo.stage import DEMO, Stage, held


async def second_subscription(stage: Stage) -> None:
    stage.page.chapter("A second subscription")
    await stage.advance_to(200)
    bought = await stage.first.create_subscription(
        DEMO, subscription="second", credits=12_000, end_time=stage.at(200 + 365)
    )
    figures = Figures(valid=52_000, grace=0, allocated=40_000, available=12_000, suspended=0)  # 40,000 + 12,000
    await stage.tell(
        "Subscription second, beside first: 12,000 credits for 365 days",
        bought.balance,
        figures,
        wrote=["subscription created: second"],
    )
    await stage.advance_to(275)
    await stage.tell(
        "Nobody calls: the expiry worker settles, and reminds",
        await stage.settled_by_worker(),
        figures,
        wrote=["ending soon: first, 90 days to the end of its term, not renewed"],  # 365 - 275
    )


async def end_of_first(stage: Stage, worker: embedded.Child) -> None:
    stage.page.chapter("The first one ends")
    figures = Figures(valid=12_000, grace=40_000, allocated=40_000, available=-28_000, suspended=0)
    with held(worker):
        await stage.advance_to(365)
        same("the revision before anybody calls", stage.revision, (await stage.stored_balance()).revision)
        await stage.tell(
            "The worker is held still: a call at this instant settles; first goes on in grace",
            await stage.balance(),
            figures,
            wrote=[
                "ending soon: first, 30 days to the end of its term, not renewed",
                "ending soon: first, 7 days to the end of its term, not renewed",
                "ending soon: first, 1 day to the end of its term, not renewed",
                "subscription ended: first",
                "threshold crossed: 100 %",  # 40,000 of 12,000; at 40,000 of 52,000, 77 %, it was armed again
            ],
        )
    same("the instant at which it ended", stage.at(365), await stage.took_effect("SUBSCRIPTION_ENDED"))
    try:
        await stage.first.adjust_allocation(DEMO, "endpoint-sensor", delta_units=1)
        raise Mismatch("credits in grace paid for one more endpoint sensor")
    except EarmarkError as refused:
        await stage.tell_refusal(
            "One more endpoint sensor: grace pays for nothing more",
            refused,
            # 40,000 + 20 would need 28,020 more than the 12,000 that are valid
            {"required": "20", "available": "-28000", "overdraftLimit": "0", "suspended": "0", "shortfall": "28020"},
            figures,
        )


async def end_of_grace(stage: Stage) -> None:
    stage.page.chapter("Its grace runs out")
    await stage.advance_to(395)
    # 12,000 carry the 8,000, the 1,500 and the 1,000 that were enabled first; 4,500 and 25,000 do not fit
    await stage.tell(
        "Nobody calls: the worker suspends what 12,000 cannot carry",
        await stage.settled_by_worker(),
        Figures(valid=12_000, grace=0, allocated=10_500, available=1_500, suspended=29_500),
        wrote=[
            "ending soon: first, 7 days to the end of its grace, not renewed",
            "ending soon: first, 1 day to the end of its grace, not renewed",
            "allocation suspended: endpoint-advanced",
            "allocation suspended: network-sensor",
            "subscription expired: first",
        ],
    )
    same("the instant at which it expired", stage.at(395), await stage.took_effect("SUBSCRIPTION_EXPIRED"))


async def renewal(stage: Stage) -> None:
    stage.page.chapter("A renewal")
    await stage.advance_to(400)
    renewed = await stage.first.create_subscription(
        DEMO, subscription="renewal", renews="first", credits=26_000, end_time=stage.at(400 + 365)
    )
    name = f"organizations/{DEMO}/allocations"
    same("what resumed", [f"{name}/network-sensor"], list(renewed.consequences.resumed.names))
    same("what waits", [f"{name}/endpoint-advanced"], list(renewed.consequences.waiting.names))
    await stage.tell(
        "first is renewed for 26,000: what fits resumes, the answer names what waits",
        renewed.balance,
        # 12,000 + 26,000; 10,500 + 25,000; 4,500 more than the 2,500 that are left
        Figures(valid=38_000, grace=0, allocated=35_500, available=2_500, suspended=4_500),
        wrote=["subscription created: renewal", "allocation resumed: network-sensor"],
    )
    amended = await stage.first.update_subscription(DEMO, "renewal", credits=28_000)
    await stage.tell(
        "The renewal is raised to 28,000: nothing waits any more",
        amended.balance,
        Figures(valid=40_000, grace=0, allocated=40_000, available=0, suspended=0),  # 35,500 + 4,500
        wrote=[
            "subscription amended: renewal",
            "allocation resumed: endpoint-advanced",
            "threshold crossed: 100 %",
        ],
    )
