"""What there is to see of a life over the wire, held against the model."""

import random
from typing import Any, Final

from services.ledger.rules.looking import Step
from tests.model import looking
from tests.model.lives import ALLOCATIONS, OFFERINGS
from tests.model.reading import entitlement
from tests.model.words import DAY
from tests.support import rules_looking as rules
from tests.support import wire_answers as wire
from tests.support import wire_looking as looks
from tests.support.reflected import ReflectedClient, Refusal, refusal_of
from tests.support.wire_requests import instant
from tests.support.wired_life import WiredLife

PAGE_SIZES: Final = (7, 20, 1_000)


class WiredLooks:
    """Looks at one life; each method raises AssertionError where the wire and the model differ."""

    def __init__(self, client: ReflectedClient, lived: WiredLife, seed: int) -> None:
        self._client, self._lived = client, lived
        self._dice = random.Random(seed)
        self._over: dict[tuple[Step, int], looking.Step] = {}
        """Every step of a history that was over when it was seen."""
        self._asked: list[tuple[int, int, Step]] = []

    def toss(self, seed: int) -> None:
        """Decides what is looked at from now on."""
        self._dice = random.Random(seed)

    async def look(self) -> None:
        self._lived.model.settle(self._lived.now)
        await self.look_at_usage()
        await self.look_at_entitlements()
        await self.look_ahead()
        await self.look_at_an_estimate()
        for step in Step:
            await self.look_at_history(*rules.window(self._lived.model.entries, step, 30, self._dice), step)
        await self.look_at_entries()

    async def look_back(self) -> None:
        """At the whole life, and again at every part of its history that was asked before."""
        entries = self._lived.model.entries
        first = entries[0].effective // DAY * DAY - DAY
        await self.look_at_history(first, self._lived.now // DAY * DAY + 2 * DAY, Step.DAY)
        for asked in list(self._asked):
            await self.look_at_history(*asked)
        await self.look_at_entries()

    async def look_at_usage(self) -> None:
        lived = self._lived
        answer = await self._client.call("GetUsage", name=lived.wording.parent)
        assert wire.figures(answer.balance) == lived.model.figures()
        assert wire.instant(answer.balance.as_of) == lived.now
        assert looks.usage(answer, lived.wording) == looking.usage(lived.model.state)
        subscriptions = list(lived.model.state.subscriptions.values())
        assert looks.terms(answer) == looks.model_terms(subscriptions)

    async def look_at_entitlements(self) -> None:
        lived, state = self._lived, self._lived.model.state
        allocations = self._dice.sample(ALLOCATIONS, 4)
        targets = [{"offering": lived.wording.offering(each)} for each in (*OFFERINGS, "nothing")]
        targets += [{"allocation": lived.wording.allocation(each)} for each in allocations]
        expected = [entitlement(state, each, None) for each in OFFERINGS]
        expected += [entitlement(state, None, each) for each in allocations]
        answer = await self._client.call("CheckEntitlements", parent=lived.wording.parent, targets=targets)
        results = list(answer.results)
        nothing = results.pop(len(OFFERINGS))
        assert refusal_of(nothing.status).reason == "OFFERING_NOT_FOUND"
        assert not nothing.HasField("entitlement")
        assert [looks.entitlement(each.entitlement) for each in results] == expected
        assert all(wire.instant(each.entitlement.as_of) == lived.now for each in results)
        one = self._dice.choice([each for each in targets if each != targets[len(OFFERINGS)]])
        alone = await self._client.call("CheckEntitlement", parent=lived.wording.parent, **one)
        together = list(answer.results)[targets.index(one)]
        assert alone == together.entitlement

    async def look_ahead(self) -> None:
        lived = self._lived
        for until in rules.horizons(lived.model.state, self._dice):
            sent = {"name": lived.wording.parent, "until": instant(until)}
            answer = await self._client.call("ForecastUsage", **sent)
            assert wire.figures(answer.balance) == lived.model.figures()
            theirs = looking.forecast(lived.model.forecast(lived.now, until), lived.model.figures())
            assert looks.forecast(answer, lived.wording) == theirs, until

    async def look_at_an_estimate(self) -> None:
        lived = self._lived
        lines = rules.some_lines(self._dice)
        sent = [{"offering": lived.wording.offering(each), "units": units} for each, units in lines]
        theirs = rules.model_estimate(lived.model, lines, lived.now)
        try:
            answer = await self._client.call("EstimateCredits", lines=sent, organization=lived.wording.parent)
            assert wire.figures(answer.purchase.balance) == lived.model.figures()
            ours: object = looks.estimate(answer)
        except Refusal as refused:
            ours = refused.reason, int(refused.figures["lineIndex"])
        assert ours == theirs

    async def look_at_history(self, start: int, end: int, step: Step) -> None:
        lived = self._lived
        self._asked.append((start, end, step))
        answer = await self._client.call("QueryUsageHistory", **looks.history_asked(lived.wording, start, end, step))
        assert wire.instant(answer.as_of) == lived.now
        shown = looks.history(answer)
        assert shown == looking.history(lived.model.entries, start, end, rules.MODEL_STEPS[step], lived.now)
        for each in shown:
            if not each.in_progress:
                assert self._over.setdefault((step, each.start), each) == each, "what was over has changed"

    async def look_at_entries(self) -> None:
        lived = self._lived
        asked, wanted = looks.some_filter(lived.model.entries, self._dice)
        fields = looks.entries_asked(asked, lived.wording)
        found: list[Any] = []
        token, size = "", self._dice.choice(PAGE_SIZES)
        while True:
            page = await self._client.call("ListEntries", page_size=size, page_token=token, **fields)
            found += page.entries
            token = page.next_page_token
            if not token:
                break
        shown = [looks.entry(each, lived.wording) for each in found]
        assert shown == [wire.model_entry(each) for each in wanted], asked
