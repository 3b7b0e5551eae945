"""The end of a ledger as watches share it: which run comes next, how long runs stand, and what they weigh."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from earmark.v1.usage_service_pb2 import WatchUsageResponse
from services.allocator.watch_handler import encode_entries
from services.ledger.rules import limits, names
from services.ledger.rules.encoding import allocation_json, organization_json, subscription_json
from services.ledger.rules.model import (
    Allocation,
    AllocationState,
    Entry,
    EntryKind,
    Figures,
    Organization,
    Subscription,
    SubscriptionState,
)
from services.ledger.rules.refusal import Reason, Refused
from services.ledger.watching.hub import RUN_ENTRIES_MAX
from services.ledger.watching.tail import BEGINNING, Follower, Position, Run, Shelf, Tail

LONG_ID = "i" * limits.ID_CHARACTERS_MAX
WIDE_TEXT = "\N{CYCLONE}" * limits.TEXT_CHARACTERS_MAX
LABELS = {
    f"{number:02}".ljust(limits.LABEL_BYTES_MAX, "k"): "v" * limits.LABEL_BYTES_MAX
    for number in range(limits.LABELS_MAX)
}
RUN_BYTES_MAX = 750 * 10**3
"""What one watch that is stuck costs the process."""
INSTANT = datetime(2200, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def at(revision: int, history: int = 0) -> Position:
    """A position in one of two histories that part at revision 3."""
    if not revision:
        return BEGINNING
    return Position(revision, bytes([revision, history if revision >= 3 else 0]) * 16)


def run(first: int, last: int, size: int = 1) -> Run:
    return Run(at(first - 1), at(last), b"x" * size)


def tail_of(shelf: Shelf, *runs: Run) -> Tail:
    tail = Tail("o-1", runs[0].after)
    for each in runs:
        shelf.put(tail, each)
    return tail


def test_the_run_that_comes_next() -> None:
    one, two, three = run(3, 3), run(4, 9), run(10, 11)
    tail = tail_of(Shelf(), one, two, three)
    assert tail.end == at(11)
    found = {revision: tail.run_after(at(revision)) for revision in range(12)}
    assert found == dict.fromkeys(range(12)) | {2: one, 3: two, 9: three}
    assert Tail("o-1", at(2)).run_after(at(2)) is None


def test_a_run_of_another_history_does_not_come_next() -> None:
    tail = tail_of(Shelf(), run(3, 4), run(5, 6))
    assert tail.run_after(at(4)) is not None
    assert tail.run_after(at(4, history=1)) is None
    assert tail.run_after(at(2, history=1)) is not None, "they are the same up to there"


def test_the_oldest_runs_go_whoever_they_belong_to() -> None:
    shelf = Shelf(bytes_max=100)
    busy = tail_of(shelf, run(1, 1, 40))
    quiet = tail_of(shelf, run(1, 1, 40))
    assert shelf.bytes == 80
    shelf.put(busy, run(2, 2, 40))
    assert (len(busy.runs), len(quiet.runs), shelf.bytes) == (1, 1, 80)
    shelf.put(busy, run(3, 3, 40))
    assert (len(busy.runs), len(quiet.runs), shelf.bytes) == (2, 0, 80)
    assert busy.run_after(at(1)) is not None
    assert (busy.run_after(at(0)), quiet.run_after(at(0))) == (None, None)
    assert quiet.end == at(1), "it has gone from the shelf, and was read all the same"
    shelf.put(busy, run(4, 4, 1000))
    assert (len(busy.runs), shelf.bytes, busy.end) == (0, 0, at(4)), "one alone may be too large"


async def test_waiting_for_more() -> None:
    shelf = Shelf()
    tail = tail_of(shelf, run(1, 2))
    assert await tail.moved_beyond(at(1), 20)
    assert not await tail.moved_beyond(at(2), 0.01)
    waiting = [asyncio.create_task(tail.moved_beyond(at(2), 20)) for _ in range(3)]
    await asyncio.sleep(0)
    tail.wake()
    await asyncio.sleep(0)
    assert not any(each.done() for each in waiting), "woken for nothing, they wait on"
    shelf.put(tail, run(3, 3))
    tail.wake()
    assert await asyncio.gather(*waiting) == [True] * 3
    late = asyncio.create_task(tail.moved_beyond(at(3), 20))
    await asyncio.sleep(0)
    tail.end_with(Refused(Reason.SHUTTING_DOWN, "it stops"))
    assert await late
    assert await tail.moved_beyond(at(3), 20), "nobody waits for what has ended"


def test_the_lag_is_that_of_the_slowest() -> None:
    tail = tail_of(Shelf(), run(1, 9))
    assert tail.lag == 0
    tail.followers |= {Follower(tail, at(2)), Follower(tail, at(9))}
    assert tail.lag == 7


ALLOCATION = Allocation(
    organization=LONG_ID,
    allocation=LONG_ID,
    offering=LONG_ID,
    state=AllocationState.SUSPENDED,
    units=limits.UNITS_MAX,
    credits=0,
    suspended_credits=limits.CREDITS_MAX,
    price_version=limits.PRICE_VERSIONS_MAX,
    priority=-(2**31),
    labels=LABELS,
    enabled_revision=limits.REVISION_MAX,
    changed_revision=limits.REVISION_MAX,
    create_time=INSTANT,
    update_time=INSTANT,
)
SUBSCRIPTION = Subscription(
    organization=LONG_ID,
    subscription=LONG_ID,
    state=SubscriptionState.CANCELLED,
    credits=limits.CREDITS_MAX,
    start_time=INSTANT,
    end_time=INSTANT,
    grace_period=limits.GRACE_MAX - timedelta(microseconds=1),
    renews=LONG_ID,
    order_reference=WIDE_TEXT,
    labels=LABELS,
    changed_revision=limits.REVISION_MAX,
    create_time=INSTANT,
    update_time=INSTANT,
    cancel_time=INSTANT,
)
ORGANIZATION = Organization(
    organization=LONG_ID,
    display_name=WIDE_TEXT,
    figures=Figures(),
    revision=limits.REVISION_MAX,
    digest=bytes(32),
    settled_time=INSTANT,
    next_transition_time=None,
    threshold_percent=0,
    open_allocations=0,
    changed_revision=limits.REVISION_MAX,
    create_time=INSTANT,
    update_time=INSTANT,
)


@pytest.mark.parametrize(
    ("kind", "resource", "after", "detail"),
    [
        (EntryKind.ALLOCATION_SUSPENDED, LONG_ID, allocation_json(ALLOCATION), {}),
        (
            EntryKind.SUBSCRIPTION_ENDING_SOON,
            LONG_ID,
            subscription_json(SUBSCRIPTION),
            {"ending": "GRACE", "days": 90, "renewed": True},
        ),
        (EntryKind.THRESHOLD_CROSSED, "", organization_json(ORGANIZATION), {"percent": 100}),
    ],
    ids=["allocation", "subscription", "organization"],
)
def test_the_largest_entries_fit_into_a_message(
    kind: EntryKind, resource: str, after: dict[str, Any], detail: dict[str, Any]
) -> None:
    most = Figures(limits.HELD_CREDITS_MAX, limits.HELD_CREDITS_MAX, limits.HELD_CREDITS_MAX, limits.HELD_CREDITS_MAX)
    cause = names.subscription_name(LONG_ID, LONG_ID)
    entry = Entry(
        organization=LONG_ID,
        revision=limits.REVISION_MAX,
        kind=kind,
        resource=resource,
        effective_time=INSTANT,
        recorded_time=INSTANT,
        actor=WIDE_TEXT,
        request_id="r" * limits.REQUEST_ID_CHARACTERS_MAX,
        causes=(cause,) * limits.CAUSES_LISTED_MAX,
        cause_count=limits.OPEN_ALLOCATIONS_MAX,
        after=after,
        detail=detail,
        before=most,
        figures=Figures(overdraft_limit=limits.CREDITS_MAX),
        last=True,
        digest=b"\xff" * 32,
    )
    message = encode_entries([entry] * RUN_ENTRIES_MAX)
    assert len(message) < RUN_BYTES_MAX < limits.ANSWER_BYTES_MAX
    decoded = WatchUsageResponse.FromString(message)
    assert len(decoded.entries.entries) == RUN_ENTRIES_MAX
    assert decoded.entries.entries[0].valid_delta == -limits.HELD_CREDITS_MAX
