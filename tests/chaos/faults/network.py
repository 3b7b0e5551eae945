"""Faults of the ways between the processes."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Any, Final

from tests.chaos.faults.kind import CATCH_SECONDS, Chances, Doing, Kind, seconds_between
from tests.chaos.history import Fault
from tests.chaos.relay import BOTH, Relay, Way
from tests.chaos.server import Service
from tests.chaos.statements import Moment
from tests.chaos.world import World

MOMENTS = [each.name for each in Moment]
WAYS: Final = {"both": BOTH, **{way.name: frozenset({way}) for way in Way}}
PLACES: Final = {
    "callers": ("network",),
    "allocator_postgres": ("network", "allocator"),
    "worker_postgres": ("network", "worker"),
    "redis": ("network", "redis"),
}
"""Between whom, and what does not work there meanwhile."""


def _relay(world: World, place: str, which: int) -> Relay:
    """`which` is 0 to 3; of the allocators, or the workers, it takes the one or the other."""
    allocator, worker = world.allocators[which % 2], world.workers[which % 2]
    if place == "callers":
        assert allocator.door is not None
        return allocator.door
    if place == "redis":
        return world.services[which].redis
    return allocator.postgres if place == "allocator_postgres" else worker.postgres


def _doing(kind: str, place: str, relay: Relay) -> Doing:
    return Doing(f"{kind}_{place}", relay.name, *PLACES[place])


async def cut(place: str, world: World, chances: Chances) -> Fault:
    """All its connections at once, in the middle of something; for a while there may be no new ones."""
    relay = _relay(world, place, chances["which"])
    doing = _doing("cut", place, relay)
    done = await relay.cut_at_next(Way[chances["way"]], CATCH_SECONDS)
    if not done.size:
        return doing.missed(f"nothing went {Way[chances['way']].value} within {CATCH_SECONDS:.0f} s")
    doing.began()
    if chances["away_seconds"]:
        relay.shut()
        await asyncio.sleep(chances["away_seconds"])
        relay.open()
    return doing.ended(done.size, f"{done.size} bytes lost on the way, {done.links} connections cut")


async def stall(place: str, world: World, chances: Chances) -> Fault:
    """Nothing is lost, and nothing arrives."""
    relay = _relay(world, place, chances["which"])
    doing = _doing("stalled", place, relay)
    relay.stall(WAYS[chances["ways"]])
    try:
        await asyncio.sleep(chances["away_seconds"])
        size = relay.bytes_waiting
    finally:
        relay.resume()
    return doing.ended(size, f"{size} bytes held back for up to {chances['away_seconds']} s")


async def slow(place: str, world: World, chances: Chances) -> Fault:
    relay = _relay(world, place, chances["which"])
    doing = _doing("slow", place, relay)
    before = relay.bytes_slowed
    relay.delay_seconds = chances["delay_seconds"]
    try:
        await asyncio.sleep(chances["away_seconds"])
    finally:
        relay.delay_seconds = 0.0
    size = relay.bytes_slowed - before
    return doing.ended(size, f"{size} bytes came {1000 * chances['delay_seconds']:.0f} ms later, each piece")


async def cut_commit(world: World, chances: Chances) -> Fault:
    """Whoever sent it does not know what became of it."""
    victim: Service = world.services[chances["which"]]
    doing = Doing("commit_cut", victim.postgres.name, "network", "worker" if victim.door is None else "allocator")
    moment = Moment[chances["moment"]]

    def act() -> None:
        doing.began()
        victim.postgres.cut()

    hit = await victim.postgres.catch_commit(moment, act, CATCH_SECONDS)
    if not hit.commits:
        return doing.missed(f"it committed nothing within {CATCH_SECONDS:.0f} s")
    return doing.ended(hit.commits, f"{moment.value}: {hit}")


def _draw_cut(random: Random) -> dict[str, Any]:
    return {
        "which": random.randrange(4),
        "way": random.choice(list(Way)).name,
        "away_seconds": random.choice([0.0, seconds_between(random, 0.2, 1.5)]),
    }


def _draw_stall(random: Random) -> dict[str, Any]:
    return {
        "which": random.randrange(4),
        "ways": random.choice(list(WAYS)),
        "away_seconds": random.choice([seconds_between(random, 0.3, 3.0), seconds_between(random, 5.2, 6.5)]),
    }


def _draw_slow(random: Random) -> dict[str, Any]:
    return {
        "which": random.randrange(4),
        "delay_seconds": seconds_between(random, 0.01, 0.2),
        "away_seconds": seconds_between(random, 1.0, 3.5),
    }


def _draw_commit_cut(random: Random) -> dict[str, Any]:
    return {"which": random.choice([0, 1, 0, 1, 2, 3]), "moment": random.choice(MOMENTS)}


Drawing = Callable[[Random], dict[str, Any]]
Doer = Callable[[str, World, Chances], Awaitable[Fault]]
WHAT: Final[dict[str, tuple[Doer, Drawing]]] = {
    "cut": (cut, _draw_cut),
    "stalled": (stall, _draw_stall),
    "slow": (slow, _draw_slow),
}

NETWORK = (
    Kind("commit_cut", "way to Postgres", cut_commit, _draw_commit_cut),
    *(
        Kind(
            f"{what}_{place}",
            "way to Postgres" if place.endswith("postgres") else f"way to {place}",
            partial(do, place),
            draw,
            goes_beside=what == "slow" or place == "callers",
        )
        for what, (do, draw) in WHAT.items()
        for place in PLACES
    ),
)
