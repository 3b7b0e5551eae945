"""The ledger's rules and the honest model live the same life; after every step they must agree."""

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, TypeVar

from msgspec.structs import replace

from services.ledger.opening import open_book, read_rows_of, write_book
from services.ledger.rules.answers import Answer
from services.ledger.rules.book import Book, NotLoaded, Shelf
from services.ledger.rules.commands import Call, CreateOrganization
from services.ledger.rules.decide import decide
from services.ledger.rules.forecasting import Draft, Forecast, forecast
from services.ledger.rules.looking import Step as HistoryStep
from services.ledger.rules.model import Organization
from services.ledger.rules.refusal import Refused
from services.ledger.rules.settle import settle
from tests.model import looking
from tests.model.honest import HonestOrganization
from tests.model.lives import ALLOCATIONS, BEGIN, OFFERINGS, Step, small_catalogue, take
from tests.model.reading import entitlement
from tests.model.words import DAY, Catalogue, Malformed
from tests.support import rules_looking as rules
from tests.support.memory_store import Tables, instant, run
from tests.support.showing import (
    Shown,
    entry_shown,
    malformed,
    model_entry,
    model_verdicts,
    verdict_shown,
)
from tests.support.translating import calls_of

T = TypeVar("T")
Verdict = Answer | Refused

CATALOGUE_STEPS = ("settle", "change_price", "retire")
ORGANIZATION = "acme"


class Rules:
    """The ledger's rules with rows in memory; the book is opened and written for each step as for a transaction."""

    def __init__(self, catalogue: Catalogue, begin: int) -> None:
        self.tables = Tables(catalogue)
        self.carry_out([Call(CreateOrganization())], begin)

    def settle(self, now: int) -> None:
        """As every transaction begins: where something is due, and only then."""
        state = self.tables.organization
        if state is None or not state.is_due(instant(now)):
            return
        book, _ = self._open([], lambda book: settle(book, instant(now)))
        assert book.entries, "what is due writes something, or it would be due for ever"
        self._write(book, now)

    def carry_out(self, calls: Sequence[Call], now: int) -> list[Verdict]:
        book, verdicts = self._open(calls, lambda book: [_verdict(book, call, now) for call in calls])
        self._write(book, now)
        return verdicts

    def rehearse(self, calls: Sequence[Call], now: int) -> list[Verdict]:
        """As with validate_only: ids are neither read nor kept, and nothing is written."""
        calls = [Call(each.command) for each in calls]
        return self._open(calls, lambda book: [_verdict(book, call, now) for call in calls])[1]

    def forecast(self, now: int, until: int) -> Forecast:
        """Settled up to now; nothing is written."""
        state = self.tables.organization
        assert state is not None
        as_of_now = replace(state, settled_time=instant(now))
        return self._open([], lambda draft: forecast(draft, instant(until)), as_of_now, Draft)[1]

    def _open(
        self,
        calls: Sequence[Call],
        act: Callable[[Any], T],
        state: Organization | None = None,
        kind: type[Book] = Book,
    ) -> tuple[Book, T]:
        state = state or self.tables.organization
        rows = run(read_rows_of(self.tables.connection, ORGANIZATION, calls))
        shelves: frozenset[Shelf] = frozenset()
        while True:
            book = run(open_book(self.tables.connection, ORGANIZATION, state, rows, shelves, kind))
            try:
                return book, act(book)
            except NotLoaded as missing:
                shelves |= {missing.shelf}

    def _write(self, book: Book, now: int) -> None:
        existed = self.tables.organization is not None
        run(write_book(self.tables.connection, book, existed=existed, now=instant(now)))


def _verdict(book: Book, call: Call, now: int) -> Verdict:
    try:
        return decide(book, ORGANIZATION, call, instant(now))
    except Refused as refused:
        return refused


class SideBySide:
    def __init__(self, begin: int = BEGIN) -> None:
        self.now = begin
        self.catalogue = small_catalogue(begin)
        self.model = HonestOrganization(self.catalogue, begin)
        self.rules = Rules(self.catalogue, begin)
        self.compared = 0

    def take(self, step: Step) -> None:
        """Both take the step; raises AssertionError where they come to differ."""
        self.now += step.wait
        self.model.settle(self.now)
        self.rules.settle(self.now)
        self._compare_entries()
        answer = take(self.model, self.catalogue, self.now, step)
        if step.call in CATALOGUE_STEPS or isinstance(answer, Malformed):
            return
        calls = calls_of(step, malformed(answer))
        ask = self.rules.rehearse if step.arguments.get("validate_only") else self.rules.carry_out
        verdicts = ask(calls, self.now)
        assert [verdict_shown(each) for each in verdicts] == model_verdicts(step, answer)
        self._compare_entries()

    def look(self, dice: random.Random) -> None:
        """Both are asked what there is to see; raises AssertionError where they differ."""
        tables, model, now = self.rules.tables, self.model, self.now
        assert rules.usage_shown(tables, now) == looking.usage(model.state)
        for offering in OFFERINGS:
            ours = rules.entitlement_shown(tables, now, "offering", offering)
            assert ours == entitlement(model.state, offering, None), offering
        for allocation in dice.sample(ALLOCATIONS, 4):
            ours = rules.entitlement_shown(tables, now, "allocation", allocation)
            assert ours == entitlement(model.state, None, allocation), allocation
        for until in rules.horizons(model.state, dice):
            theirs = looking.forecast(model.forecast(now, until), model.figures())
            assert rules.forecast_shown(self.rules.forecast(now, until)) == theirs, until
        lines = rules.some_lines(dice)
        assert rules.estimate_shown(tables, lines, now) == rules.model_estimate(model, lines, now), lines
        for step, steps in ((HistoryStep.HOUR, 30), (HistoryStep.DAY, 30)):
            self._compare_history(*rules.window(model.entries, step, steps, dice), step)

    def look_back(self) -> None:
        """As `look`, at every day of the life."""
        first = self.model.entries[0].effective // DAY * DAY
        self._compare_history(first - DAY, self.now // DAY * DAY + 2 * DAY, HistoryStep.DAY)

    def _compare_history(self, start: int, end: int, step: HistoryStep) -> None:
        ours = rules.history_shown(self.rules.tables, start, end, step, self.now)
        assert ours == looking.history(self.model.entries, start, end, rules.MODEL_STEPS[step], self.now)

    def _compare_entries(self) -> None:
        ours = self.rules.tables.entries[self.compared :]
        theirs = self.model.entries[self.compared :]
        assert [entry_shown(each) for each in ours] == [model_entry(each) for each in theirs]
        self.compared += len(ours)


def live(steps: Sequence[Step]) -> None:
    both = SideBySide()
    for number, step in enumerate(steps):
        both.take(step)
        both.look(random.Random(number))
    both.look_back()


def settled_in_parts(rules: Rules, begin: int, now: int) -> tuple[list[Shown], list[Shown]]:
    """What settling writes from `begin` to `now` at once, and in three parts, but for when it was recorded."""
    written = []
    for instants in ([now], [begin + (now - begin) // 3, begin + (now - begin) // 2, now]):
        copied = deepcopy(rules)
        known = len(copied.tables.entries)
        for each in instants:
            copied.settle(each)
        shown = [entry_shown(each) for each in copied.tables.entries[known:]]
        written.append([{**each, "recorded": 0} for each in shown])
    return written[0], written[1]
