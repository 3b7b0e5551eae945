"""Whether what the ledger has is what was asked for, and what was told."""

from collections.abc import Iterable
from typing import Any, Final

from tests.chaos.checks.claims import KINDS, Claim, Step, masked
from tests.chaos.checks.ledgers import Ledger, Resource, Run
from tests.chaos.checks.values import duration_micros, id_of, micros
from tests.chaos.history import Entry, Message

Shown = dict[str, Any]
"""Fields of a resource, in one form for messages and columns."""

SETTABLE: Final = {
    "UpdateSubscription": ("credits", "end_time", "grace_period", "order_reference", "labels"),
    "UpdateOrganization": ("display_name", "overdraft_limit", "overdraft_unlimited"),
}
NEVER_ENABLED: Final[Shown] = {"state": "DISABLED", "units": 0, "credits": 0, "suspended_credits": 0, "priority": 0}
"""What an allocation that never was counts as."""


class Unlike(Exception):
    """What differs, in words."""


def check_run(claim: Claim, run: Run, ledger: Ledger) -> None:
    """That a run is what the call asked for, the whole of it, and what it was told. Raises Unlike."""
    if not run.last.last:
        raise Unlike(f"revision {run.last.revision}, the end of its entries, is not marked as its last")
    if claim.steps:
        after = _check_steps(claim.steps, run, ledger)
    else:
        own = [entry for entry in run.entries if not entry.causes and entry.kind != "THRESHOLD_CROSSED"]
        if [entry.kind for entry in own] != [KINDS[claim.method]]:
            raise Unlike(f"its entries are {[entry.kind for entry in own]} and not one {KINDS[claim.method]}")
        after = [shown_by_entry(own[0])]
        _check_fields("asked for was", _asked(claim), after[0])
    if claim.outcome == "ok":
        _check_answer(claim, after)


def check_unchanged(claim: Claim, ledger: Ledger) -> None:
    """That nothing had to be changed at the revision that the call was told. Raises Unlike."""
    if ledger.at(claim.revision) is None:
        raise Unlike(f"there is no revision {claim.revision}")
    after = []
    for step in claim.steps:
        state = _state(ledger, ("ALLOCATION", step.allocation), claim.revision)
        if _outcome(step, state) is not None:
            raise Unlike(f"it has no entry, though at revision {claim.revision} {step} was still to be done: {state}")
        after.append(state)
    if not claim.steps:
        state = _state(ledger, _resource(claim), claim.revision)
        if claim.method.startswith("Create"):
            raise Unlike("it has no entry")
        _check_fields("it has no entry, though asked for was", _asked(claim), state)
        after.append(state)
    _check_answer(claim, after)


def shown_by_entry(entry: Entry) -> Shown:
    after = entry.after
    if entry.kind.startswith("ALLOCATION"):
        names = ("state", "units", "credits", "suspended_credits", "priority", "enabled_revision", "offering", "labels")
        return {name: after[name] for name in names}
    if entry.kind.startswith("SUBSCRIPTION"):
        return {
            **{name: after[name] for name in ("state", "credits", "order_reference", "labels")},
            **{name: micros(after[name]) for name in ("start_time", "end_time")},
            "grace_period": after["grace_microseconds"],
            "renews": after["renews"] or "",
        }
    return {
        "display_name": after["display_name"],
        "overdraft_limit": entry.overdraft_limit,
        "overdraft_unlimited": entry.overdraft_unlimited,
    }


def shown_by_message(message: Message) -> Shown:
    """Of a resource of the API, or of the part of one that a request sends."""
    shown: Shown = {}
    for name, value in message.items():
        if name in ("units", "credits", "suspended_credits", "enabled_revision", "overdraft_limit"):
            shown[name] = int(value)
        elif name in ("start_time", "end_time"):
            shown[name] = micros(value)
        elif name == "grace_period":
            shown[name] = duration_micros(value)
        elif name in ("offering", "renews"):
            shown[name] = id_of(value)
        elif name in ("state", "priority", "labels", "order_reference", "display_name", "overdraft_unlimited"):
            shown[name] = value
    return shown


