"""The story from end to end. Every figure in it is worked out by hand; where one comes from, a comment says."""

from typing import Final

from services.admin import embedded
from services.admin.demo.check import Figures, same
from services.admin.demo.first_day import estimate, last_credits, purchase, race, reallocation
from services.admin.demo.looking_back import forecast, history, usage
from services.admin.demo.passing_time import end_of_first, end_of_grace, renewal, second_subscription
from services.admin.demo.stage import DEMO, Stage
from services.admin.verify import verify

ENTRIES: Final = 30
"""Counted through the story: 1 for the organization, 5 of the purchase, 2 of the race, 3 for the last credits, 2 of the
reallocation, 2 with the second subscription, 5 at the end of the first, 5 at the end of its grace, 5 of the renewal."""


async def tell(stage: Stage, worker: embedded.Child) -> int:
    """From the estimate to the proof; returns the number of ledger entries. `worker` is the expiry worker.

    Raises Mismatch, or EarmarkError for a call that should have succeeded.
    """
    await estimate(stage)
    await purchase(stage)
    winner, loser = await race(stage)
    await last_credits(stage, loser)
    await reallocation(stage, winner)
    await second_subscription(stage)
    await end_of_first(stage, worker)
    await end_of_grace(stage)
    await renewal(stage)
    await usage(stage, loser)
    await history(stage)
    await forecast(stage)
    return await proof(stage)


async def proof(stage: Stage) -> int:
    stage.page.chapter("The proof")
    report = await verify(stage.connection)
    same("what does not follow from the entries", [], report.problems)
    same("the organizations derived again", 1, report.organizations)
    same("the ledger entries derived again", ENTRIES, report.entries)
    organization = await stage.second.get_organization(DEMO)
    await stage.tell(
        f"Every figure is derived again from the {ENTRIES} ledger entries alone: all agree",
        organization.balance,
        Figures(valid=40_000, grace=0, allocated=40_000, available=0, suspended=0),
        wrote=[],
    )
    return report.entries
