"""What UsageService and the entitlement checks answer, in the words of the model, and how to ask them."""

import random
from collections.abc import Sequence
from typing import Any, Final

from earmark.v1 import resources_pb2
from services.ledger.rules.looking import Step
from tests.model import looking, words
from tests.model.reading import Entitlement
from tests.support import wire_answers as wire
from tests.support.wire_requests import Wording
from tests.support.wire_requests import instant as instant_sent

Shown = dict[str, Any]

ENTITLEMENTS: Final = ("STATE_UNSPECIFIED", "ENTITLED", "IN_GRACE", "SUSPENDED", "NOT_ENABLED")
SUBSCRIPTIONS: Final = ("STATE_UNSPECIFIED", "SCHEDULED", "ACTIVE", "GRACE", "EXPIRED", "CANCELLED")
STEPS: Final = {Step.HOUR: 1, Step.DAY: 2}
SUMS: Final = ("valid_credits", "grace_credits", "allocated_credits", "suspended_credits")
DELTAS: Final = ("valid", "grace", "allocated", "suspended")


def usage(message: Any, wording: Wording) -> looking.Usage:
    assert [each.offering for each in message.offerings] == sorted(each.offering for each in message.offerings)
    return looking.Usage(
        offerings={
            _plain(each.offering, wording): (
                looking.Held(each.enabled_allocations, each.enabled_units, each.enabled_credits),
                looking.Held(each.suspended_allocations, each.suspended_units, each.suspended_credits),
            )
            for each in message.offerings
        },
        ending={each.within_days: (each.credits, each.renewed_credits) for each in message.ending},
        subscriptions={
            _id(each.name): (SUBSCRIPTIONS[each.state], _id(each.renewal) or None) for each in message.subscriptions
        },
    )


def terms(message: Any) -> Shown:
    """What GetUsage says of each subscription besides: credits, term and the end of grace."""
    return {
        _id(each.name): (each.credits, *map(wire.instant, (each.start_time, each.end_time, each.grace_end_time)))
        for each in message.subscriptions
    }


def model_terms(subscriptions: Sequence[words.Subscription]) -> Shown:
    return {s.id: (s.credits, s.start, s.end, s.grace_end) for s in subscriptions if not s.over}


def entitlement(message: Any) -> Entitlement:
    until = wire.instant(message.covered_until) if message.HasField("covered_until") else None
    return Entitlement(ENTITLEMENTS[message.state], message.units, until)


def history_asked(wording: Wording, start: int, end: int, step: Step) -> Shown:
    interval = {"start_time": instant_sent(start), "end_time": instant_sent(end)}
    return {"name": wording.parent, "interval": interval, "step": STEPS[step]}


def history(message: Any) -> list[looking.Step]:
    return [
        looking.Step(
            wire.instant(each.start_time),
            each.valid_credits,
            each.allocated_credits,
            each.peak_allocated_credits,
            each.in_progress,
        )
        for each in message.steps
    ]


def forecast(message: Any, wording: Wording) -> looking.Forecast:
    assert message.suspended.total_size == len(message.suspended.names)
    return looking.Forecast(
        points=[(wire.instant(each.time), _sums(each)) for each in message.points],
        grace_starts=[wire.instant(each) for each in message.grace_start_times],
        coverage_ends=[wire.instant(each) for each in message.coverage_end_times],
        suspended=[_plain(each, wording) for each in message.suspended.names],
    )


def estimate(message: Any) -> looking.Estimate:
    return looking.Estimate(
        lines=[(each.credits, each.price_version, each.retired) for each in message.lines],
        required=message.required_credits,
        remaining=message.purchase.remaining_credits,
        recommended=message.purchase.recommended_credits,
    )


