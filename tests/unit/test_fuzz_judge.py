"""What the judge of bad input does not let pass."""

from dataclasses import replace
from typing import Any

import pytest

from earmark.v1 import organization_service_pb2, resources_pb2
from tests.fuzz.calling import Outcome
from tests.fuzz.inputs import MESSAGE_BYTES_MAX, Input
from tests.fuzz.judge import judge
from tests.fuzz.ledger_state import unexplained
from tests.fuzz.memory import GROWTH_MIB_MAX, PEAK_MIB_MAX, Memory
from tests.support.reflected import Refusal

METHODS = {
    each.name: each for each in organization_service_pb2.DESCRIPTOR.services_by_name["OrganizationService"].methods
}
CLEAR: dict[str, Any] = {
    "code": "INVALID_ARGUMENT",
    "message": "name: must be another",
    "reason": "INVALID_FIELD",
    "domain": "earmark",
    "details": ("ErrorInfo", "BadRequest"),
    "size": 200,
}


def an_input(kind: str = "a field", data: bytes = b"") -> Input:
    return Input(1, kind, "GetOrganization", "acme", data, "name = ''")


def verdict(kind: str = "a field", data: bytes = b"", **said: Any) -> str:
    refusal = Refusal(**{**CLEAR, **said})
    return judge(an_input(kind, data), Outcome(refusal.code, refusal), METHODS)


def test_a_clear_refusal_passes() -> None:
    assert verdict() == ""


@pytest.mark.parametrize(
    "said",
    [
        {"code": "INTERNAL"},
        {"code": "INTERNAL", "reason": "INTERNAL", "details": ("ErrorInfo",)},
        {"code": "UNKNOWN", "reason": "", "domain": "", "details": ()},
        {"code": "CANCELLED", "reason": "", "domain": "", "details": ()},
        {"code": "UNAVAILABLE", "reason": "TOO_MANY_WAITING", "details": ("ErrorInfo", "RetryInfo")},
        {"reason": "", "domain": "", "details": ()},
        {"reason": "MADE_UP"},
        {"domain": "example.com"},
        {"details": ("ErrorInfo",)},
        {"details": ("ErrorInfo", "BadRequest", "QuotaFailure")},
        {"message": ""},
        {"size": 4_096},
    ],
    ids=str,
)
def test_a_refusal_that_is_not_clear_is_found(said: dict[str, Any]) -> None:
    assert verdict(**said)


def test_what_grpc_refuses_itself_passes_only_where_it_should() -> None:
    bare: dict[str, Any] = {"reason": "", "domain": "", "details": ()}
    assert verdict(code="RESOURCE_EXHAUSTED", data=b"x" * (MESSAGE_BYTES_MAX + 1), **bare) == ""
    assert verdict(code="RESOURCE_EXHAUSTED", data=b"x" * 100, **bare)
    assert verdict(code="DEADLINE_EXCEEDED", kind="deadline", **bare) == ""
    assert verdict(code="DEADLINE_EXCEEDED", **bare)
    assert verdict(code="CANCELLED", kind="cancelled", **bare) == ""


def test_what_is_sent_by_hand_is_judged_by_its_ending() -> None:
    for hand, code, wrong in (
        ("GET", "UNKNOWN", False),
        ("GET", "INTERNAL", True),
        ("two messages", "INVALID_ARGUMENT", False),
        ("two messages", "reset", True),
        ("two messages", "open", True),
        ("no message", "open", False),
    ):
        sent = replace(an_input("by hand"), hand=hand)
        assert bool(judge(sent, Outcome(code), METHODS)) == wrong, (hand, code)


def test_a_request_that_should_never_be_accepted_is_found() -> None:
    answer = resources_pb2.Organization()
    accepted = organization_service_pb2.GetOrganizationRequest
    for name, wrong in (("organizations/a", False), ("organizations/a\0", True), ("x" * 2_000, True)):
        data = accepted(name=name).SerializeToString()
        assert bool(judge(an_input(data=data), Outcome("OK", answer=answer), METHODS)) == wrong


def test_a_change_that_nobody_asked_for_is_found() -> None:
    before = {("organization", "acme"): "1", ("entry", "witness"): "1", ("catalog", ""): "1"}
    assert unexplained(before, {**before, ("organization", "acme"): "2"}, [b"organizations/acme"]) == []
    assert unexplained(before, {**before, ("entry", "witness"): "2"}, [b"organizations/acme"])
    assert unexplained(before, {**before, ("catalog", ""): "2"}, [])
    assert unexplained(before, {("organization", "acme"): "1"}, [])


def test_memory_has_bounds() -> None:
    assert Memory(None, first=100, last=100 + GROWTH_MIB_MAX, peak=PEAK_MIB_MAX).problems() == []
    assert len(Memory(None, first=100, last=101 + GROWTH_MIB_MAX, peak=PEAK_MIB_MAX + 1).problems()) == 2
    assert Memory(None).problems() == []
    assert "not measured" in str(Memory(None))
