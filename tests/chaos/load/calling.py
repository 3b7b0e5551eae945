"""Callers: each makes one call after the other, at times a few at once, and some of them again."""

import asyncio
import itertools
import random
from typing import Any, Final, Protocol

from tests.chaos.load.recording import Made, Recorder, Wish
from tests.chaos.load.wishing import MUTATIONS, Wisher

SHORT_SECONDS: Final = 0.3
SECONDS: Final = (1.0, 5.0)
AGAIN_AFTER_OK: Final = 0.1
AGAIN_AFTER_OPEN: Final = 0.85
REPETITIONS_MAX: Final = 3
PAUSE_SECONDS_MIN: Final = 0.005
AT_ONCE: Final = {1: 80, 2: 10, 4: 10}
"""How many calls, and how often."""
MANY_AT_ONCE: Final = {1: 40, 4: 40, 8: 20}


class Way(Protocol):
    """In which calls are sent."""

    @property
    def address(self) -> str: ...

    async def send(self, method: str, request: Any, *, actor: str, seconds: float) -> Any:
        """The answer's message, within so many seconds. Raises EarmarkError."""


class Client:
    """Whoever has a name in the histories."""

    def __init__(self, name: str, recorder: Recorder, *, one_actor: bool = False) -> None:
        """one_actor: its calls with a request id have its name as their actor; all others have one of their own."""
        self._name = name
        self._recorder = recorder
        self._one_actor = one_actor
        self._numbers = itertools.count(1)

    async def make(self, wish: Wish, way: Way, seconds: float, actor: str = "") -> Made:
        number = next(self._numbers)
        shared = self._one_actor and wish.request_id
        actor = actor or (self._name if shared else f"{self._name}.{number}")
        calling = way.send(wish.method, wish.request, actor=actor, seconds=seconds)
        return await self._recorder.call(
            wish, calling, client=self._name, number=number, actor=actor, address=way.address, seconds=seconds
        )


class Caller:
    """Calls until it is told to stop. Its choices are by its own chance and the answers to its own calls."""

    def __init__(
        self,
        client: Client,
        wisher: Wisher,
        chance: random.Random,
        ways: list[Way],
        *,
        at_once: dict[int, int],
        seconds_per_call: float,
    ) -> None:
        """ways: that of its calls, and those of its repetitions."""
        self._client = client
        self._wisher = wisher
        self._chance = chance
        self._ways = ways
        self._at_once = at_once
        self._seconds_per_call = seconds_per_call

    async def run(self, stop: asyncio.Event) -> None:
        """What is under way when it is told to stop is finished."""
        clock = asyncio.get_running_loop().time
        while not stop.is_set():
            begun = clock()
            made = await self._some()
            for each in made:
                made += await self._again(each, stop)
            pause = len(made) * self._seconds_per_call * self._chance.uniform(0.5, 1.5) - (clock() - begun)
            await _unless(stop, max(PAUSE_SECONDS_MIN, pause))

    async def _some(self) -> list[Made]:
        """Calls of one organization that are made at once, mostly a single one."""
        organization = self._wisher.organization()
        number = self._chance.choices(list(self._at_once), list(self._at_once.values()))[0]
        wishes = [(self._wisher.wish(organization), self._seconds()) for _ in range(number)]
        made = await asyncio.gather(*(self._client.make(wish, self._ways[0], seconds) for wish, seconds in wishes))
        for each in made:
            self._wisher.learn(each)
        return list(made)

    async def _again(self, made: Made, stop: asyncio.Event) -> list[Made]:
        """The same call with the same request id, elsewhere, if what became of it is open, and at times if it is ok."""
        again: list[Made] = []
        if not made.wish.request_id or made.wish.method not in MUTATIONS:
            return again
        while len(again) < REPETITIONS_MAX and self._chance.random() < _likely(made) and not stop.is_set():
            way = self._ways[(len(again) + 1) % len(self._ways)]
            made = await self._client.make(made.wish, way, self._seconds())
            again.append(made)
        return again

    def _seconds(self) -> float:
        return SHORT_SECONDS if self._chance.random() < 0.1 else self._chance.uniform(*SECONDS)


def _likely(made: Made) -> float:
    """That it is made again."""
    return {"ok": AGAIN_AFTER_OK, "open": AGAIN_AFTER_OPEN, "refused": 0.0}[made.outcome]


async def _unless(stop: asyncio.Event, seconds: float) -> None:
    """Pacing: callers have something else to do in between."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
