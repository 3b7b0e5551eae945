"""Faults of Earmark's own processes."""

import asyncio
from random import Random
from typing import Any

from tests.chaos.faults.kind import CATCH_SECONDS, Chances, Doing, Kind, seconds_between
from tests.chaos.history import Fault
from tests.chaos.server import Service
from tests.chaos.statements import Moment
from tests.chaos.world import World

MOMENTS = [each.name for each in Moment]


def _draw_kill(random: Random) -> dict[str, Any]:
    return {
        "which": random.randrange(2),
        "moment": random.choice(MOMENTS),
        "away_seconds": seconds_between(random, 0.0, 1.0),
    }


async def _kill(world: World, victim: Service, disturbs: str, chances: Chances) -> Fault:
    doing = Doing(f"{disturbs}_killed", victim.name, disturbs)
    moment = Moment[chances["moment"]]

    def kill() -> None:
        doing.began()
        victim.kill()

    hit = await victim.postgres.catch_commit(moment, kill, CATCH_SECONDS)
    if not hit.commits:
        return doing.missed(f"it committed nothing within {CATCH_SECONDS:.0f} s")
    await victim.gone()
    await asyncio.sleep(chances["away_seconds"])
    await world.start(victim)
    return doing.ended(hit.commits, f"{moment.value}: {hit}")


async def kill_allocator(world: World, chances: Chances) -> Fault:
    return await _kill(world, world.allocators[chances["which"]], "allocator", chances)


async def kill_worker(world: World, chances: Chances) -> Fault:
    return await _kill(world, world.workers[chances["which"]], "worker", chances)


async def restart_by_turns(world: World, chances: Chances) -> Fault:
    """As a release rolls out: one allocator after the other is asked to leave, and is there again before the next."""
    doing = Doing("rolling_restart", "both allocators", "allocator")
    hits, codes = 0, []
    for each in world.allocators:
        hits += world.calls_in_flight()
        codes.append(await each.stop())
        await world.start(each)
        await asyncio.sleep(chances["between_seconds"])
    if codes != [0, 0]:
        world.problems.append(f"allocators that were asked to leave ended with {codes}")
    return doing.ended(hits, f"{hits} calls in flight, at the callers' last counts before each was asked to leave")


PROCESSES = (
    Kind("allocator_killed", "processes", kill_allocator, _draw_kill),
    Kind("worker_killed", "processes", kill_worker, _draw_kill),
    Kind(
        "rolling_restart",
        "processes",
        restart_by_turns,
        lambda random: {"between_seconds": seconds_between(random, 0.0, 0.5)},
    ),
)
