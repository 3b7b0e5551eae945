"""Ways to make a true history a lie, each with the checks that are there to find it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from tests.chaos.history import Call
from tests.support.made_up_history import MadeUpHistory
from tests.support.made_up_ledger import NAME
from tests.support.made_up_story import check

Lie = Callable[[MadeUpHistory], None]


def find(history: MadeUpHistory, method: str, nth: int = 0, **fields: Any) -> int:
    """The index of the call."""
    some = [
        index
        for index, call in enumerate(history.calls)
        if call.method == method and all(getattr(call, name) == value for name, value in fields.items())
    ]
    return some[nth]


def alter(history: MadeUpHistory, index: int, **fields: Any) -> Call:
    history.calls[index] = replace(history.calls[index], **fields)
    return history.calls[index]


def answer(history: MadeUpHistory, index: int, *path: str, value: Any) -> None:
    """Another answer to this call."""
    told = history.calls[index].answer
    assert told is not None
    alter(history, index, answer=with_value(told, path, value))


def with_value(message: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    name, *rest = path
    return {**message, name: with_value(message[name], tuple(rest), value) if rest else value}


def entry_of(history: MadeUpHistory, kind: str, nth: int = 0) -> int:
    return [index for index, entry in enumerate(history.entries) if entry.kind == kind][nth]


def lie_about_units(history: MadeUpHistory) -> None:
    answer(history, find(history, "AdjustAllocation"), "allocation", "units", value="7")


def lie_about_the_revision(history: MadeUpHistory) -> None:
    """It is told the revision after its own, with the figures that are right there."""
    index = find(history, "AdjustAllocation")
    following = history.calls[index + 1].answer
    assert following is not None
    answer(history, index, "balance", value=following["balance"])


def acknowledge_what_was_never_written(history: MadeUpHistory) -> None:
    lost = history.calls[find(history, "EnableAllocation", request_id="lost-2")]
    other = history.calls[find(history, "EnableAllocation", request_id="")].answer
    assert other is not None
    allocation = {**other["allocation"], "name": f"{NAME}/allocations/s-6", "units": "1", "credits": "5"}
    read = history.calls[find(history, "GetOrganization")].answer
    assert read is not None
    told = {"allocation": allocation, "balance": read["balance"]}
    alter(history, history.calls.index(lost), outcome="ok", code="OK", answer=told)


def do_it_twice(history: MadeUpHistory) -> None:
    """A repeated adjustment is carried out again."""
    history.enable("s-9", 1, "enable-9")
    history.adjust("s-9", 1, "adjust-9")
    history.adjust("s-9", 1, "adjust-9")


def refuse_what_was_done(history: MadeUpHistory) -> None:
    history.enable("s-9", 1, "enable-9")
    alter(history, -1, outcome="refused", code="UNAVAILABLE", reason="TOO_MANY_WAITING", answer=None)


def do_half_of_what_was_lost(history: MadeUpHistory) -> None:
    """Of an all-or-nothing call that was lost, only the first operation is there."""
    history.enable("s-9", 1)
    history.exchange("s-9", "s-8", 1, "exchange-9")
    alter(history, -1, outcome="open", code="DEADLINE_EXCEEDED", answer=None)
    entry = history.entries.pop()
    history.entries[-1] = replace(history.entries[-1], last=True)
    del history.heard[-1], history.seen[-1]
    seen = history.seen[-1]
    assert entry.revision == seen.revision + 1
    assert seen.entry is not None
    history.seen[-1] = replace(seen, entry={**seen.entry, "last": True})
    del history.allocations["s-8"]


def leave_a_gap(history: MadeUpHistory) -> None:
    """What came last has a number too high, for everybody."""
    history.left_out = 1
    history.enable("s-9", 1, "enable-9")


def go_back_in_time(history: MadeUpHistory) -> None:
    index = entry_of(history, "ALLOCATION_ADJUSTED")
    earlier = history.entries[index - 2].recorded_time
    history.entries[index] = replace(history.entries[index], recorded_time=earlier, effective_time=earlier)
    seen = next(each for each in history.seen if each.revision == index + 1)
    assert seen.entry is not None
    shown = {**seen.entry, "recorded_time": earlier, "effective_time": earlier}
    history.seen[history.seen.index(seen)] = replace(seen, entry=shown)


def read_what_was(history: MadeUpHistory) -> None:
    first = history.calls[find(history, "GetOrganization")].answer
    history.call("GetOrganization", {"name": NAME}, [], answer=first)


def write_before_what_is_known(history: MadeUpHistory) -> None:
    """A call that began after another had been answered comes before it in the ledger."""
    adjusted = find(history, "AdjustAllocation")
    late = history.calls[-1].ended
    alter(history, adjusted, started=late, ended=late + 0.1, deadline=late + 5)


def lie_about_the_balance(history: MadeUpHistory) -> None:
    answer(history, find(history, "GetOrganization"), "balance", "grace_credits", value="17")


def hold_more_than_is_counted(history: MadeUpHistory) -> None:
    index = entry_of(history, "ALLOCATION_ENABLED", -1)
    after = {**history.entries[index].after}
    history.entries[index] = replace(history.entries[index], after={**after, "credits": after["credits"] + 1})
    answer(history, find(history, "EnableAllocation", -1), "allocation", "credits", value=str(after["credits"] + 1))


def oversell(history: MadeUpHistory) -> None:
    history.enable("s-9", 1_000, "enable-9")


def pay_with_grace(history: MadeUpHistory) -> None:
    history.buy("b-9", 40, start=0, end=5, grace=50, request_id="buy-9")
    history.at += 10
    history.settle()
    history.enable("s-9", 2, "enable-9")


def enable_past_the_term(history: MadeUpHistory) -> None:
    history.buy("b-9", 40, start=0, end=5, grace=0, request_id="buy-9")
    history.at += 10
    history.enable("s-9", 1, "enable-9")


def read_past_the_term(history: MadeUpHistory) -> None:
    history.buy("b-9", 40, start=0, end=5, grace=0, request_id="buy-9")
    history.at += 10
    history.read()
    history.settle()


def return_too_little(history: MadeUpHistory) -> None:
    index = entry_of(history, "ALLOCATION_DISABLED")
    entry = history.entries[index]
    history.entries[index] = replace(entry, allocated_delta=entry.allocated_delta + 5)


def suspend_apart(history: MadeUpHistory) -> None:
    """What no longer fits is suspended in a transaction before that which cancels."""
    index = entry_of(history, "ALLOCATION_SUSPENDED", 1)
    history.entries[index] = replace(history.entries[index], last=True)
    seen = next(each for each in history.seen if each.revision == index + 1)
    assert seen.entry is not None
    history.seen[history.seen.index(seen)] = replace(seen, entry={**seen.entry, "last": True})


def suspend_without_a_cause(history: MadeUpHistory) -> None:
    history.post(history.suspensions(0, NAME)[-1:], "", "", history.at)


def answer_a_repetition_anew(history: MadeUpHistory) -> None:
    index = find(history, "EnableAllocation", client="c-2")
    answer(history, index, "balance", "as_of", value=history.entries[4].recorded_time)


def refuse_a_repetition(history: MadeUpHistory) -> None:
    index = find(history, "EnableAllocation", client="c-2")
    alter(history, index, outcome="refused", code="ALREADY_EXISTS", reason="ALLOCATION_ALREADY_EXISTS", answer=None)


def let_a_watcher_miss_one(history: MadeUpHistory) -> None:
    del history.seen[5]


def let_a_watcher_see_one_twice(history: MadeUpHistory) -> None:
    history.seen.insert(5, history.seen[5])


def let_a_watcher_stop(history: MadeUpHistory) -> None:
    del history.seen[-1]


def show_a_watcher_another_digest(history: MadeUpHistory) -> None:
    seen, other = history.seen[5], history.seen[6]
    assert seen.entry is not None
    assert other.entry is not None
    history.seen[5] = replace(seen, entry={**seen.entry, "digest": other.entry["digest"]})


def reset_a_watcher(history: MadeUpHistory) -> None:
    seen = history.seen[-1]
    history.seen.append(replace(seen, what="reset", entry=None))
    history.seen.append(replace(seen, what="began", entry=None))


def notice_other_figures(history: MadeUpHistory) -> None:
    heard = history.heard[3]
    assert heard.balance is not None
    history.heard[3] = replace(heard, balance={**heard.balance, "valid_credits": "1"})


def fall_silent(history: MadeUpHistory) -> None:
    """Redis is healthy, and nobody publishes any more."""
    del history.heard[-3:]


def notice_what_is_not_there(history: MadeUpHistory) -> None:
    index = find(history, "GetOrganization", client="after-notice-1")
    alter(history, index, actor=f"after-notice:{len(history.entries)}")


def answer_late(history: MadeUpHistory) -> None:
    refused = history.calls[find(history, "EnableAllocation", outcome="refused")]
    alter(history, history.calls.index(refused), ended=refused.deadline + 1.1)


def tell_of_a_bug(history: MadeUpHistory) -> None:
    alter(history, find(history, "EnableAllocation", request_id="lost-2"), code="INTERNAL")


def cancel_unasked(history: MadeUpHistory) -> None:
    alter(history, find(history, "EnableAllocation", request_id="lost-2"), code="CANCELLED")


def entitle_in_grace(history: MadeUpHistory) -> None:
    answer(history, find(history, "CheckEntitlement", 2), "state", value="ENTITLED")


def entitle_too_many(history: MadeUpHistory) -> None:
    answer(history, find(history, "CheckEntitlement", 0), "units", value="11")


def entitle_as_it_was(history: MadeUpHistory) -> None:
    """The answer was right before what the caller had already been told of."""
    history.enable("s-9", 1, "enable-9")
    check(history, "s-9", "NOT_ENABLED", 0)


LIES: Final[list[tuple[Lie, set[str]]]] = [
    (lie_about_units, {"acknowledged_once"}),
    (lie_about_the_revision, {"acknowledged_once", "real_time_order"}),
    (acknowledge_what_was_never_written, {"acknowledged_once"}),
    (do_it_twice, {"acknowledged_once", "repeated_ids_get_the_first_answer"}),
    (refuse_what_was_done, {"refused_left_nothing", "every_entry_was_asked_for"}),
    (do_half_of_what_was_lost, {"open_at_most_once"}),
    (leave_a_gap, {"revisions_without_gaps", "watchers_see_each_revision_once"}),
    (go_back_in_time, {"revisions_without_gaps"}),
    (read_what_was, {"real_time_order"}),
    (write_before_what_is_known, {"real_time_order"}),
    (lie_about_the_balance, {"balance_is_the_ledgers"}),
    (hold_more_than_is_counted, {"never_oversold"}),
    (oversell, {"never_oversold", "an_increase_is_paid"}),
    (pay_with_grace, {"an_increase_is_paid"}),
    (enable_past_the_term, {"no_credits_past_their_term"}),
    (read_past_the_term, {"no_credits_past_their_term"}),
    (return_too_little, {"disabled_returns_what_it_held"}),
    (suspend_apart, {"suspended_at_once", "acknowledged_once"}),
    (suspend_without_a_cause, {"suspended_at_once"}),
    (answer_a_repetition_anew, {"repeated_ids_get_the_first_answer"}),
    (refuse_a_repetition, {"repeated_ids_get_the_first_answer"}),
    (let_a_watcher_miss_one, {"watchers_see_each_revision_once"}),
    (let_a_watcher_see_one_twice, {"watchers_see_each_revision_once"}),
    (let_a_watcher_stop, {"watchers_see_each_revision_once"}),
    (show_a_watcher_another_digest, {"watchers_see_each_revision_once"}),
    (reset_a_watcher, {"watchers_see_each_revision_once"}),
    (notice_other_figures, {"notices_are_true"}),
    (fall_silent, {"notices_catch_up"}),
    (notice_what_is_not_there, {"a_notice_is_never_ahead"}),
    (answer_late, {"deadlines_kept"}),
    (tell_of_a_bug, {"no_bug_was_told"}),
    (cancel_unasked, {"no_bug_was_told"}),
    (entitle_in_grace, {"entitled_means_paid"}),
    (entitle_too_many, {"entitled_means_paid"}),
    (entitle_as_it_was, {"entitled_means_paid"}),
]
