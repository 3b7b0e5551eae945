"""Faults of Redis."""

import asyncio

from tests.chaos.faults.kind import Chances, Doing, Kind, seconds_between
from tests.chaos.history import Fault
from tests.chaos.world import World


async def kill_redis(world: World, chances: Chances) -> Fault:
    doing = Doing("redis_killed", "Redis", "redis")
    links = sum(len(each.redis.links) for each in world.services)
    await world.redis.kill()
    await asyncio.sleep(chances["away_seconds"])
    await world.redis.start()
    return doing.ended(links, f"{links} connections of allocators and workers ended")


async def pause_redis(world: World, chances: Chances) -> Fault:
    """Its connections stay, and nothing is answered; what is sent is carried out later."""
    doing = Doing("redis_paused", "Redis", "redis")
    before = _passed(world)
    world.redis.pause()
    await asyncio.sleep(chances["away_seconds"])
    size = _passed(world) - before
    world.redis.resume()
    return doing.ended(size, f"{size} bytes were sent to it meanwhile")


def _passed(world: World) -> int:
    return sum(each.redis.bytes_passed for each in world.services)


REDIS = (
    Kind("redis_killed", "redis", kill_redis, lambda random: {"away_seconds": seconds_between(random, 0.1, 3.0)}),
    Kind("redis_paused", "redis", pause_redis, lambda random: {"away_seconds": seconds_between(random, 0.5, 4.0)}),
)
