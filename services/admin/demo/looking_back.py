"""The end of the story: what there is to see of it, and what comes if nobody calls."""

from datetime import UTC, timedelta
from typing import Final

from earmark import names
from earmark.cli import history_show, usage_show
from services.admin.demo.check import same
from services.admin.demo.stage import DEMO, Stage

DAY: Final = timedelta(days=1)


async def usage(stage: Stage, loser: str) -> None:
    stage.page.chapter("What there is to see", steps=False)
    seen = await stage.second.get_usage(DEMO)
    same(
        "the credits by offering",
        {
            "endpoint-sensor": 8_000,  # 400 x 20
            "email-sensor": 1_500,  # 300 x 5
            "network-sensor": 25_000,
            "endpoint-advanced": 4_500,  # 100 x 45
            loser: 1_000,  # 20 x 50
        },
        {names.id_of(each.offering): each.enabled_credits for each in seen.offerings if each.enabled_allocations},
    )
    stage.page.screen(f"earmark usage {DEMO}", usage_show.details(seen))


async def history(stage: Stage) -> None:
    start = stage.start.replace(hour=0, minute=0, second=0, microsecond=0)
    told = await stage.second.query_usage_history(DEMO, start=start, end=start + 401 * DAY)
    days = {(each.start_time.ToDatetime(tzinfo=UTC) - start).days: each for each in told.steps}
    # at the end of these days: before and with the second one, in grace, without the first one, and renewed
    for day, valid, allocated in (
        (199, 40_000, 40_000),
        (200, 52_000, 40_000),
        (364, 52_000, 40_000),
        (365, 12_000, 40_000),
        (395, 12_000, 10_500),
        (400, 40_000, 40_000),
    ):
        figures = days[day].valid_credits, days[day].allocated_credits
        same(f"valid and allocated on day {day}", (valid, allocated), figures)
    stage.page.screen(f"earmark history {DEMO} --from {start:%Y-%m-%d}", history_show.history(told, DAY, whole=True))


async def forecast(stage: Stage) -> None:
    until = stage.at(600)
    told = await stage.second.forecast_usage(DEMO, until=until)
    same(
        "what comes if nobody calls: (valid, in grace, allocated, suspended) from a day on",
        {
            565: (28_000, 12_000, 40_000, 0),  # second ends: its 12,000 carry on in grace
            # 28,000 carry the 8,000, the 1,500, the 1,000 and the 4,500; the 25,000 do not fit
            595: (28_000, 0, 15_000, 25_000),
        },
        {
            (each.time.ToDatetime(tzinfo=UTC) - stage.start).days: (
                each.valid_credits,
                each.grace_credits,
                each.allocated_credits,
                each.suspended_credits,
            )
            for each in told.points
        },
    )
    same("what is suspended first", ["network-sensor"], [names.id_of(each) for each in told.suspended.names])
    stage.page.screen(f"earmark forecast {DEMO} --until {until:%Y-%m-%d}", history_show.forecast(told, until))
