"""How calls ended."""

from typing import Any, Final

from tests.chaos.checks.books import Books
from tests.chaos.checks.claims import words_of
from tests.chaos.checks.verdict import Verdict
from tests.chaos.history import Call

LATE_SECONDS: Final = 1.0
"""What the machine may take that the campaign shares with others."""
BUGS: Final = {2: "UNKNOWN", 12: "UNIMPLEMENTED", 13: "INTERNAL"}
CANCELLED: Final = "CANCELLED"
STOPPING: Final = "rolling_restart"
GIVEN_UP_MAX: Final = 10
"""Calls, by both allocators in one restart."""


def deadlines_kept(books: Books, verdict: Verdict) -> None:
    """No call lasts longer than its deadline, with 1 s for the machine."""
    for call in books.calls:
        late = call.ended - call.deadline
        verdict.judge(f"{words_of(call)} ended {late:.3f} s after its deadline" if late > LATE_SECONDS else "")


def no_bug_was_told(books: Books, verdict: Verdict) -> None:
    """No call is answered INTERNAL, UNKNOWN or UNIMPLEMENTED, nor CANCELLED but where an allocator was told to stop."""
    # gRPC gives up what reaches a server in the moment in which it stops, before we are asked: docs/errors.md.
    given_up = {(fault.began, fault.ended): 0 for fault in books.faults if fault.kind == STOPPING}
    for call in books.calls:
        wrong = _bug(call)
        stop = next((each for each in given_up if each[0] <= call.ended <= each[1]), None)
        if wrong and call.code == CANCELLED and stop is not None:
            given_up[stop] += 1
            wrong = wrong if given_up[stop] > GIVEN_UP_MAX else ""
        verdict.judge(wrong)


def _bug(call: Call) -> str:
    if call.code in BUGS.values() or (call.code == CANCELLED and not call.reason):
        return f"{words_of(call)} ended with {call.code} {call.reason}".rstrip()
    results: list[Any] = (call.answer or {}).get("results", [])
    codes = [BUGS[result["status"]["code"]] for result in results if result["status"]["code"] in BUGS]
    return f"{words_of(call)}: one of its results is {codes[0]}" if codes else ""
