"""What an answer must be, whatever was sent."""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from earmark.v1.error_reason_pb2 import ErrorReason
from tests.fuzz.by_hand import HANDS
from tests.fuzz.calling import Outcome
from tests.fuzz.inputs import MESSAGE_BYTES_MAX, Input
from tests.fuzz.values import is_map
from tests.support.reflected import Refusal, refusal_of

CODES: Final[Mapping[str, frozenset[str]]] = {
    "INVALID_ARGUMENT": frozenset({"BadRequest"}),
    "NOT_FOUND": frozenset({"ResourceInfo"}),
    "ALREADY_EXISTS": frozenset({"ResourceInfo"}),
    "RESOURCE_EXHAUSTED": frozenset({"QuotaFailure"}),
    "FAILED_PRECONDITION": frozenset({"PreconditionFailure"}),
    "ABORTED": frozenset(),
    "OUT_OF_RANGE": frozenset(),
}
"""The codes that bad input may have, each with its standard detail."""
DETAIL_BYTES_MAX: Final = 4_096
BATCH_DETAIL_BYTES_MAX: Final = 2_048
METADATA_BYTES_SURE: Final = 8_192
"""What is below is never refused by gRPC."""
ENTRY_BYTES: Final = 32
"""What HTTP/2 counts for each key beside its text."""
GRPC: Final = "grpc."
"""Health and reflection: their own codes, without ErrorInfo."""
NEVER: Final = ("INTERNAL", "UNKNOWN")
SHORT_OF_TIME: Final = ("LOCK_TIMEOUT", "DATABASE_UNAVAILABLE")
"""Reasons that a very short deadline may have too."""
ITEMS_OF_ONE: Final = {
    "ListAllocations": "allocations",
    "ListSubscriptions": "subscriptions",
    "ListEntries": "entries",
}
"""What may be asked of one organization, and the field with its items."""
ELEMENTS_MAX: Final = 1_000
TEXT_CHARACTERS_MAX: Final = 1_100
"""A page token's, the longest text there is."""
REPLIES_OF_EACH: Final = ("ApplyOperations", "CheckEntitlements")
"""Of several things, each of which may be refused by itself."""


def judge(each: Input, outcome: Outcome, methods: Mapping[str, MethodDescriptor]) -> str:
    """What is wrong with the answer; empty if nothing is. What it did to the ledger is judged elsewhere."""
    if each.hand:
        return _judge_by_hand(each, outcome)
    if outcome.code in NEVER:
        return f"{outcome.code}: {outcome.refusal.message[:300] if outcome.refusal else ''}"
    if _may_be_grpcs_own(each, outcome, methods):
        return ""
    if outcome.code == "OK":
        return _judge_answer(each, outcome.answer, methods[each.method])
    return judge_refusal(outcome.refusal or Refusal(outcome.code, ""), DETAIL_BYTES_MAX)


def judge_refusal(refused: Refusal, size: int) -> str:
    """What is wrong with a refusal of ours, that may have so many bytes."""
    if refused.code not in CODES:
        found = "a code that bad input does not have"
    elif refused.domain != "earmark" or refused.reason not in ErrorReason.DESCRIPTOR.values_by_name:
        found = "no ErrorInfo of ours"
    elif set(refused.details) != {"ErrorInfo", *CODES[refused.code]}:
        found = f"other details than it should have: {', '.join(refused.details)}"
    elif not refused.message:
        found = "no message"
    elif refused.size >= size:
        found = f"{refused.size} bytes of details"
    else:
        return ""
    return f"{found}: {refused.code} {refused.reason} {refused.message[:300]}"


def _judge_by_hand(each: Input, outcome: Outcome) -> str:
    hand = HANDS[each.hand]
    if outcome.code in NEVER and outcome.code != hand.grpcs_own:
        return f"{outcome.code}, though gRPC itself does not end this so"
    if outcome.code == "open":
        return "it was never ended" if hand.ends else ""
    if hand.is_call and hand.ends and outcome.code not in ("OK", *CODES):
        return f"ended by {outcome.code}"
    return ""


def _may_be_grpcs_own(each: Input, outcome: Outcome, methods: Mapping[str, MethodDescriptor]) -> bool:
    """What docs/errors.md lists as refused by gRPC itself."""
    if outcome.reason:
        return outcome.reason in SHORT_OF_TIME and each.kind == "deadline"
    if methods[each.method].containing_service.full_name.startswith(GRPC):
        return True
    return (
        (outcome.code == "RESOURCE_EXHAUSTED" and _is_too_large(each))
        or (outcome.code == "DEADLINE_EXCEEDED" and each.kind == "deadline")
        or (outcome.code == "CANCELLED" and each.kind == "cancelled")
    )


def _is_too_large(each: Input) -> bool:
    metadata = sum(len(key) + len(value) * 4 // 3 + ENTRY_BYTES for key, value in each.metadata)
    return len(each.data) > MESSAGE_BYTES_MAX or metadata > METADATA_BYTES_SURE


def _judge_answer(each: Input, answer: Any, method: MethodDescriptor) -> str:
    if each.method in REPLIES_OF_EACH:
        for result in answer.results:
            found = judge_refusal(refusal_of(result.status), BATCH_DETAIL_BYTES_MAX) if result.status.code else ""
            if found:
                return found
    try:
        request: Any = GetMessageClass(method.input_type).FromString(each.data)
    except DecodeError:
        return "bytes that are no message were accepted"
    if each.method in ITEMS_OF_ONE and request.parent != "organizations/-":
        items = getattr(answer, ITEMS_OF_ONE[each.method])
        if not all(item.name.startswith(f"{request.parent}/") for item in items):
            return "another organization's"
    if each.method in REPLIES_OF_EACH or method.containing_service.full_name.startswith(GRPC):
        return ""
    return _never_accepted(request) or ("" if answer is None else _never_shown(answer))


def _never_accepted(request: Any) -> str:
    """What no field of a request may hold if it is accepted. Within resources are fields that are not looked at."""
    for field, value in request.ListFields():
        elements = value if field.is_repeated else [value]
        if len(elements) > ELEMENTS_MAX:
            return f"{len(elements)} of {field.name} were accepted"
        if any(_is_illegal(field, element) for element in elements):
            return f"{field.name} was accepted"
    return ""


def _never_shown(answer: Any, path: str = "") -> str:
    """What no answer may hold, however deep: it would have been stored."""
    for field, value in answer.ListFields():
        where = f"{path}{field.name}"
        if is_map(field):
            continue
        for element in value if field.is_repeated else [value]:
            if field.message_type is not None:
                found = _never_shown(element, f"{where}.")
                if found:
                    return found
            elif _is_illegal(field, element):
                return f"{where} was accepted, and shown as {str(element)[:60]!r}"
    return ""


def _is_illegal(field: FieldDescriptor, element: Any) -> bool:
    if isinstance(element, str):
        return len(element) > TEXT_CHARACTERS_MAX or any(ord(each) < 0x20 for each in element)
    return field.enum_type is not None and element not in field.enum_type.values_by_number
