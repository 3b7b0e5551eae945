"""The looks of the machine that Hypothesis drives: what is seen of the organization, as it is, was and will be."""

import random

from hypothesis import strategies as st
from hypothesis.stateful import rule

from services.ledger.rules.looking import Step as HistoryStep
from tests.model import looking
from tests.model.lives import Step
from tests.model.words import DAY
from tests.support import rules_looking as rules
from tests.support import wire_answers as wire
from tests.support import wire_looking
from tests.support.stateful import LivedBoth
from tests.support.wire_requests import instant

SEEDS = st.integers(0, 99)
"""Of what exactly is looked at."""


class LookedAt(LivedBoth):
    @rule()
    def read(self) -> None:
        self.take(Step(0, "settle"))

    @rule(what=st.sampled_from(("entitlements", "history", "entries", "an estimate", "the forecast")), seed=SEEDS)
    def look_at(self, what: str, seed: int) -> None:
        self.looks.toss(seed)
        self.do(self._look_at(what, random.Random(seed)))

    async def _look_at(self, what: str, dice: random.Random) -> None:
        await self.lived.take(Step(0, "settle"), 0)
        match what:
            case "entitlements":
                await self.looks.look_at_entitlements()
            case "history":
                for by in HistoryStep:
                    await self.looks.look_at_history(*rules.window(self.lived.model.entries, by, 30, dice), by)
            case "entries":
                await self.looks.look_at_entries()
            case "an estimate":
                await self.looks.look_at_an_estimate()
            case "the forecast":
                await self.looks.look_ahead()

    @rule(days=st.integers(0, 400))
    def see_the_forecast_come_true(self, days: int) -> None:
        self.take(Step(0, "settle"))
        self.do(self._comes_true(self.now + days * DAY))

    async def _comes_true(self, until: int) -> None:
        parent = self.lived.wording.parent
        told = await self.world.client.call("ForecastUsage", name=parent, until=instant(until))
        before = wire.figures(told.balance)
        await self.lived.take(Step(until - self.now, "settle"), 0)
        after = wire.figures((await self.world.client.call("GetOrganization", name=parent)).balance)
        written = self.lived.model.entries[before["revision"] :]
        foretold = wire_looking.forecast(told, self.lived.wording)
        assert foretold == looking.forecast(written, before)
        last = foretold.points[-1][1] if foretold.points else tuple(before[each] for each in wire_looking.SUMS)
        assert last == tuple(after[each] for each in wire_looking.SUMS)
