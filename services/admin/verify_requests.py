"""Remembered answers, held against what the entries come to at the revision that each of them names."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nsmallest
from typing import Any, Final

from services.admin.verify_fold import Fold, Key
from services.admin.verify_problems import NONSENSE, Row, instant_text, parsed

REMEMBERED: Final = timedelta(hours=23)
"""A request id is remembered for 24 hours or longer; a database's clock may be set back by up to one."""
MEANING_BYTES: Final = 32
NAMES_LISTED: Final = 100
SHAPES: Final = (
    {"allocations"},
    {"subscription", "consequences"},
    {"organization", "consequences"},
    {"organization"},
)
"""What an answer holds besides the balance."""


@dataclass
class Remembered:
    """Reads the remembered answers beside the entries: both are in the order of revisions."""

    rows: AsyncIterator[Row]
    young: datetime
    """What was recorded since then must be remembered."""
    _next: tuple[Row, Any, int | None] | None = None
    """A row, its answer, and the answer's revision if it has one."""

    async def begin(self) -> None:
        """Before the first entry is taken."""
        await self._advance()

    async def compare(self, fold: Fold) -> None:
        """Those that were answered at the revision of the entry that was taken just now."""
        assert fold.newest is not None
        newest, found = fold.newest, False
        while self._next is not None:
            row, answer, revision = self._next
            if revision is not None and revision > newest["revision"]:
                break
            if revision == newest["revision"]:
                compare_request(fold, row, answer)
                found = found or _wrote(fold, row)
            else:
                _not_comparable(fold, row, revision)
            await self._advance()
        if newest["last"] and newest["request_id"] and newest["recorded_time"] >= self.young and not found:
            what = f"request id {newest['request_id']!r} of the last 24 hours is not remembered with this revision"
            fold.problems.add(f"entry {newest['revision']}", what)

    async def end(self, fold: Fold) -> None:
        """After the last entry."""
        while self._next is not None:
            _not_comparable(fold, self._next[0], self._next[2])
            await self._advance()

    async def _advance(self) -> None:
        row = await anext(self.rows, None)
        if row is None:
            self._next = None
            return
        try:
            answer = parsed(row["answer"])
            revision = answer["revision"]
        except NONSENSE:
            answer = revision = None
        self._next = row, answer, revision if type(revision) is int else None


def compare_request(fold: Fold, row: Row, answer: Any) -> None:
    """Call it when the newest entry that was taken is the one at the answer's revision."""
    where = _where(row)
    fold.problems.differs(where, "the length of meaning", len(row["meaning"]), MEANING_BYTES)
    try:
        _compare_balance(fold, where, row, answer)
        _compare_outcome(fold, where, answer, wrote=_wrote(fold, row))
    except NONSENSE as error:
        fold.problems.add(where, f"answer is not what a call answers ({error!r})")


def _not_comparable(fold: Fold, row: Row, revision: int | None) -> None:
    fold.problems.add(_where(row), f"answers with revision {revision}, of which there is no entry")


def _wrote(fold: Fold, row: Row) -> bool:
    """Whether the newest entry is of the call that the row remembers; otherwise that call changed nothing."""
    newest = fold.newest
    return newest is not None and all(newest[each] == row[each] for each in ("request_id", "recorded_time"))


def _where(row: Row) -> str:
    return f"request {row['request_id']!r}"


def _compare_balance(fold: Fold, where: str, row: Row, answer: Row) -> None:
    newest = fold.newest
    assert newest is not None
    fold.problems.differs(where, "answer.as_of", answer["as_of"], instant_text(row["recorded_time"]))
    fold.problems.differs(where, "answer.figures", answer["figures"], fold.figures)
    if not newest["last"]:
        fold.problems.add(where, f"answers with revision {newest['revision']}, which is not the last of its call")
    later = row["recorded_time"] - newest["recorded_time"]
    same_id = newest["request_id"] == row["request_id"]
    if later < timedelta(0) or (same_id and timedelta(0) < later < REMEMBERED):
        time = instant_text(newest["recorded_time"])
        fold.problems.differs(where, "recorded_time", instant_text(row["recorded_time"]), time)


def _compare_outcome(fold: Fold, where: str, answer: Row, *, wrote: bool) -> None:
    """`wrote`: the entries of the fold's group are those of the call."""
    present = answer.keys() - {"revision", "as_of", "figures"}
    if present not in SHAPES:
        fold.problems.add(where, f"answer is about {sorted(present)}, which no call is")
        return
    replaced: dict[Key, list[str | None]] = fold.group.replaced if wrote else {}
    if "allocations" in present:
        _compare_allocations(fold, where, answer["allocations"], replaced)
        return
    key, expected = ("ORGANIZATION", ""), fold.own
    about = "organization"
    if "subscription" in present:
        key, about = ("SUBSCRIPTION", answer["subscription"]["id"]), "subscription"
        expected = {"id": key[1], **_state(fold.resources.get(key))}
    fold.problems.differs(where, f"answer.{about}", answer[about], expected)
    subjects = sorted(each for each in replaced if each[0] != "ALLOCATION")
    if wrote:
        fold.problems.differs(where, "what answer is about", [key], subjects)
    if "consequences" in present:
        _compare_consequences(fold, where, answer["consequences"], wrote=wrote)
    else:
        fold.problems.differs(where, "answer.revision (without consequences)", answer["revision"], 1)


def _compare_allocations(
    fold: Fold, where: str, allocations: Sequence[Row], replaced: dict[Key, list[str | None]]
) -> None:
    """Each is as it was after its operation; an answer of several operations leaves the labels out."""
    ahead: dict[Key, list[dict[str, Any]]] = {}
    for index, each in enumerate(allocations):
        key = ("ALLOCATION", each["id"])
        if key not in ahead:
            ahead[key] = [_state(text) for text in (*replaced.get(key, ()), fold.resources.get(key))]
        states = [{"id": each["id"], **state} for state in ahead[key][:2]]
        same = [_same(each, state, several=len(allocations) > 1) for state in states]
        if same[-1] and len(same) > 1:  # An operation that changed nothing leaves it where it was.
            del ahead[key][0]
        elif not same[0]:
            fold.problems.differs(where, f"answer.allocations[{index}]", each, states[-1])
    for key in sorted(replaced.keys() | ahead.keys()):
        if len(ahead.get(key, ())) != 1:
            fold.problems.add(where, f"answer lacks what the call made of {key[1] or fold.organization}")


def _same(present: Row, expected: dict[str, Any], *, several: bool) -> bool:
    without_labels = {**expected, "labels": {}}
    return present == without_labels or (not several and present == expected)


def _compare_consequences(fold: Fold, where: str, consequences: Row, *, wrote: bool) -> None:
    waiting = [name for *_, name in nsmallest(NAMES_LISTED, fold.waiting.values())]
    expected = {
        "resumed": _names(fold.group.resumed if wrote else []),
        "suspended": _names(fold.group.suspended if wrote else []),
        "waiting": {"first": waiting, "total": len(fold.waiting)},
    }
    fold.problems.differs(where, "answer.consequences", consequences, expected)


def _names(names: Sequence[str]) -> dict[str, Any]:
    return {"first": list(names[:NAMES_LISTED]), "total": len(names)}


def _state(text: str | None) -> dict[str, Any]:
    """As an entry has it; empty if there is none."""
    state: dict[str, Any] = parsed(text) if text is not None else {}
    return state
