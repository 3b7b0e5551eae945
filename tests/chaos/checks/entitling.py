"""Entitlements, against what the ledger has at that instant."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.chaos.checks.books import Books, Known
from tests.chaos.checks.claims import words_of
from tests.chaos.checks.ledgers import Ledger
from tests.chaos.checks.values import id_of, micros, spendable_of
from tests.chaos.checks.verdict import Verdict
from tests.chaos.history import Call, Entry, Message

Answer = tuple[str, int]
"""(state, units)"""


@dataclass(frozen=True, slots=True)
class Sums:
    """Of the allocations of one offering."""

    enabled: int = 0
    """Units, here and below."""
    free: int = 0
    """Enabled, and holding no credits."""
    suspended: int = 0

    def with_(self, after: Message, sign: int) -> "Sums":
        units = sign * after["units"]
        enabled, suspended = after["state"] == "ENABLED", after["state"] == "SUSPENDED"
        free = enabled and after["credits"] == 0
        return Sums(self.enabled + units * enabled, self.free + units * free, self.suspended + units * suspended)


@dataclass
class Offerings:
    """The sums of each offering of one organization, over all revisions."""

    ledger: Ledger
    _revisions: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _sums: dict[str, list[Sums]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        afters: dict[str, Message] = {}
        for entry in self.ledger.entries:
            if entry.kind.startswith("ALLOCATION"):
                offering = entry.after["offering"]
                sums = self._sums[offering][-1] if self._sums[offering] else Sums()
                if entry.resource in afters:
                    sums = sums.with_(afters[entry.resource], -1)
                afters[entry.resource] = entry.after
                self._sums[offering].append(sums.with_(entry.after, 1))
                self._revisions[offering].append(entry.revision)

    def at(self, offering: str, revision: int) -> Sums:
        index = bisect_right(self._revisions[offering], revision)
        return self._sums[offering][index - 1] if index else Sums()


def entitled_means_paid(books: Books, verdict: Verdict) -> None:
    """Every entitlement is, in state and units, that of the ledger at some revision between its call's begin and it."""
    offerings = {name: Offerings(ledger) for name, ledger in books.ledgers.items()}
    for call in books.calls:
        if call.answer is None or call.organization not in offerings:
            continue
        for target, shown in _entitlements(call):
            wrong = _wrong(call, target, shown, offerings[call.organization], books)
            verdict.judge(f"{words_of(call)}: {wrong}" if wrong else "")


def _entitlements(call: Call) -> Iterator[tuple[Message, Message]]:
    assert call.answer is not None
    if call.method == "CheckEntitlement":
        yield call.request, call.answer
    elif call.method == "CheckEntitlements":
        for target, result in zip(call.request["targets"], call.answer["results"], strict=True):
            if result["status"]["code"] == 0:
                yield target, result["entitlement"]


def _wrong(call: Call, target: Message, shown: Message, offerings: Offerings, books: Books) -> str:
    ledger, as_of = offerings.ledger, micros(shown["as_of"])
    known = books.known.get(call.organization, Known([], [])).before(call.started)
    told, possible = (shown["state"], int(shown["units"])), set()
    newest = bisect_right(ledger.effective, as_of)
    for entry in reversed(ledger.entries[:newest] if known == 0 else _between(ledger, known, newest)):
        if entry.last and ledger.lapsed_after(entry.revision, as_of) is None:
            answer = _answer(target, entry, offerings)
            if answer == told:
                return ""
            possible.add(answer)
    where = f"{target.get('offering') or target.get('allocation')} as of {shown['as_of']}"
    if not possible:
        return f"{where} is of a time before revision {known}, which was known when the call began"
    return f"{where} is {told}, by the ledger it may be {sorted(possible)}"


def _between(ledger: Ledger, known: int, newest: int) -> list[Entry]:
    """Those from the known revision on, up to the index."""
    return ledger.entries[ledger.by_revision.get(known, newest) : newest]


def _answer(target: Message, entry: Entry, offerings: Offerings) -> Answer:
    spendable = spendable_of(entry)
    in_grace = spendable is not None and entry.allocated_credits > spendable
    if "offering" in target:
        return _of_offering(offerings.at(id_of(target["offering"]), entry.revision), in_grace=in_grace)
    own = offerings.ledger.about(("ALLOCATION", id_of(target["allocation"])), entry.revision)
    if own is None or own.after["state"] == "DISABLED":
        return ("NOT_ENABLED", 0)
    if own.after["state"] == "SUSPENDED":
        return ("SUSPENDED", own.after["units"])
    return ("IN_GRACE" if in_grace and own.after["credits"] else "ENTITLED", own.after["units"])


def _of_offering(sums: Sums, *, in_grace: bool) -> Answer:
    """The best state, and the units in it."""
    if sums.enabled and not in_grace:
        return ("ENTITLED", sums.enabled)
    if sums.free:
        return ("ENTITLED", sums.free)
    if sums.enabled:
        return ("IN_GRACE", sums.enabled)
    return ("SUSPENDED", sums.suspended) if sums.suspended else ("NOT_ENABLED", 0)
