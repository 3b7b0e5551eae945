"""The ledger's rules and the honest model live the same life; after every step they must agree."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import TypeVar

from services.ledger.opening import open_book, write_book
from services.ledger.rules.answers import Answer
from services.ledger.rules.book import Book, NotLoaded, Shelf
from services.ledger.rules.commands import Call, CreateOrganization
from services.ledger.rules.decide import decide
from services.ledger.rules.refusal import Refused
from services.ledger.rules.settle import settle
from services.ledger.transaction import needs_settling
from tests.model.honest import HonestOrganization
from tests.model.lives import BEGIN, Step, small_catalogue, take
from tests.model.words import Catalogue, Malformed
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
        if state is None or not needs_settling(state, instant(now)):
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

    def _open(self, calls: Sequence[Call], act: Callable[[Book], T]) -> tuple[Book, T]:
        state = self.tables.organization
        shelves: frozenset[Shelf] = frozenset()
        while True:
            book = run(open_book(self.tables.connection, ORGANIZATION, state, calls, shelves))
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

    def _compare_entries(self) -> None:
        ours = self.rules.tables.entries[self.compared :]
        theirs = self.model.entries[self.compared :]
        assert [entry_shown(each) for each in ours] == [model_entry(each) for each in theirs]
        self.compared += len(ours)


def live(steps: Sequence[Step]) -> None:
    both = SideBySide()
    for step in steps:
        both.take(step)


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
