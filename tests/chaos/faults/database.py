"""Faults of Postgres and its standby."""

import asyncio
from random import Random
from typing import Any

from tests.chaos.faults.kind import CATCH_SECONDS, Chances, Doing, Kind, seconds_between
from tests.chaos.history import Fault
from tests.chaos.statements import InFlight
from tests.chaos.world import World


def _draw_crash(random: Random) -> dict[str, Any]:
    return {"commits_hang": random.random() < 0.7, "away_seconds": seconds_between(random, 0.0, 1.0)}


def _draw_without_standby(random: Random) -> dict[str, Any]:
    is_long = random.random() < 0.4
    return {"away_seconds": seconds_between(random, *((5.3, 7.0) if is_long else (0.5, 3.0)))}


async def _in_mid_commit(world: World, *, hang: bool) -> None:
    """Returns as soon as a commit is in flight; with `hang`, all that begin from now on stay so."""
    if hang:
        await world.with_pair(world.pair.pause_standby)
    await world.commit_in_flight(CATCH_SECONDS)


async def _ended(doing: Doing, world: World, before: InFlight, more: str = "") -> Fault:
    await asyncio.sleep(0)
    lost = world.unanswered - before
    return doing.ended(lost.statements, f"left without an answer: {lost}{more}")


async def crash_postgres(world: World, chances: Chances) -> Fault:
    """With commits that hang, what they wrote is there after the restart, though nobody was told so."""
    doing = Doing("postgres_crashed", "primary", "postgres")
    await _in_mid_commit(world, hang=chances["commits_hang"])
    before = world.unanswered
    await world.with_pair(world.pair.crash_primary)
    await asyncio.sleep(chances["away_seconds"])
    await world.with_pair(world.pair.start_primary)
    await world.with_pair(world.pair.resume_standby)
    await world.with_pair(world.pair.await_sync)
    return await _ended(doing, world, before)


async def kill_backend(world: World, chances: Chances) -> Fault:
    """Postgres throws everybody out, and recovers by itself."""
    doing = Doing("backend_killed", "primary", "postgres")
    await _in_mid_commit(world, hang=chances["commits_hang"])
    before = world.unanswered
    await world.with_pair(world.pair.crash_backend)
    await world.with_pair(world.pair.resume_standby)
    await world.with_pair(world.pair.await_sync)
    return await _ended(doing, world, before)


async def lose_primary(world: World, chances: Chances) -> Fault:
    """With commits that hang, what they wrote may be lost with the primary: nobody may have been told of it."""
    doing = Doing("primary_lost", "primary", "postgres")
    await _in_mid_commit(world, hang=chances["commits_hang"])
    before = world.unanswered
    await world.with_pair(world.pair.crash_primary)
    await asyncio.sleep(chances["away_seconds"])
    await world.with_pair(world.pair.promote_standby)
    world.point_to_primary()
    await world.with_pair(world.pair.seed_standby)
    return await _ended(doing, world, before, "; the standby was promoted and a new one seeded")


async def lose_standby(world: World, chances: Chances) -> Fault:
    doing = Doing("standby_lost", "standby", "postgres")
    await world.with_pair(world.pair.lose_standby)
    await asyncio.sleep(chances["away_seconds"])
    waiting = world.in_flight
    await world.with_pair(world.pair.start_standby)
    return doing.ended(waiting.commits, f"after {chances['away_seconds']} s: {waiting}")


async def pause_standby(world: World, chances: Chances) -> Fault:
    doing = Doing("standby_paused", "standby", "postgres")
    await world.with_pair(world.pair.pause_standby)
    await asyncio.sleep(chances["away_seconds"])
    waiting = world.in_flight
    await world.with_pair(world.pair.resume_standby)
    await world.with_pair(world.pair.await_sync)
    return doing.ended(waiting.commits, f"after {chances['away_seconds']} s: {waiting}")


DATABASE = (
    Kind("postgres_crashed", "database", crash_postgres, _draw_crash),
    Kind("backend_killed", "database", kill_backend, _draw_crash),
    Kind("primary_lost", "failover", lose_primary, _draw_crash),
    Kind("standby_lost", "standby", lose_standby, _draw_without_standby),
    Kind("standby_paused", "standby", pause_standby, _draw_without_standby),
)
