"""What the callers asked for and were told, in the pieces that the ledger takes or leaves as a whole."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.chaos.checks.ledgers import Key, key_of
from tests.chaos.checks.values import id_of, snake
from tests.chaos.history import Call, Message, Outcome

STEP_METHODS: Final = {
    "EnableAllocation": "enable",
    "AdjustAllocation": "adjust",
    "DisableAllocation": "disable",
    "UpdateAllocation": "update",
}
METHODS_OF_STEPS: Final = {step: method for method, step in STEP_METHODS.items()}
KINDS: Final = {
    "CreateSubscription": "SUBSCRIPTION_CREATED",
    "UpdateSubscription": "SUBSCRIPTION_AMENDED",
    "CancelSubscription": "SUBSCRIPTION_CANCELLED",
    "CreateOrganization": "ORGANIZATION_CREATED",
    "UpdateOrganization": "ORGANIZATION_UPDATED",
}
"""The entry of its own that each method writes, where it changes something."""
MUTATIONS: Final = frozenset({*STEP_METHODS, *KINDS, "ApplyOperations"})
OPEN_CODES: Final = frozenset({1, 2, 4, 13})
"""CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, INTERNAL: whether anything was changed is not said."""
NOT_MEANT: Final = frozenset({"request_id", "validate_only", "etag"})
"""Two requests that differ in these alone mean the same."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is to become of one allocation."""

    verb: str
    """enable, adjust, disable or update"""
    allocation: str
    units: int = 0
    """To be enabled, or to be added."""
    priority: int | None = None
    """None: kept."""
    labels: Message | None = None
    """None: kept."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A call that changes something, or one operation of one with `allow_partial`."""

    call: Call
    key: Key
    method: str
    request: Message
    steps: tuple[Step, ...]
    """Empty for what concerns no allocation."""
    outcome: Outcome
    answer: Message | None
    """Where it is `ok`: with `balance`, and the resource or `results`."""
    sharers: int = 1
    """How many operations of this call have this key."""

    @property
    def validate_only(self) -> bool:
        return bool(self.call.request.get("validate_only"))

    @property
    def revision(self) -> int:
        """What it was told; only where it is `ok`. 0 if it was told none."""
        assert self.answer is not None
        return int(self.answer.get("balance", {}).get("revision", 0))

    @property
    def shown_allocations(self) -> list[Message]:
        """What the answer shows of each step."""
        assert self.answer is not None
        if "results" in self.answer:
            return [result.get("allocation", {}) for result in self.answer["results"]]
        return [self.answer["allocation"]]

    @property
    def meaning(self) -> Message:
        """Of the request."""
        meaning: Message = without(self.request, NOT_MEANT)
        return meaning

    @property
    def words(self) -> str:
        return words_of(self.call, self.method, self.key[1])


def words_of(call: Call, method: str = "", request_id: str = "") -> str:
    """So that a person can find it."""
    return (
        f"{call.organization or 'catalogue'}: {method or call.method} ({call.client} number {call.number}, actor "
        f"{call.actor!r}, request id {request_id or call.request_id!r}, {call.started:.3f} to {call.ended:.3f})"
    )


def claims_of(call: Call) -> Iterator[Claim]:
    """In the order of the operations. Reads and the catalogue claim nothing."""
    if call.method not in MUTATIONS or not call.organization:
        return
    if call.method == "ApplyOperations" and call.request.get("allow_partial"):
        yield from _partial(call)
        return
    key = key_of(call.organization, call.request_id, call.actor)
    yield Claim(call, key, call.method, call.request, tuple(_steps(call)), call.outcome, call.answer)


def without(value: Any, names: frozenset[str]) -> Any:
    """A message without these fields, at any depth."""
    if isinstance(value, dict):
        return {key: without(inner, names) for key, inner in value.items() if key not in names}
    return [without(inner, names) for inner in value] if isinstance(value, list) else value


def _partial(call: Call) -> Iterator[Claim]:
    operations = call.request["operations"]
    results = call.answer["results"] if call.answer is not None else [None] * len(operations)
    keys = [key_of(call.organization, operation.get("request_id", ""), call.actor) for operation in operations]
    for operation, result, key in zip(operations, results, keys, strict=True):
        outcome = call.outcome if result is None else _outcome(result["status"])
        step = _step(operation)
        method = METHODS_OF_STEPS[step.verb]
        request = {"parent": call.request["parent"], **operation}
        answer = result if outcome == "ok" else None
        yield Claim(call, key, method, request, (step,), outcome, answer, keys.count(key))


def _outcome(status: Message) -> Outcome:
    if status["code"] == 0:
        return "ok"
    unknown = any(detail.get("metadata", {}).get("outcome") == "unknown" for detail in status["details"])
    return "open" if unknown or status["code"] in OPEN_CODES else "refused"


def _steps(call: Call) -> Iterator[Step]:
    if call.method == "ApplyOperations":
        yield from (_step(operation) for operation in call.request["operations"])
    elif call.method == "UpdateAllocation":
        yield _update_step(call.request)
    elif call.method in STEP_METHODS:
        yield _step({STEP_METHODS[call.method]: call.request})


def _step(operation: Mapping[str, Any]) -> Step:
    if "enable" in operation:
        sent = operation["enable"]
        allocation = sent["allocation_id"] or id_of(sent["offering"])
        return Step("enable", allocation, int(sent["units"]), sent.get("priority"), sent["labels"] or None)
    if "adjust" in operation:
        sent = operation["adjust"]
        return Step("adjust", id_of(sent["name"]), int(sent["delta_units"]))
    return Step("disable", id_of(operation["disable"]["name"]))


def _update_step(request: Message) -> Step:
    sent = request["allocation"]
    fields = masked(request, sent, ("priority", "labels"))
    return Step(
        "update", id_of(sent["name"]), 0, sent["priority"] if "priority" in fields else None, _labels(sent, fields)
    )


def _labels(sent: Message, fields: set[str]) -> Message | None:
    return sent["labels"] if "labels" in fields else None


def masked(request: Message, sent: Message, settable: tuple[str, ...]) -> set[str]:
    """The fields that an update is about."""
    mask = request.get("update_mask")
    if not mask:
        return {field for field in settable if sent.get(field) not in (None, "", "0", 0, {}, False)}
    fields = {snake(path) for path in mask.split(",")}
    return set(settable) if "*" in fields else fields
