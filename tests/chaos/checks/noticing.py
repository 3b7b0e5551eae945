"""Notices: that they are true, come soon, and never before what they tell of."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import Final

from tests.chaos.checks.books import Books, Known
from tests.chaos.checks.claims import words_of
from tests.chaos.checks.values import balance_figures, entry_figures, micros, unlike
from tests.chaos.checks.verdict import Verdict
from tests.chaos.history import Heard

LATE_SECONDS: Final = 2.0
DISTURBING: Final = frozenset({"redis", "postgres", "worker"})
"""While one of these does not work, a notice may be late."""
AFTER_NOTICE: Final = "after-notice"
"""What the names of those clients begin with that read right after a notice, whose revision their actor tells."""

Span = tuple[float, float]
"""(from, to)"""


def notices_are_true(books: Books, verdict: Verdict) -> None:
    """Every notice tells of a revision that the ledger has, and of its figures."""
    for heard in books.heard:
        if heard.what != "notice":
            continue
        entry = books.ledger(heard.organization).at(heard.revision)
        wrong = "the ledger does not have it"
        if entry is not None:
            wrong = unlike(balance_figures(heard.balance), entry_figures(entry)) if heard.balance else "has no balance"
        where = f"{heard.organization}, notice of revision {heard.revision} at {heard.at:.3f}"
        verdict.judge(f"{where}: {wrong}" if wrong else "")


def a_notice_is_never_ahead(books: Books, verdict: Verdict) -> None:
    """Whoever reads an organization right after a notice finds its revision, or a later one."""
    for call in books.calls:
        if call.client.startswith(AFTER_NOTICE) and call.answer is not None:
            told, noticed = int(call.answer["balance"]["revision"]), int(call.actor.rpartition(":")[2])
            wrong = f"{words_of(call)} read revision {told} after the notice of {noticed}"
            verdict.judge("" if told >= noticed else wrong)


def notices_catch_up(books: Books, verdict: Verdict) -> None:
    """A notice of each revision, or a later one, comes within 2 s of its being known, while nothing is disturbed."""
    calm, deaf = Calm(joined(_disturbances(books))), joined(_deaf(books.heard), within=0)
    heard, clock = _heard_by_organization(books.heard), _monotonic_less_wall(books)
    for organization, known in sorted(books.known.items()):
        ledger, notices = books.ledger(organization), heard.get(organization, Known([], []))
        for known_at, revision in _risings(known):
            due = calm.after(known_at) + LATE_SECONDS
            index = bisect_left(notices.revisions, revision)
            came_at = notices.times[index] if index < len(notices.times) else inf
            entry = ledger.at(revision)
            written_at = min(known_at, micros(entry.recorded_time) / 1e6 + clock) if entry else known_at
            in_time = came_at < inf and came_at <= due
            if in_time or (due <= books.ended and not _overlaps(deaf, written_at, due)):
                what = f"{organization}, revision {revision} known at {known_at:.3f}, a notice due by {due:.3f}, came"
                when = "never" if came_at == inf else f"at {came_at:.3f}"
                verdict.judge("" if in_time else f"{what} {when}")


def _monotonic_less_wall(books: Books) -> float:
    """What turns the seconds of recorded times into those of histories, or into slightly earlier ones."""
    differences = [
        claims[0].call.started - micros(run.first.recorded_time) / 1e6
        for claims in books.claims_by_key.values()
        if len(claims) == 1 and claims[0].outcome == "ok"
        for run in books.runs_of(claims[0])
    ]
    return max(differences, default=-inf)


def _overlaps(spans: list[Span], begin: float, end: float) -> bool:
    """spans: in order, none of which touches another."""
    index = bisect_right(spans, end, key=lambda span: span[0]) - 1
    return index >= 0 and spans[index][1] >= begin


@dataclass(frozen=True)
class Calm:
    """When nothing is disturbed."""

    spans: list[Span]
    """Of the disturbances, in order, with more than LATE_SECONDS between."""

    def after(self, at: float) -> float:
        """From when on, `at` or later, nothing was disturbed for LATE_SECONDS."""
        index = bisect_right(self.spans, at + LATE_SECONDS, key=lambda span: span[0]) - 1
        return max(at, self.spans[index][1]) if index >= 0 else at


def joined(spans: Iterable[Span], within: float = LATE_SECONDS) -> list[Span]:
    """In order; those with no more between than `within`, in seconds, are one."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1] + within:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def _disturbances(books: Books) -> Iterator[Span]:
    for fault in books.faults:
        if DISTURBING & set(fault.disturbs):
            yield (fault.began, fault.ended)


def _deaf(heard: Iterable[Heard]) -> Iterator[Span]:
    """When the listener was not connected: what was published then, nobody publishes again for its sake."""
    since = -inf
    for each in sorted((each for each in heard if each.what != "notice"), key=lambda each: each.at):
        if each.what == "connected":
            yield (since, each.at)
            since = inf
        else:
            since = min(since, each.at)
    if since < inf:
        yield (since, inf)


def _heard_by_organization(heard: Iterable[Heard]) -> dict[str, Known]:
    notices: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for each in heard:
        if each.what == "notice":
            notices[each.organization].append((each.at, each.revision))
    return {name: _rising(sorted(some)) for name, some in notices.items()}


def _rising(some: list[tuple[float, int]]) -> Known:
    return Known([at for at, _ in some], list(accumulate((revision for _, revision in some), max)))


def _risings(known: Known) -> Iterator[tuple[float, int]]:
    """Each revision that was known for the first time, and when."""
    highest = 0
    for at, revision in zip(known.times, known.revisions, strict=True):
        if revision > highest:
            yield at, revision
            highest = revision
