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


def deadlines_kept(books: Books, verdict: Verdict) -> None:
    """No call lasts longer than its deadline, with 1 s for the machine."""
    for call in books.calls:
        late = call.ended - call.deadline
        verdict.judge(f"{words_of(call)} ended {late:.3f} s after its deadline" if late > LATE_SECONDS else "")


def no_bug_was_told(books: Books, verdict: Verdict) -> None:
    """No call is answered INTERNAL, UNKNOWN or UNIMPLEMENTED, nor CANCELLED but where an allocator was told to stop."""
    stopping = [(fault.began, fault.ended) for fault in books.faults if fault.kind == STOPPING]
    for call in books.calls:
        # gRPC gives up what reaches a server in the moment in which it stops, before we are asked: docs/errors.md.
        given_up = call.code == CANCELLED and any(began <= call.ended <= ended for began, ended in stopping)
        verdict.judge("" if given_up else _bug(call))


def _bug(call: Call) -> str:
    if call.code in BUGS.values() or (call.code == CANCELLED and not call.reason):
        return f"{words_of(call)} ended with {call.code} {call.reason}".rstrip()
    results: list[Any] = (call.answer or {}).get("results", [])
    codes = [BUGS[result["status"]["code"]] for result in results if result["status"]["code"] in BUGS]
    return f"{words_of(call)}: one of its results is {codes[0]}" if codes else ""
