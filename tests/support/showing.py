"""The verdicts and entries of the ledger and of the honest model, in the same terms, so that they can be compared."""

from collections.abc import Mapping
from typing import Any

from services.ledger.rules.answers import AllocationNames, Answer
from services.ledger.rules.encoding import allocation_json, deltas_json, instant_from, subscription_json
from services.ledger.rules.model import Entry, Figures
from services.ledger.rules.refusal import Refused
from tests.model import words
from tests.model.lives import Step
from tests.support.memory_store import microseconds

Shown = dict[str, Any]
"""A verdict or an entry, in terms that can be compared."""

NO_REASON_OF_ITS_OWN = {"INVALID_FIELD": "INVALID_ARGUMENT", "RENEWAL_ALREADY_EXISTS": "SUBSCRIPTION_STATE"}
"""What the model calls otherwise."""


# Verdicts.


def model_verdicts(step: Step, answer: object) -> list[Shown]:
    """What the model said to a step, one verdict for each call, but for those that are malformed."""
    if isinstance(answer, words.Refused):
        return [_model_refusal(answer)]
    results: list[object] = answer if isinstance(answer, list) else [answer]
    if step.arguments.get("allow_partial"):
        return [
            _model_refusal(each) if isinstance(each, words.Refused) else _model_results([each])
            for each in results
            if not isinstance(each, words.Malformed)
        ]
    return [_model_results(results, several=step.call == "apply")]


def malformed(answer: object) -> list[int]:
    """The places in a call of several, with a verdict each, of those that are bad in themselves."""
    each = answer if isinstance(answer, list) else []
    return [index for index, verdict in enumerate(each) if isinstance(verdict, words.Malformed)]


def verdict_shown(verdict: Answer | Refused) -> Shown:
    """The ledger's verdict in the model's terms."""
    if isinstance(verdict, Refused):
        return _refusal(verdict)
    outcome, balance = verdict.outcome, verdict.balance
    shown: Shown = {"figures": {**_figures(balance.figures), "revision": balance.revision}}
    shown["resources"] = [
        (f"allocations/{each.allocation}", _allocation(allocation_json(each))) for each in outcome.allocations
    ]
    if outcome.subscription:
        name = f"subscriptions/{outcome.subscription.subscription}"
        shown["resources"] = [(name, _subscription(subscription_json(outcome.subscription)))]
    if outcome.organization:
        own = {"display_name": outcome.organization.display_name}
        shown["resources"] = [("organization", _organization(own, balance.figures))]
    if outcome.consequences:
        lists = outcome.consequences
        shown |= {
            "resumed": _ids(lists.resumed),
            "suspended": _ids(lists.suspended),
            "waiting": _ids(lists.waiting),
        }
    return shown


def _model_results(results: list[Any], several: bool = False) -> Shown:
    """The consequences of operations are none, so that the ledger does not name any."""
    last: words.Result = results[-1]
    resources = [(each.name, dict(each.resource)) for each in results]
    if several:
        resources = [(name, {**resource, "labels": {}}) for name, resource in resources]
    shown: Shown = {"figures": last.figures, "resources": resources}
    if not last.name.startswith("allocations/"):
        shown |= {"resumed": last.resumed, "suspended": last.suspended, "waiting": last.waiting}
    return shown


def _model_refusal(refusal: words.Refused) -> Shown:
    figures: Shown = {} if refusal.index is None else {"index": refusal.index}
    if refusal.reason in ("INSUFFICIENT_CREDITS", "INVALID_ARGUMENT"):
        figures |= refusal.figures
    if refusal.reason == "WOULD_SUSPEND" and "names" in refusal.figures:
        names: Any = refusal.figures["names"]
        figures |= {"names": names[:5], "total": len(names)}
    elif refusal.reason == "WOULD_SUSPEND":
        figures |= {"covered_until": refusal.figures["covered_until"]}
    return {"reason": refusal.reason, **figures}


