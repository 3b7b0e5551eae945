"""What callers were told of their changes, against what the ledger has of them."""

from typing import Final

from tests.chaos.checks.books import Books
from tests.chaos.checks.claims import Claim, without
from tests.chaos.checks.matching import Unlike, check_run, check_unchanged
from tests.chaos.checks.verdict import Verdict
from tests.chaos.history import Message

NOT_REMEMBERED: Final = frozenset({"labels"})
"""Answers to several operations leave them out; so may what came first in one of those."""

PUT_OFF: Final = "UNAVAILABLE"
"""What is tried again later: this says nothing of the call itself."""


def acknowledged_once(books: Books, verdict: Verdict) -> None:
    """What was acknowledged is in the ledger exactly once, as it was asked for, at the revision that was told."""
    for claim in books.claims:
        if claim.outcome == "ok" and not claim.validate_only:
            verdict.judge(_said(claim, _unlike_acknowledged(books, claim)))


def refused_left_nothing(books: Books, verdict: Verdict) -> None:
    """A refused call, or one that was only to be validated, has no entry."""
    for claim in books.claims:
        if claim.outcome != "refused" and not claim.validate_only:
            continue
        left = [run for run in books.runs_of(claim) if run.first.actor not in books.writers(claim.key)]
        verdict.judge(_said(claim, f"was refused and left {left[0].words}" if left else ""))


def open_at_most_once(books: Books, verdict: Verdict) -> None:
    """A call whose outcome was left open is in the ledger once, the whole of it, or not at all."""
    for claims in books.claims_by_key.values():
        of_open = [claim for claim in claims if claim.outcome == "open"]
        accepted = [claim for claim in claims if claim.outcome != "refused"]
        alike = bool(of_open) and all(_same_meaning(each, of_open[0]) for each in accepted)
        for claim in of_open:
            verdict.judge(_said(claim, _unlike_open(books, claim, alike=alike)))


def every_entry_was_asked_for(books: Books, verdict: Verdict) -> None:
    """Every entry is either of time or of a call that somebody made, and that was not refused."""
    for ledger in books.ledgers.values():
        for run in ledger.runs:
            if not run.by_time:
                first = run.first
                who = f"actor {first.actor!r} and request id {first.request_id!r}"
                asked = first.actor in books.writers(run.key)
                verdict.judge("" if asked else f"{run.words}: nobody made a call with {who}")


def repeated_ids_get_the_first_answer(books: Books, verdict: Verdict) -> None:
    """A call that is repeated with its request id gets the answer that was given first."""
    for (_, request_id, _), claims in books.claims_by_key.items():
        given = [claim for claim in claims if claim.outcome == "ok"]
        if not request_id or len(claims) < 2 or not given:
            continue
        first = min(given, key=lambda claim: claim.call.ended)
        for claim in claims:
            if claim is not first:
                _judge_repetition(claim, first, verdict)


def _judge_repetition(claim: Claim, first: Claim, verdict: Verdict) -> None:
    if claim.outcome == "ok":
        wrong = _unlike_answers(claim, first)
    elif _refused_by_what_is_so(claim) and claim.call.started > first.call.ended and _same_meaning(claim, first):
        wrong = f"was refused with {claim.call.reason}, though {first.words} had been answered"
    else:
        return
    verdict.judge(_said(claim, wrong))


def _refused_by_what_is_so(claim: Claim) -> bool:
    """And not because nobody could look, or not in time."""
    return claim.outcome == "refused" and claim.call.code != PUT_OFF


def _same_meaning(one: Claim, other: Claim) -> bool:
    return (one.method, one.meaning) == (other.method, other.meaning)


def _unlike_answers(claim: Claim, first: Claim) -> str:
    told, before = _comparable(claim, first)
    if told == before:
        return ""
    return f"was answered {told}; the first answer was {before}, to {first.words}"


def _comparable(claim: Claim, first: Claim) -> tuple[Message | None, Message | None]:
    """Both answers: as a whole, or without what the answer to one of several operations leaves out."""
    shapes = {("results" in (each.call.answer or {})) for each in (claim, first)}
    if shapes == {False} or claim.call.request.get("allow_partial", False) == first.call.request.get("allow_partial"):
        return claim.answer, first.answer
    left_out = NOT_REMEMBERED | {"status"}
    return without(claim.answer, left_out), without(first.answer, left_out)


def _unlike_acknowledged(books: Books, claim: Claim) -> str:
    ledger, runs = books.ledger(claim.call.organization), books.runs_of(claim)
    if len(runs) > 1:
        return f"is in the ledger {len(runs)} times: {[run.words for run in runs]}"
    try:
        if not runs:
            check_unchanged(claim, ledger)
            return ""
        if runs[0].last.revision != claim.revision:
            return f"was told revision {claim.revision}, and its entries are {runs[0].words}"
        check_run(claim, runs[0], ledger)
    except Unlike as unlike:
        return str(unlike)
    return ""


def _unlike_open(books: Books, claim: Claim, *, alike: bool) -> str:
    """alike: all calls with its request id mean the same, so whatever was written is what this one asked for."""
    runs = books.runs_of(claim)
    if len(runs) > claim.sharers:
        return f"is in the ledger {len(runs)} times: {[run.words for run in runs]}"
    if not runs or claim.sharers > 1 or not alike:
        return ""
    try:
        check_run(claim, runs[0], books.ledger(claim.call.organization))
    except Unlike as unlike:
        return str(unlike)
    return ""


def _said(claim: Claim, wrong: str) -> str:
    return f"{claim.words}: {wrong}" if wrong else ""
