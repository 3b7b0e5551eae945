"""The order of revisions: without gaps, and that of real time."""

from tests.chaos.checks.books import Books, Known
from tests.chaos.checks.claims import words_of
from tests.chaos.checks.ledgers import Ledger
from tests.chaos.checks.values import micros
from tests.chaos.checks.verdict import Verdict
from tests.chaos.history import Call, Entry

READS = frozenset({"GetUsage", "GetOrganization"})


def revisions_without_gaps(books: Books, verdict: Verdict) -> None:
    """Revisions are 1, 2, 3, ...; no time goes back; every digest is another; a call's entries stay together."""
    for ledger in books.ledgers.values():
        before: Entry | None = None
        digests: set[str] = set()
        for entry in ledger.entries:
            wrong = _wrong_after(before, entry, known=entry.digest in digests)
            verdict.judge(f"{entry.organization}, revision {entry.revision} {wrong}" if wrong else "")
            digests.add(entry.digest)
            before = entry
        if before is not None and not before.last:
            verdict.judge(f"{before.organization}: the ledger ends with revision {before.revision} amid a call")


def _wrong_after(before: Entry | None, entry: Entry, *, known: bool) -> str:
    expected = before.revision + 1 if before else 1
    if entry.revision != expected:
        return f"comes where {expected} was to come"
    if known:
        return "has the digest of an entry before it"
    if micros(entry.effective_time) > micros(entry.recorded_time):
        return "took effect after it was recorded"
    if before is None:
        return ""
    for name in ("effective_time", "recorded_time"):
        earlier, later = getattr(before, name), getattr(entry, name)
        if micros(later) < micros(earlier):
            return f"has {name} {later}, which is before that of the entry before, {earlier}"
        if not before.last and later != earlier:
            return f"has another {name} than the entry before, of the same call"
    if not before.last and (before.actor, before.request_id) != (entry.actor, entry.request_id):
        return "is of another call than the entry before, which is not the last of its own"
    return ""


def real_time_order(books: Books, verdict: Verdict) -> None:
    """Whoever began after somebody had been told a revision is told it or a later one; a later one if it wrote."""
    for call in books.calls:
        if call.method in READS and call.answer is not None:
            balance = call.answer["balance"]
            wrong = _too_early(int(balance["revision"]), _known(books, call), what="was told")
            verdict.judge(f"{words_of(call)} {wrong}" if wrong else "")
    for claims in books.claims_by_key.values():
        claim = claims[0]  # What repeats it may be told what came before.
        if claim.outcome == "ok":
            known = _known(books, claim.call)
            wrong = _too_early(claim.revision, known, what="was told")
            for run in books.runs_of(claim):
                wrong = wrong or _too_early(run.first.revision, known + 1, what="wrote")
            verdict.judge(f"{claim.words} {wrong}" if wrong else "")
    for ledger in books.ledgers.values():
        _judge_open(books, ledger, verdict)


def _judge_open(books: Books, ledger: Ledger, verdict: Verdict) -> None:
    """What was not acknowledged has its place all the same: after what was known when it began."""
    for run in ledger.runs:
        claims = books.claims_by_key.get(run.key, [])
        if claims and claims[0].outcome == "open" and claims[0].sharers == 1:
            wrong = _too_early(run.first.revision, _known(books, claims[0].call) + 1, what="wrote")
            verdict.judge(f"{claims[0].words} {wrong}" if wrong else "")


def _known(books: Books, call: Call) -> int:
    return books.known.get(call.organization, Known([], [])).before(call.started)


def _too_early(revision: int, at_least: int, *, what: str) -> str:
    if revision >= at_least:
        return ""
    return f"{what} revision {revision}; when it began, {at_least} was the least that could come"
