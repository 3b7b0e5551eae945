"""What the wire answers and the ledger's table holds, in the words of the model, and the model's own beside it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from services.ledger.rules.encoding import instant_from
from tests.model import words
from tests.support.reflected import Refusal
from tests.support.wire_requests import Wording

Shown = dict[str, Any]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
NAMES_MAX: Final = 5
"""Of what a refused call would suspend, so many are named."""

FORMS: Final = {
    "INVALID_FIELD": ("INVALID_ARGUMENT", "BadRequest"),
    "OFFERING_NOT_FOUND": ("NOT_FOUND", "ResourceInfo"),
    "ALLOCATION_NOT_FOUND": ("NOT_FOUND", "ResourceInfo"),
    "SUBSCRIPTION_NOT_FOUND": ("NOT_FOUND", "ResourceInfo"),
    "ALLOCATION_ALREADY_EXISTS": ("ALREADY_EXISTS", "ResourceInfo"),
    "SUBSCRIPTION_ALREADY_EXISTS": ("ALREADY_EXISTS", "ResourceInfo"),
    "RENEWAL_ALREADY_EXISTS": ("ALREADY_EXISTS", "ResourceInfo"),
    "INSUFFICIENT_CREDITS": ("RESOURCE_EXHAUSTED", "QuotaFailure"),
}
"""The code and the standard detail of a reason; of all others FAILED_PRECONDITION, PreconditionFailure."""

FIELDS: Final = {"start_time": "start", "end_time": "end", "grace_period": "grace", "effective_time": "since"}


# What the wire says.


def allocation(message: Any, wording: Wording) -> Shown:
    return {
        "name": f"allocations/{_id(message.name).removeprefix(wording.prefix)}",
        "offering": _id(message.offering).removeprefix(wording.prefix),
        "state": _state(message),
        "units": message.units,
        "credits": message.credits,
        "suspended_credits": message.suspended_credits,
        "price_version": message.price_version,
        "priority": message.priority,
        "labels": dict(message.labels),
    }


def subscription(message: Any) -> Shown:
    assert instant(message.grace_end_time) == instant(message.end_time) + instant(message.grace_period)
    return {
        "name": f"subscriptions/{_id(message.name)}",
        "credits": message.credits,
        "start": instant(message.start_time),
        "end": instant(message.end_time),
        "grace": instant(message.grace_period),
        "state": _state(message),
        "renews": _id(message.renews) or None,
    }


def organization(message: Any) -> Shown:
    told = ("display_name", "overdraft_limit", "overdraft_unlimited")
    return {"name": "organization", **{key: getattr(message, key) for key in told}}


def figures(balance: Any) -> Shown:
    """A balance, once what follows from its figures was seen to be so."""
    shown = {
        key: getattr(balance, key)
        for key in (
            "valid_credits",
            "grace_credits",
            "allocated_credits",
            "suspended_credits",
            "available_credits",
            "overdraft_limit",
            "overdraft_unlimited",
            "revision",
        )
    }
    spendable = balance.valid_credits + balance.overdraft_limit
    for key, sum_ in (("spendable_credits", spendable), ("coverage_credits", spendable + balance.grace_credits)):
        assert balance.HasField(key) != balance.overdraft_unlimited
        assert getattr(balance, key) == (0 if balance.overdraft_unlimited else sum_)
    return shown


def answer(message: Any, wording: Wording) -> Shown:
    """An accepted call, or operation of a call."""
    described = message.DESCRIPTOR.fields_by_name
    shown: Shown = {"figures": figures(message.balance)}
    if "allocation" in described:
        shown["resources"] = [allocation(message.allocation, wording)]
    elif "results" in described:
        shown["resources"] = [allocation(each.allocation, wording) for each in message.results]
    elif "subscription" in described:
        shown["resources"] = [subscription(message.subscription)]
    else:
        shown["resources"] = [organization(message.organization)]
    if "consequences" in described:
        for key in ("resumed", "suspended", "waiting"):
            listed = getattr(message.consequences, key)
            assert listed.total_size == len(listed.names)
            shown[key] = tuple(_id(name).removeprefix(wording.prefix) for name in listed.names)
    return shown


def refusal(refused: Refusal, wording: Wording) -> Shown:
    code, detail = FORMS.get(refused.reason, ("FAILED_PRECONDITION", "PreconditionFailure"))
    assert (refused.code, refused.domain, refused.details) == (code, "earmark", ("ErrorInfo", detail))
    assert refused.size <= 4096
    told = refused.figures
    shown: Shown = {"reason": refused.reason, "index": _whole(told.get("operationIndex"))}
    if refused.reason == "INVALID_FIELD":
        shown["fields"] = {_field(each) for each in refused.fields}
    if refused.reason == "INSUFFICIENT_CREDITS":
        shown |= {key: int(told[key]) for key in ("required", "available", "suspended", "shortfall")}
        shown |= {"overdraft_limit": int(told["overdraftLimit"]), "next_start": _instant(told.get("nextStartTime"))}
    if "allocations" in told:
        names = [_id(each).removeprefix(wording.prefix) for each in told["allocations"].split(",")]
        shown |= {"names": names, "total": int(told["allocationCount"])}
    elif "coveredUntil" in told:
        shown["covered_until"] = _instant(told["coveredUntil"])
    return shown


def entry(row: asyncpg.Record, wording: Wording) -> Shown:
    noun = row["kind"].partition("_")[0]
    detail = json.loads(row["detail"])
    shown_figures = {key: row[key] for key in FIGURES}
    shown_figures["available_credits"] = row["valid_credits"] - row["allocated_credits"]
    suspended = row["kind"] == "ALLOCATION_SUSPENDED"
    return {
        "revision": row["revision"],
        "kind": row["kind"],
        "resource": _resource(noun, row["resource"], wording),
        "effective": (row["effective_time"] - EPOCH) // MICROSECOND,
        "recorded": (row["recorded_time"] - EPOCH) // MICROSECOND,
        "after": _after(noun, json.loads(row["after"]), shown_figures, wording),
        "deltas": {f"{key}_credits": row[f"{key}_delta"] for key in ("valid", "grace", "allocated", "suspended")},
        "figures": shown_figures,
        "causes": tuple("/".join(each.split("/")[2:]) or "organization" for each in row["causes"] if suspended),
        "cause_count": row["cause_count"] if suspended else 0,
        "request_id": row["request_id"],
        "percent": detail.get("percent"),
        "days": detail.get("days"),
        "renewed": detail.get("renewed"),
        "last": row["last"],
    }


FIGURES: Final = (
    "valid_credits",
    "grace_credits",
    "allocated_credits",
    "suspended_credits",
    "overdraft_limit",
    "overdraft_unlimited",
)


def instant(message: Any) -> int:
    """Of a Timestamp since the epoch, or of a Duration, in microseconds."""
    assert message.nanos % 1000 == 0
    return int(message.seconds * 1_000_000 + message.nanos // 1000)


# What the model says.


def model_answer(results: list[words.Result], *, several: bool) -> Shown:
    last = results[-1]
    resources = [model_resource(each.name, each.resource) for each in results]
    if several:
        resources = [{**each, "labels": {}} for each in resources]
    shown: Shown = {"figures": last.figures, "resources": resources}
    if not last.name.startswith("allocations/"):
        shown |= {"resumed": last.resumed, "suspended": last.suspended, "waiting": last.waiting}
    return shown


def model_resource(name: str, resource: Mapping[str, object]) -> Shown:
    """What is DISABLED shows no price version on the wire."""
    shown = {"name": name, **resource}
    return {**shown, "price_version": 0} if shown.get("state") == words.DISABLED else shown


def model_refusal(refused: words.Refused) -> Shown:
    told: Mapping[str, Any] = refused.figures
    shown: Shown = {"reason": _reason(refused), "index": refused.index}
    if refused.reason == "INVALID_ARGUMENT":
        shown["fields"] = set(told["fields"])
    if refused.reason == "INSUFFICIENT_CREDITS":
        shown |= told
    if "names" in told:
        shown |= {"names": [_id(each) for each in told["names"][:NAMES_MAX]], "total": len(told["names"])}
    elif "covered_until" in told:
        shown["covered_until"] = told["covered_until"]
    return shown


def model_entry(told: words.Entry) -> Shown:
    suspended = told.kind == "allocation_suspended"
    return {
        "revision": told.revision,
        "kind": told.kind.upper(),
        "resource": told.resource,
        "effective": told.effective,
        "recorded": told.recorded,
        "after": told.after,
        "deltas": {key: value for key, value in told.deltas.items() if key != "units"},
        "figures": {key: value for key, value in told.figures.items() if key != "revision"},
        "causes": told.causes if suspended else (),
        "cause_count": told.causes_total if suspended else 0,
        "request_id": told.request_id or "",
        "percent": told.percent,
        "days": told.days,
        "renewed": told.renewed,
        "last": told.last,
    }


def _reason(refused: words.Refused) -> str:
    """A second renewal is a state to the model."""
    if refused.reason == "SUBSCRIPTION_STATE" and "state" not in refused.figures:
        return "RENEWAL_ALREADY_EXISTS"
    return {"INVALID_ARGUMENT": "INVALID_FIELD"}.get(refused.reason, refused.reason)


def _field(path: str) -> str:
    """`operations[2].enable.units` is `units`; the name of what is adjusted or disabled is `allocation_id`."""
    last = path.rpartition(".")[2]
    return FIELDS.get(last, "allocation_id" if last == "name" else last)


def _resource(noun: str, key: str, wording: Wording) -> str:
    if noun == "SUBSCRIPTION":
        return f"subscriptions/{key}"
    return f"allocations/{key.removeprefix(wording.prefix)}" if noun == "ALLOCATION" else "organization"


def _after(noun: str, told: Shown, shown_figures: Shown, wording: Wording) -> Shown:
    if noun == "SUBSCRIPTION":
        return {
            **{key: told[key] for key in ("credits", "state", "renews")},
            "start": _instant(told["start_time"]),
            "end": _instant(told["end_time"]),
            "grace": told["grace_microseconds"],
        }
    if noun == "ALLOCATION":
        same = ("state", "units", "credits", "suspended_credits", "price_version", "priority", "labels")
        return {"offering": told["offering"].removeprefix(wording.prefix), **{key: told[key] for key in same}}
    overdraft = {key: shown_figures[key] for key in ("overdraft_limit", "overdraft_unlimited")}
    return {"display_name": told["display_name"], **overdraft}


def _state(message: Any) -> str:
    name: str = message.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number[message.state].name
    return name


def _id(name: str) -> str:
    return name.rpartition("/")[2]


def _instant(text: str | None) -> int | None:
    return (instant_from(text) - EPOCH) // MICROSECOND if text else None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None else None
