"""What time does: the credits of every instant, reckoned from the terms alone."""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from tests.chaos.checks.books import Books
from tests.chaos.checks.claims import MUTATIONS, words_of
from tests.chaos.checks.ledgers import Ledger, Run
from tests.chaos.checks.ordering import READS
from tests.chaos.checks.values import micros
from tests.chaos.checks.verdict import Verdict
from tests.chaos.history import Call, Entry

INSTANTS: Final = {
    "SUBSCRIPTION_STARTED": lambda term: term.start,
    "SUBSCRIPTION_ENDED": lambda term: term.end,
    "SUBSCRIPTION_EXPIRED": lambda term: term.grace_end,
}
"""When each of these takes effect, to the microsecond."""


@dataclass(frozen=True, slots=True)
class Term:
    """Of a subscription, in microseconds."""

    credits: int
    start: int
    end: int
    grace_end: int
    cancelled: bool
    written: str
    """The state that the entry says."""

    def state(self, now: int) -> str:
        if self.cancelled:
            return "CANCELLED"
        if now < self.start:
            return "SCHEDULED"
        if now < self.end:
            return "ACTIVE"
        return "GRACE" if now < self.grace_end else "EXPIRED"


@dataclass
class Terms:
    """All subscriptions of one organization, as of an instant that only moves forwards."""

    sums: dict[str, int] = field(default_factory=lambda: {"ACTIVE": 0, "GRACE": 0})
    of: dict[str, Term] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    """What changed since somebody looked."""
    _states: dict[str, str] = field(default_factory=dict)
    _to_come: list[tuple[int, str]] = field(default_factory=list)

    def put(self, entry: Entry, now: int) -> Term:
        """What an entry says of a subscription."""
        after = entry.after
        end = micros(after["end_time"])
        term = Term(
            after["credits"],
            micros(after["start_time"]),
            end,
            end + after["grace_microseconds"],
            after["cancel_time"] is not None,
            after["state"],
        )
        self._count(entry.resource, None, now)
        self._count(entry.resource, term, now)
        for instant in (term.start, term.end, term.grace_end):
            if instant > now:
                heappush(self._to_come, (instant, entry.resource))
        return term

    def move(self, now: int) -> None:
        while self._to_come and self._to_come[0][0] <= now:
            name = heappop(self._to_come)[1]
            term = self.of[name]
            self._count(name, None, now)
            self._count(name, term, now)

    def _count(self, name: str, term: Term | None, now: int) -> None:
        """Takes what is counted of it out, or counts it as of now."""
        if term is None:
            state, sign, counted = self._states.pop(name, ""), -1, self.of.get(name)
        else:
            state, sign, counted = term.state(now), 1, term
            self.of[name], self._states[name] = term, state
            self.touched.add(name)
        if counted is not None and state in self.sums:
            self.sums[state] += sign * counted.credits


def no_credits_past_their_term(books: Books, verdict: Verdict) -> None:
    """Valid and grace credits are those of the terms at every instant, and whoever looks finds what was due settled."""
    for ledger in books.ledgers.values():
        terms = Terms()
        for run in ledger.runs:
            wrong = _wrong_in(run, terms)
            verdict.judge(f"{run.words}, effective {run.last.effective_time}: {wrong}" if wrong else "")
    for call in books.calls:
        if call.answer is not None and (call.method in READS or call.method in MUTATIONS):
            _judge_answer(books.ledger(call.organization), call, verdict)


def _wrong_in(run: Run, terms: Terms) -> str:
    wrong = ""
    for entry in run.entries:
        now = micros(entry.effective_time)
        terms.move(now)
        if entry.kind.startswith("SUBSCRIPTION"):
            term = terms.put(entry, now)
            if entry.kind in INSTANTS and INSTANTS[entry.kind](term) != now:
                wrong = wrong or f"{entry.kind} of {entry.resource} is not at the instant of its term"
    last, now = run.last, micros(run.last.effective_time)
    reckoned, written = (terms.sums["ACTIVE"], terms.sums["GRACE"]), (last.valid_credits, last.grace_credits)
    if reckoned != written:
        wrong = wrong or f"by their terms {reckoned} are (valid, in grace), the ledger says {written}"
    for name in sorted(terms.touched):
        term = terms.of[name]
        if term.written != term.state(now):
            wrong = wrong or f"subscription {name} is {term.written} in the ledger, by its term {term.state(now)}"
    terms.touched.clear()
    return wrong


def _judge_answer(ledger: Ledger, call: Call, verdict: Verdict) -> None:
    balance = (call.answer or {}).get("balance")
    if balance is None or call.request.get("validate_only"):
        return
    lapsed = ledger.lapsed_after(int(balance["revision"]), micros(balance["as_of"]))
    wrong = ""
    if lapsed is not None:
        due = f"{lapsed.kind} of {lapsed.resource} at {lapsed.effective_time} was due"
        wrong = f"{words_of(call)} was told revision {balance['revision']} as of {balance['as_of']}, and {due}"
    verdict.judge(wrong)