def entry(message: Any, wording: Wording) -> Shown:
    """As `wire_answers.entry` of a row; the resource after it as the model shows it."""
    assert message.name == f"{wording.parent}/entries/{message.revision}"
    kind = message.DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_number[message.kind].name
    noun = message.WhichOneof("after")
    suspended = kind == "ALLOCATION_SUSPENDED"
    ending = message.ending_soon if message.HasField("ending_soon") else None
    after, resource = _after(message, noun, wording)
    figures = wire.figures(message.balance)
    assert figures.pop("revision") == message.revision
    assert message.balance.as_of == message.effective_time
    return {
        "revision": message.revision,
        "kind": kind,
        "resource": resource,
        "effective": wire.instant(message.effective_time),
        "recorded": wire.instant(message.recorded_time),
        "after": after,
        "deltas": {f"{each}_credits": getattr(message, f"{each}_delta") for each in DELTAS},
        "figures": figures,
        "causes": tuple("/".join(each.split("/")[2:]) or "organization" for each in message.causes if suspended),
        "cause_count": message.cause_count if suspended else 0,
        "request_id": message.request_id,
        "percent": message.threshold_percent or None,
        "days": ending.days if ending else None,
        "renewed": ending.renewed if ending else None,
        "last": message.last,
    }


def _after(message: Any, noun: str, wording: Wording) -> tuple[Shown, str]:
    shown = getattr(message, noun)
    assert message.resource == shown.name
    if noun == "organization":
        assert not shown.HasField("balance")
        told = wire.organization(shown)
    else:
        assert shown.as_of == message.effective_time
        told = wire.subscription(shown) if noun == "subscription" else wire.allocation(shown, wording)
    return told, told.pop("name")


def _sums(message: Any) -> looking.Sums:
    valid, grace, allocated, suspended = (getattr(message, each) for each in SUMS)
    return valid, grace, allocated, suspended


def _plain(name: str, wording: Wording) -> str:
    return _id(name).removeprefix(wording.prefix)


def _id(name: str) -> str:
    return name.rpartition("/")[2]


def some_filter(entries: Sequence[words.Entry], dice: random.Random) -> tuple[Shown, list[words.Entry]]:
    """Fields of a ListEntriesRequest, in the model's words, and the entries that they want."""
    wanted = list(entries)
    asked: Shown = {}
    if dice.random() < 0.5:
        asked["kinds"] = dice.sample(sorted({each.kind for each in entries}), 1)
        wanted = [each for each in wanted if each.kind in asked["kinds"]]
    if dice.random() < 0.4:
        of_resource = [each for each in wanted if each.resource != "organization"]
        if of_resource:
            asked["resource"] = dice.choice(of_resource).resource
            wanted = [each for each in wanted if each.resource == asked["resource"]]
    if dice.random() < 0.5:
        asked["start"] = dice.choice(entries).effective + dice.choice((0, 1))
        wanted = [each for each in wanted if each.effective >= asked["start"]]
    if dice.random() < 0.5:
        asked["end"] = max(asked.get("start", 0), dice.choice(entries).effective + dice.choice((0, 1)))
        wanted = [each for each in wanted if each.effective < asked["end"]]
    if dice.random() < 0.3:
        asked["after_revision"] = dice.choice(entries).revision
        wanted = [each for each in wanted if each.revision > asked["after_revision"]]
    if dice.random() < 0.5:
        asked["newest_first"] = True
        wanted.reverse()
    return asked, wanted


def entries_asked(asked: Shown, wording: Wording) -> Shown:
    """The fields of a ListEntriesRequest, on the wire."""
    fields: Shown = {"parent": wording.parent}
    kinds = resources_pb2.Entry.Kind
    fields["kinds"] = [kinds.Value(each.upper()) for each in asked.get("kinds", ())]
    fields |= {key: asked[key] for key in ("after_revision", "newest_first") if key in asked}
    noun, _, key = asked.get("resource", "").partition("/")
    if noun:
        fields["resource"] = wording.allocation(key) if noun == "allocations" else wording.subscription(key)
    interval = {f"{side}_time": instant_sent(asked[side]) for side in ("start", "end") if side in asked}
    return fields | ({"interval": interval} if interval else {})
