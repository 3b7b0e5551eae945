"""Faults that come while commits hang, since their standby is gone."""

import asyncio
from random import Random
from typing import Any

from tests.chaos.faults.kind import CATCH_SECONDS, Chances, Doing, Kind, seconds_between
from tests.chaos.history import Fault
from tests.chaos.statements import Moment, Talk
from tests.chaos.world import World


def _draw_cut(random: Random) -> dict[str, Any]:
    return {"which": random.randrange(2), "away_seconds": seconds_between(random, 5.5, 7.5)}


async def cut_hanging_commit(world: World, chances: Chances) -> Fault:
    """Who sent it asks what became of it while it waits, invisible, with the row locked; then it goes through."""
    victim = world.allocators[chances["which"]]
    doing = Doing("commit_cut_hanging", victim.postgres.name, "postgres", "allocator")
    await world.with_pair(world.pair.pause_standby)

    def act() -> None:
        """Its other connections live on: over those it can ask."""
        for each in list(victim.postgres.links):
            if isinstance(each, Talk) and each.is_committing:
                each.cut()

    hit = await victim.postgres.catch_commit(Moment.SENT, act, CATCH_SECONDS)
    if hit.commits:
        await asyncio.sleep(chances["away_seconds"])
    await world.with_pair(world.pair.resume_standby)
    await world.with_pair(world.pair.await_sync)
    if not hit.commits:
        return doing.missed(f"it committed nothing within {CATCH_SECONDS:.0f} s")
    return doing.ended(hit.commits, f"cut off for {chances['away_seconds']} s while it hung: {hit}")


def _draw_loss(random: Random) -> dict[str, Any]:
    return {"away_seconds": seconds_between(random, 1.5, 3.0)}


async def lose_both(world: World, chances: Chances) -> Fault:
    """First the standby, then the primary; the standby is promoted as it was: what hung is undone."""
    doing = Doing("both_lost", "standby, then primary", "postgres")
    await world.with_pair(world.pair.lose_standby)
    await world.commit_in_flight(CATCH_SECONDS)
    await asyncio.sleep(chances["away_seconds"])
    waiting = world.in_flight
    await world.with_pair(world.pair.crash_primary)
    await world.with_pair(world.pair.promote_standby)
    world.point_to_primary()
    await world.with_pair(world.pair.seed_standby)
    return doing.ended(waiting.commits, f"undone with the primary: {waiting}")


HANGING = (
    Kind("commit_cut_hanging", "standby", cut_hanging_commit, _draw_cut),
    Kind("both_lost", "failover", lose_both, _draw_loss),
)