def _refusal(refusal: Refused) -> Shown:
    figures = refusal.figures
    reason = NO_REASON_OF_ITS_OWN.get(refusal.reason, str(refusal.reason))
    shown: Shown = {"reason": reason}
    if "operationIndex" in figures:
        shown["index"] = int(figures["operationIndex"])
    if reason == "INVALID_ARGUMENT":
        shown["fields"] = [each.field.split(".")[-1].split("_")[0] for each in refusal.violations]
    if reason == "INSUFFICIENT_CREDITS":
        shown |= {key: int(figures[key]) for key in ("required", "available", "suspended", "shortfall")}
        shown["overdraft_limit"] = int(figures["overdraftLimit"])
        start = figures.get("nextStartTime")
        shown["next_start"] = microseconds(instant_from(start)) if start else None
    if "allocations" in figures:
        names = [each.partition("/allocations/")[2] for each in figures["allocations"].split(",")]
        shown |= {"names": [f"allocations/{each}" for each in names], "total": int(figures["allocationCount"])}
    elif "coveredUntil" in figures:
        shown["covered_until"] = microseconds(instant_from(figures["coveredUntil"]))
    return shown


# Entries.


def model_entry(entry: words.Entry) -> Shown:
    suspended = entry.kind == "allocation_suspended"
    return {
        "revision": entry.revision,
        "kind": entry.kind.upper(),
        "resource": entry.resource,
        "effective": entry.effective,
        "recorded": entry.recorded,
        "after": entry.after,
        "deltas": {key: value for key, value in entry.deltas.items() if key != "units"},
        "figures": {key: value for key, value in entry.figures.items() if key != "revision"},
        "causes": entry.causes if suspended else (),
        "causes_total": entry.causes_total if suspended else 0,
        "request_id": entry.request_id or "",
        "percent": entry.percent,
        "days": entry.days,
        "renewed": entry.renewed,
        "last": entry.last,
    }


def entry_shown(entry: Entry) -> Shown:
    """The ledger's entry in the model's terms; the model names the causes of suspensions only."""
    suspended = entry.kind == "ALLOCATION_SUSPENDED"
    resource, after = _resource(entry)
    return {
        "revision": entry.revision,
        "kind": str(entry.kind),
        "resource": resource,
        "effective": microseconds(entry.effective_time),
        "recorded": microseconds(entry.recorded_time),
        "after": after,
        "deltas": {f"{key}_credits": value for key, value in deltas_json(entry).items()},
        "figures": _figures(entry.figures),
        "causes": tuple(_cause(each) for each in entry.causes) if suspended else (),
        "causes_total": entry.cause_count if suspended else 0,
        "request_id": entry.request_id,
        "percent": entry.detail.get("percent"),
        "days": entry.detail.get("days"),
        "renewed": entry.detail.get("renewed"),
        "last": entry.last,
    }


def _resource(entry: Entry) -> tuple[str, Shown]:
    collection = entry.kind.partition("_")[0]
    if collection == "SUBSCRIPTION":
        return f"subscriptions/{entry.resource}", _subscription(entry.after)
    if collection == "ALLOCATION":
        return f"allocations/{entry.resource}", _allocation(entry.after)
    assert entry.resource == ""
    return "organization", _organization(entry.after, entry.figures)


def _cause(name: str) -> str:
    """`organizations/o/subscriptions/s` is `subscriptions/s` to the model, and `organizations/o` `organization`."""
    return "/".join(name.split("/")[2:]) or "organization"


def _figures(figures: Figures) -> Shown:
    return {
        "valid_credits": figures.valid,
        "grace_credits": figures.grace,
        "allocated_credits": figures.allocated,
        "suspended_credits": figures.suspended,
        "available_credits": figures.available,
        "overdraft_limit": figures.overdraft_limit,
        "overdraft_unlimited": figures.overdraft_unlimited,
    }


def _organization(after: Mapping[str, Any], figures: Figures) -> Shown:
    return {
        "display_name": after["display_name"],
        "overdraft_limit": figures.overdraft_limit,
        "overdraft_unlimited": figures.overdraft_unlimited,
    }


def _subscription(after: Mapping[str, Any]) -> Shown:
    return {
        "credits": after["credits"],
        "start": microseconds(instant_from(after["start_time"])),
        "end": microseconds(instant_from(after["end_time"])),
        "grace": after["grace_microseconds"],
        "state": after["state"],
        "renews": after["renews"],
    }


def _allocation(after: Mapping[str, Any]) -> Shown:
    told = ("offering", "state", "units", "credits", "suspended_credits", "price_version", "priority", "labels")
    return {key: after[key] for key in told}


def _ids(listed: AllocationNames) -> tuple[str, ...]:
    assert listed.total == len(listed.first)
    return listed.first