def _check_steps(steps: Iterable[Step], run: Run, ledger: Ledger) -> list[Shown]:
    """One entry for each step that changes something, in order, and no others; what the steps made of each."""
    own = [entry for entry in run.entries if entry.kind.startswith("ALLOCATION") and not entry.causes]
    now: dict[str, Shown] = {}
    after = []
    for step in steps:
        resource = ("ALLOCATION", step.allocation)
        state = now.get(step.allocation) or _state(ledger, resource, run.first.revision - 1)
        expected = _outcome(step, state)
        if expected is not None:
            if not own:
                raise Unlike(f"the ledger has no entry of {step}")
            entry = own.pop(0)
            state = shown_by_entry(entry)
            if (entry.kind, entry.resource) != (expected.pop("kind"), step.allocation):
                raise Unlike(f"revision {entry.revision} is {entry.kind} of {entry.resource}, asked for was {step}")
            _check_fields(f"revision {entry.revision}: asked for was", expected, state)
        now[step.allocation] = state
        after.append(state)
    if own:
        raise Unlike(f"revision {own[0].revision}, {own[0].kind} of {own[0].resource}, is more than was asked for")
    return after


def _outcome(step: Step, before: Shown) -> Shown | None:
    """The kind of the entry, and fields as they must be after it; None where there is nothing to be changed."""
    marks = {"priority": step.priority, "labels": step.labels}
    wanted = {name: value for name, value in marks.items() if value is not None}
    marked = all(before.get(name, {}) == value for name, value in wanted.items())
    state, units = before["state"], before["units"]
    match step.verb:
        case "update":
            return None if marked else {"kind": "ALLOCATION_UPDATED", **wanted}
        case "enable" if state == "ENABLED" and units == step.units:
            return None if marked else {"kind": "ALLOCATION_UPDATED", "state": state, "units": units, **wanted}
        case "enable":
            kinds = {"DISABLED": "ALLOCATION_ENABLED", "SUSPENDED": "ALLOCATION_RESUMED"}
            kind = kinds.get(state, "ALLOCATION_ADJUSTED")
            return {"kind": kind, "state": "ENABLED", "units": step.units, **wanted}
        case "adjust" if step.units == 0:
            return None
        case "adjust" if units + step.units != 0:
            kind = "ALLOCATION_ENABLED" if state == "DISABLED" else "ALLOCATION_ADJUSTED"
            state = "SUSPENDED" if state == "SUSPENDED" else "ENABLED"
            return {"kind": kind, "state": state, "units": units + step.units}
        case _:
            off = {"kind": "ALLOCATION_DISABLED", "state": "DISABLED", "units": 0}
            return None if state == "DISABLED" else off


def _asked(claim: Claim) -> Shown:
    """The fields that the request sets to values that are its own."""
    request = claim.request
    if claim.method == "CancelSubscription":
        return {"state": "CANCELLED"}
    sent = request["subscription" if claim.method.endswith("Subscription") else "organization"]
    if claim.method == "CreateSubscription":
        names = {"credits", "end_time", "order_reference", "labels", "renews"} | ({"grace_period"} & sent.keys())
    elif claim.method == "CreateOrganization":
        names = set(SETTABLE["UpdateOrganization"])
    else:
        names = masked(request, sent, SETTABLE[claim.method]) & set(SETTABLE[claim.method]) & sent.keys()
    return {name: value for name, value in shown_by_message(sent).items() if name in names}


def _resource(claim: Claim) -> Resource:
    if claim.method.endswith("Organization"):
        return ("ORGANIZATION", "")
    assert claim.answer is not None
    return ("SUBSCRIPTION", id_of(claim.answer["subscription"]["name"]))


def _state(ledger: Ledger, resource: Resource, revision: int) -> Shown:
    entry = ledger.about(resource, revision)
    return dict(NEVER_ENABLED) if entry is None else shown_by_entry(entry)


def _check_answer(claim: Claim, after: list[Shown]) -> None:
    """What the call was told of the resource, or of that of each step."""
    assert claim.answer is not None
    if claim.steps:
        told = claim.shown_allocations
    else:
        told = [claim.answer["subscription" if claim.method.endswith("Subscription") else "organization"]]
    for message, state in zip(told, after, strict=True):
        shown = shown_by_message(message)
        if not shown.get("labels"):
            shown.pop("labels", None)  # The answers to several operations have none.
        _check_fields("the answer was", shown, state)


def _check_fields(what: str, wanted: Shown, found: Shown) -> None:
    for name, value in wanted.items():
        if name in found and found[name] != value:
            raise Unlike(f"{what} {name} {value!r}, the ledger has {found[name]!r}")
