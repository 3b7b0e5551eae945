"""A true history of a campaign, with something for every check to judge."""

from tests.support.made_up_history import MadeUpHistory
from tests.support.made_up_ledger import NAME


def a_true_history() -> MadeUpHistory:
    """Bought, enabled, repeated, refused, lost on the way; over in grace, suspended, bought again, and resumed."""
    history = MadeUpHistory()
    history.create(overdraft=10)
    history.buy("b-1", 100, start=0, end=60, grace=20, request_id="buy-1")
    history.buy("b-2", 40, start=40, end=500, grace=20, request_id="buy-2")
    history.enable("s-1", 10, "enable-1")
    repeat(history, -1)
    history.enable("s-2", 5)
    history.enable("s-2", 5)
    history.adjust("s-2", 1, "adjust-1")
    history.exchange("s-2", "s-3", 6, "exchange-1")
    refuse(history, "s-4", 400)
    lose(history, "s-5", 1, "lost-1", written=True)
    lose(history, "s-6", 1, "lost-2", written=False)
    check(history, "s-1", "ENTITLED", 10)
    history.read(client="after-notice-1", actor=f"after-notice:{len(history.entries)}")
    history.at += 50
    history.settle()
    check(history, "s-1", "ENTITLED", 10)
    history.at += 20
    history.settle()  # b-1 is in grace.
    check(history, "s-1", "IN_GRACE", 10)
    history.disable("s-1", "disable-1")
    history.enable("s-1", 2, "enable-2")
    history.change_overdraft(0, "overdraft-1")
    history.at += 20
    history.settle()  # b-1 is over.
    check(history, "s-5", "SUSPENDED", 1)
    history.buy("b-3", 30, start=0, end=900, grace=0, request_id="buy-3")
    history.cancel("b-2", "cancel-2")
    history.read()
    history.at += 3
    history.read()
    return history


def repeat(history: MadeUpHistory, index: int) -> None:
    """The same call again, by somebody else."""
    first = history.calls[index]
    history.call(first.method, first.request, [], client="c-2", answer=first.answer)


def refuse(history: MadeUpHistory, name: str, units: int) -> None:
    request = {"parent": NAME, **history.sent(name, units), "request_id": ""}
    reason = "INSUFFICIENT_CREDITS"
    history.call("EnableAllocation", request, [], outcome="refused", code="RESOURCE_EXHAUSTED", reason=reason)


def lose(history: MadeUpHistory, name: str, units: int, request_id: str, *, written: bool) -> None:
    """A call whose answer does not come."""
    request = {"parent": NAME, **history.sent(name, units), "request_id": request_id}
    writes = history.enabling(name, units) if written else []
    history.call("EnableAllocation", request, writes, outcome="open", code="UNAVAILABLE")


def check(history: MadeUpHistory, allocation: str, state: str, units: int) -> None:
    history.check({"allocation": f"{NAME}/allocations/{allocation}"}, state, units)
