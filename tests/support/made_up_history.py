"""A small history of one organization that nobody lived: what an honest service would have written and answered.

It checks nothing, so that a story told with it may also be one that an honest service would never allow.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos.history import CALLS, FAULTS, LEDGER, NOTICES, WATCHES, Book, Call, Fault, Message, Outcome
from tests.support.made_up_ledger import NAME, ORGANIZATION, MadeUpLedger, Write, name_of, text

CALL_SECONDS: Final = 0.01
PATIENCE_SECONDS: Final = 5.0


@dataclass
class MadeUpHistory(MadeUpLedger):
    """Time moves only by `at`, in seconds, and by each call."""

    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        for kind, records in (
            (CALLS, self.calls),
            (WATCHES, self.seen),
            (NOTICES, self.heard),
            (FAULTS, self.faults),
            (LEDGER, self.entries),
        ):
            with Book(folder, kind, "all") as book:
                for record in records:
                    book.write(record)

    def create(self, overdraft: int) -> Call:
        self.overdraft = overdraft
        sent = {"display_name": "", "overdraft_limit": str(overdraft), "overdraft_unlimited": False}
        request = {"organization_id": ORGANIZATION, "organization": sent, "request_id": "create"}
        return self.call("CreateOrganization", request, [("ORGANIZATION_CREATED", "", {"display_name": ""}, ())])

    def change_overdraft(self, overdraft: int, request_id: str) -> Call:
        self.overdraft = overdraft
        request = {
            "organization": {"name": NAME, "overdraft_limit": str(overdraft)},
            "update_mask": "overdraftLimit",
            "request_id": request_id,
        }
        suspensions = self.suspensions(self.valid + self.grace + overdraft, NAME)
        own: Write = ("ORGANIZATION_UPDATED", "", {"display_name": ""}, ())
        return self.call("UpdateOrganization", request, [*suspensions, own])

    def buy(self, name: str, credits: int, *, start: float, end: float, grace: float, request_id: str) -> Call:
        """start, end: in seconds from now; grace: its length."""
        scheduled = start > 0
        after: Message = {
            "state": "SCHEDULED" if scheduled else "ACTIVE",
            "credits": credits,
            "start_time": text(self.at + max(start, 0.0)),
            "end_time": text(self.at + end),
            "grace_microseconds": int(grace * 1_000_000),
            "renews": None,
            "order_reference": "",
            "labels": {},
            "cancel_time": None,
        }
        request = {
            "parent": NAME,
            "subscription_id": name,
            "subscription": shown(name, after),
            "request_id": request_id,
        }
        raised = 0 if scheduled else credits
        resumptions = self.resumptions(self.valid + raised + self.overdraft, name_of(name))
        return self.call("CreateSubscription", request, [("SUBSCRIPTION_CREATED", name, after, ()), *resumptions])

    def cancel(self, name: str, request_id: str) -> Call:
        now = self.subscriptions[name]
        after = {**now, "state": "CANCELLED", "cancel_time": text(self.at)}
        left = self.valid + self.grace + self.overdraft - (now["credits"] if now["state"] in ("ACTIVE", "GRACE") else 0)
        request = {"name": name_of(name), "force": True, "request_id": request_id}
        own: Write = ("SUBSCRIPTION_CANCELLED", name, after, ())
        return self.call("CancelSubscription", request, [*self.suspensions(left, name_of(name)), own])

    def enable(self, name: str, units: int, request_id: str = "", **others: Any) -> Call:
        request = {"parent": NAME, **self.sent(name, units), "request_id": request_id}
        return self.call("EnableAllocation", request, self.enabling(name, units), **others)

    def adjust(self, name: str, delta: int, request_id: str) -> Call:
        request = {"name": f"{NAME}/allocations/{name}", "delta_units": str(delta), "request_id": request_id}
        return self.call("AdjustAllocation", request, self.enabling(name, self.allocations[name]["units"] + delta))

    def disable(self, name: str, request_id: str = "") -> Call:
        request = {"name": f"{NAME}/allocations/{name}", "request_id": request_id}
        return self.call("DisableAllocation", request, self.disabling(name))

    def exchange(self, old: str, new: str, units: int, request_id: str) -> Call:
        """One off and the other on, by one call."""
        operations = [{"disable": {"name": f"{NAME}/allocations/{old}"}}, {"enable": self.sent(new, units)}]
        request = {"parent": NAME, "operations": operations, "allow_partial": False, "request_id": request_id}
        return self.call("ApplyOperations", request, [*self.disabling(old), *self.enabling(new, units)])

    def read(self, client: str = "c-1", actor: str = "") -> Call:
        return self.call("GetOrganization", {"name": NAME}, [], client=client, actor=actor)

    def check(self, target: Message, state: str, units: int) -> Call:
        entitlement = {"state": state, "units": str(units), "as_of": text(self.at)}
        return self.call("CheckEntitlement", {"parent": NAME, **target}, [], answer=entitlement)

    def call(
        self,
        method: str,
        request: Message,
        writes: Iterable[Write],
        *,
        outcome: Outcome = "ok",
        code: str = "OK",
        reason: str = "",
        client: str = "c-1",
        actor: str = "",
        answer: Message | None = None,
    ) -> Call:
        """Makes it, with what it writes and tells."""
        number, started, request_id = len(self.calls) + 1, self.at, request.get("request_id", "")
        actor = actor or f"{client}.{number}"
        self.post(list(writes), actor, request_id, self.at)
        told = (answer or self._answer(method, request)) if outcome == "ok" else None
        self.at += CALL_SECONDS
        call = Call(
            client,
            number,
            ORGANIZATION,
            method,
            request,
            request_id,
            actor,
            "",
            started,
            self.at,
            started + PATIENCE_SECONDS,
            outcome,
            code,
            reason,
            told,
        )
        self.calls.append(call)
        self.at += CALL_SECONDS
        return call

    def sent(self, name: str, units: int) -> Message:
        return {"allocation_id": name, "offering": "offerings/sensor", "units": str(units), "labels": {}}

    def _answer(self, method: str, request: Message) -> Message:
        balance = self.balance(self.at)
        if method == "ApplyOperations":
            names = [next(iter(each.values())) for each in request["operations"]]
            ids = [each.get("allocation_id") or each["name"].rpartition("/")[2] for each in names]
            results = [{"status": {"code": 0, "details": []}, "allocation": self._allocation(each)} for each in ids]
            return {"results": results, "balance": balance}
        if method.endswith("Allocation"):
            name = request.get("allocation_id") or request["name"].rpartition("/")[2]
            return {"allocation": self._allocation(name), "balance": balance}
        if method.endswith("Subscription"):
            name = request.get("subscription_id") or request["name"].rpartition("/")[2]
            return {"subscription": shown(name, self.subscriptions[name]), "balance": balance}
        own = {"name": NAME, "display_name": "", "overdraft_limit": str(self.overdraft), "overdraft_unlimited": False}
        return {**own, "balance": balance} if method.startswith("Get") else {"organization": own, "balance": balance}

    def _allocation(self, name: str) -> Message:
        now = self.allocations[name]
        numbers = {each: str(now[each]) for each in ("units", "credits", "suspended_credits", "enabled_revision")}
        own = {"name": f"{NAME}/allocations/{name}", "offering": "offerings/sensor", "labels": {}}
        return {**own, **numbers, "state": now["state"], "priority": now["priority"]}


def shown(name: str, after: Message) -> Message:
    """A subscription, as the API has it."""
    same = {each: after[each] for each in ("state", "start_time", "end_time", "order_reference", "labels")}
    grace = f"{after['grace_microseconds'] / 1_000_000:g}s"
    return {"name": name_of(name), **same, "credits": str(after["credits"]), "grace_period": grace, "renews": ""}
