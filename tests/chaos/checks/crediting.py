"""The figures: what is held, what pays for it, and what goes back."""

from collections.abc import Iterator
from typing import Final

from tests.chaos.checks.books import Books
from tests.chaos.checks.claims import words_of
from tests.chaos.checks.ledgers import Ledger, Run
from tests.chaos.checks.values import (
    balance_figures,
    balances_in,
    coverage_of,
    entry_figures,
    id_of,
    spendable_of,
    unlike,
)
from tests.chaos.checks.verdict import Verdict
from tests.chaos.history import Entry

WHAT_COUNTS: Final = {
    ("SUBSCRIPTION", "ACTIVE"): ("valid_credits", "credits"),
    ("SUBSCRIPTION", "GRACE"): ("grace_credits", "credits"),
    ("ALLOCATION", "ENABLED"): ("allocated_credits", "credits"),
    ("ALLOCATION", "SUSPENDED"): ("suspended_credits", "suspended_credits"),
}
"""What a resource in a state adds to which figure."""


def balance_is_the_ledgers(books: Books, verdict: Verdict) -> None:
    """Every balance in an answer is that of the ledger at its revision."""
    for call in books.calls:
        if call.answer is None or call.request.get("validate_only"):
            continue
        for balance in balances_in(call.answer):
            entry = books.ledger(id_of(balance["organization"])).at(int(balance["revision"]))
            wrong = "which the ledger does not have" if entry is None else ""
            if entry is not None:
                wrong = unlike(balance_figures(balance), entry_figures(entry))
            verdict.judge(f"{words_of(call)} was told revision {balance['revision']}: {wrong}" if wrong else "")


def never_oversold(books: Books, verdict: Verdict) -> None:
    """At every revision what is allocated is what the allocations hold in sum, and at most what covers them."""
    for ledger in books.ledgers.values():
        sums = dict.fromkeys(("valid_credits", "grace_credits", "allocated_credits", "suspended_credits"), 0)
        held: dict[tuple[str, str], tuple[str, int]] = {}
        for entry in ledger.entries:
            _count(entry, sums, held)
            wrong = [
                f"{name} is {getattr(entry, name)}, the sum is {total}"
                for name, total in sums.items()
                if getattr(entry, name) != total
            ]
            coverage = sums["valid_credits"] + sums["grace_credits"] + entry.overdraft_limit
            if not entry.overdraft_unlimited and sums["allocated_credits"] > coverage:
                wrong.append(f"{sums['allocated_credits']} credits are allocated, covered are {coverage}")
            verdict.judge(_at(entry, "; ".join(wrong)))


def _count(entry: Entry, sums: dict[str, int], held: dict[tuple[str, str], tuple[str, int]]) -> None:
    """Puts what the entry's resource is after it in the place of what it was."""
    collection = entry.kind.partition("_")[0]
    if collection not in ("SUBSCRIPTION", "ALLOCATION"):
        return
    if (collection, entry.resource) in held:
        figure, credits = held.pop((collection, entry.resource))
        sums[figure] -= credits
    counts = WHAT_COUNTS.get((collection, entry.after["state"]))
    if counts:
        figure, name = counts
        held[collection, entry.resource] = (figure, entry.after[name])
        sums[figure] += entry.after[name]


def an_increase_is_paid(books: Books, verdict: Verdict) -> None:
    """Whatever holds more credits afterwards is paid by valid credits and the overdraft; grace never pays for more."""
    for run, before in _runs(books):
        allocated_before = before.allocated_credits if before else 0
        if run.last.allocated_credits > allocated_before:
            verdict.judge(_at(run.last, _unpaid(run.last)))
        for entry in run.entries:
            if entry.kind == "ALLOCATION_RESUMED" and entry.causes:
                verdict.judge(_at(entry, _unpaid(entry)))


def _unpaid(entry: Entry) -> str:
    spendable = spendable_of(entry)
    if spendable is None or entry.allocated_credits <= spendable:
        return ""
    return (
        f"raised what is allocated to {entry.allocated_credits}, {spendable} may be spent (actor {entry.actor!r}, "
        f"request id {entry.request_id!r})"
    )


def disabled_returns_what_it_held(books: Books, verdict: Verdict) -> None:
    """What is disabled gives back exactly what it held."""
    for ledger in books.ledgers.values():
        for entry, before in zip(ledger.entries, (None, *ledger.entries), strict=False):
            if entry.kind == "ALLOCATION_DISABLED":
                verdict.judge(_at(entry, _not_returned(ledger, entry, before)))


def _not_returned(ledger: Ledger, entry: Entry, before: Entry | None) -> str:
    own = ledger.about(("ALLOCATION", entry.resource), entry.revision - 1)
    if own is None or before is None:
        return f"disables {entry.resource}, which never was"
    held, waited = own.after["credits"], own.after["suspended_credits"]
    figures = (entry.allocated_delta, entry.allocated_credits - before.allocated_credits)
    if figures != (-held, -held):
        return f"disables {entry.resource}, which held {held}, and what is allocated changes by {figures}"
    figures = (entry.suspended_delta, entry.suspended_credits - before.suspended_credits)
    if figures != (-waited, -waited):
        return f"disables {entry.resource}, which waited for {waited}, and what is suspended changes by {figures}"
    left = (entry.after["state"], entry.after["units"], entry.after["credits"], entry.after["suspended_credits"])
    return "" if left == ("DISABLED", 0, 0, 0) else f"disables {entry.resource}, which is {left} after it"


def suspended_at_once(books: Books, verdict: Verdict) -> None:
    """What lowers coverage suspends what no longer fits in the same transaction, and nothing else suspends."""
    for run, before in _runs(books):
        last, previous = run.last, before
        for entry in run.entries:
            if _lowers(previous, entry):
                verdict.judge(_at(entry, _uncovered(last)))
            if entry.kind == "ALLOCATION_SUSPENDED":
                verdict.judge(_at(entry, _without_cause(run, before, entry)))
            previous = entry


def _lowers(before: Entry | None, entry: Entry) -> bool:
    return before is not None and _less(coverage_of(entry), coverage_of(before))


def _less(one: int | None, other: int | None) -> bool:
    """None: without bound."""
    return one is not None and (other is None or one < other)


def _uncovered(last: Entry) -> str:
    coverage = coverage_of(last)
    if coverage is None or last.allocated_credits <= coverage:
        return ""
    return f"lowers coverage, and at {last.revision}, its last, {last.allocated_credits} are held of {coverage} covered"


def _without_cause(run: Run, before: Entry | None, suspension: Entry) -> str:
    if before is None or not any(_lowers(one, other) for one, other in _steps(before, run)):
        return f"suspends {suspension.resource}, and nothing in its transaction lowers coverage"
    named = {id_of(cause) for cause in suspension.causes}
    about = {entry.resource or entry.organization for entry in run.entries if not entry.kind.startswith("ALLOCATION")}
    return "" if named and named <= about else f"suspends {suspension.resource}; its causes {named} are not in its call"


def _steps(before: Entry, run: Run) -> Iterator[tuple[Entry, Entry]]:
    yield from zip((before, *run.entries), run.entries, strict=False)


def _runs(books: Books) -> Iterator[tuple[Run, Entry | None]]:
    """With the entry before each."""
    for ledger in books.ledgers.values():
        before: Entry | None = None
        for run in ledger.runs:
            yield run, before
            before = run.last


def _at(entry: Entry, wrong: str) -> str:
    return f"{entry.organization}, revision {entry.revision} ({entry.kind}): {wrong}" if wrong else ""
