"""Whether the attempts that the proxy saw are those that a case wants."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from clients.conformance.host.contract import BY_NAME
from clients.conformance.host.journal import Attempt

KEYS: Final = {
    "method",
    "count",
    "same_request_ids",
    "lost_come_again",
    "gap_ms_at_least",
    "deadline_ms_at_most",
    "actor",
    "addresses",
    "requests",
}


def check_form(expected: Mapping[str, Any]) -> None:
    """Raises ValueError for what is no expectation."""
    if expected.keys() - KEYS:
        raise ValueError(f"what is expected of attempts has no {', '.join(sorted(expected.keys() - KEYS))}")
    if expected.get("method") not in BY_NAME:
        raise ValueError(f"the contract has no method {expected.get('method')!r}")


def problems_of(expectations: Sequence[Mapping[str, Any]], attempts: Sequence[Attempt]) -> list[str]:
    """A sentence for each thing that is not as expected."""
    found: list[str] = []
    for expected in expectations:
        method = expected["method"]
        mine = [each for each in attempts if each.method == method]
        found += [f"{method}: {problem}" for problem in _problems(expected, mine)]
    return found


def _problems(expected: Mapping[str, Any], attempts: Sequence[Attempt]) -> Iterator[str]:
    yield from _count(expected.get("count"), len(attempts))
    if expected.get("same_request_ids"):
        yield from _same_request_ids(attempts)
    if expected.get("lost_come_again"):
        yield from _lost_come_again(attempts)
    if "gap_ms_at_least" in expected:
        yield from _gaps(expected["gap_ms_at_least"], attempts)
    if "deadline_ms_at_most" in expected:
        yield from _deadlines(expected["deadline_ms_at_most"], attempts)
    if "actor" in expected and (actors := {each.actor for each in attempts}) != {expected["actor"]}:
        yield f"the actors are {sorted(actors)}, not {expected['actor']!r}"
    if "addresses" in expected and (found := sorted({each.address for each in attempts})) != expected["addresses"]:
        yield f"calls came in at the addresses {found}, not {expected['addresses']}"
    for number, (request, attempt) in enumerate(zip(expected.get("requests", ()), attempts, strict=False), 1):
        if request is not None and not _is_part(request, attempt.request):
            yield f"the request of attempt {number} is {attempt.request}, not {request}"


def _count(expected: int | Mapping[str, int] | None, count: int) -> Iterator[str]:
    if expected is None:
        return
    limits = {"at_least": expected, "at_most": expected} if isinstance(expected, int) else expected
    if not limits.get("at_least", 0) <= count <= limits.get("at_most", count):
        yield f"{count} attempts, not {expected}"


def _same_request_ids(attempts: Sequence[Attempt]) -> Iterator[str]:
    ids = [each.request_ids for each in attempts]
    if not all(ids):
        yield "an attempt came without a request id"
    if any(before != after for before, after in pairwise(ids)):
        yield f"the request ids differ from attempt to attempt: {ids}"


def _lost_come_again(attempts: Sequence[Attempt]) -> Iterator[str]:
    """Every operation of an attempt that was not answered comes again in a later one, under its id."""
    for index, attempt in enumerate(attempts):
        later = {each for other in attempts[index + 1 :] for each in other.request_ids}
        if attempt.outcome != "OK" and not (attempt.request_ids and later.issuperset(attempt.request_ids)):
            yield f"attempt {attempt.number} was not answered, and its {attempt.request_ids} did not all come again"


def _gaps(least: float, attempts: Sequence[Attempt]) -> Iterator[str]:
    for before, after in pairwise(attempts):
        if before.ended_ms is None:
            yield f"attempt {before.number} has not ended, and attempt {after.number} began"
        elif after.arrived_ms - before.ended_ms < least:
            gap = after.arrived_ms - before.ended_ms
            yield f"attempt {after.number} came {gap:.1f} ms after the one before, not {least} ms or more"


def _deadlines(most: float, attempts: Sequence[Attempt]) -> Iterator[str]:
    for attempt in attempts:
        if attempt.deadline_ms is None or attempt.deadline_ms > most:
            yield f"attempt {attempt.number} came with {attempt.deadline_ms} ms left, not {most} or less"


def _is_part(expected: Any, found: Any) -> bool:
    """An object may have more than is expected of it; null is what is not set; all else is equal."""
    if expected is None:
        return found is None
    if isinstance(expected, Mapping) and any(key.startswith("$") for key in expected):
        return _holds(expected, found)
    if isinstance(expected, Mapping):
        return isinstance(found, Mapping) and all(_is_part(each, found.get(key)) for key, each in expected.items())
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(_is_part, expected, found))
    return bool(expected == found)


def _holds(condition: Mapping[str, Any], found: Any) -> bool:
    [(name, value)] = condition.items()
    if name == "$some":
        return bool(found) is value
    if name == "$starts_with":
        return isinstance(found, str) and found.startswith(value)
    raise ValueError(f"there is no condition {name!r}")
