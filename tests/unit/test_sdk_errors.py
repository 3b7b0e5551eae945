"""A class for each reason, an attribute for each figure."""

import copy
import inspect
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from earmark import EarmarkError, errors
from earmark.messages.retrying import Retry, may_pass
from earmark.v1.error_reason_pb2 import ErrorReason

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
REASONS = [name for name in ErrorReason.DESCRIPTOR.values_by_name if not name.endswith("UNSPECIFIED")]
INSTANTS = {"now", "until", "coveredUntil", "coveredUntilBefore"}
# Of the call, not of the error; and what is always the same.
OTHERWISE = {"requestId": "reused_id", "outcome": "is_outcome_open"}


def error(
    reason: str, code: StatusCode, metadata: Mapping[str, str] | None = None, retry_seconds: float | None = None
) -> EarmarkError:
    """As it comes over the wire."""
    status = status_pb2.Status(code=code.value[0], message="Why, and the way out.")
    if reason:
        info = error_details_pb2.ErrorInfo(reason=reason, domain="earmark", metadata=metadata or {})
        status.details.add().Pack(info)
    if retry_seconds is not None:
        delay = Duration(nanos=int(retry_seconds * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return EarmarkError.from_status(status, "r-1")


def figures_of(reason: str) -> list[str]:
    """The keys that the page lists for it."""
    section = re.search(rf"^### {reason}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, f"docs/errors.md says nothing of {reason}"
    return re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE)


def snake(key: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", key)


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_has_a_class_and_each_of_its_figures_an_attribute(reason: str) -> None:
    kind = EarmarkError.reasons[reason]
    assert kind.__name__ in errors.__all__
    found = error(reason, StatusCode.UNKNOWN)
    assert type(found) is kind
    for key in figures_of(reason):
        attribute = OTHERWISE.get(key, snake(key))
        assert inspect.getattr_static(kind, attribute, None), f"{kind.__name__} has no {attribute!r}"


@pytest.mark.parametrize("reason", REASONS)
def test_the_figures_are_read(reason: str) -> None:
    texts = {
        key: "2027-01-31T00:00:00.000001Z" if "ime" in key or key in INSTANTS else "7" for key in figures_of(reason)
    }
    found = error(reason, StatusCode.UNKNOWN, texts)
    for key in texts:
        value = getattr(found, OTHERWISE.get(key, snake(key)))
        assert value is not None
        assert not isinstance(value, errors.Figure)


def test_a_reason_of_a_later_release_is_of_the_class_of_its_code() -> None:
    assert type(error("NEW_AND_GONE", StatusCode.NOT_FOUND)) is errors.NotFound
    assert type(error("NEW_AND_BUSY", StatusCode.UNAVAILABLE)) is errors.Unavailable
    assert type(error("NEW", StatusCode.DATA_LOSS)) is EarmarkError
    assert type(error("NEW", StatusCode.RESOURCE_EXHAUSTED)) is EarmarkError, "not one whose figures it does not have"
    assert type(error("NEW", StatusCode.ABORTED)) is errors.Aborted
    assert error("NEW", StatusCode.NOT_FOUND).reason == "NEW"


def test_what_comes_from_grpc_itself_has_no_reason() -> None:
    assert type(error("", StatusCode.UNAVAILABLE)) is errors.Unreachable
    assert type(error("", StatusCode.DEADLINE_EXCEEDED)) is errors.DeadlineExceeded
    assert type(error("", StatusCode.RESOURCE_EXHAUSTED)) is EarmarkError


def test_a_figure_that_did_not_come_is_told_from_one_that_is_unset() -> None:
    found = error("INSUFFICIENT_CREDITS", StatusCode.RESOURCE_EXHAUSTED, {"shortfall": "5"})
    assert isinstance(found, errors.InsufficientCredits)
    assert (found.shortfall, found.next_start_time) == (5, None)
    with pytest.raises(AttributeError, match="came without its figure 'required'"):
        _ = found.required


@pytest.mark.parametrize(
    ("reason", "code", "is_open"),
    [
        ("OUTCOME_UNKNOWN", StatusCode.UNAVAILABLE, True),
        ("INTERNAL", StatusCode.INTERNAL, True),
        ("LOCK_TIMEOUT", StatusCode.UNAVAILABLE, False),
        ("INSUFFICIENT_CREDITS", StatusCode.RESOURCE_EXHAUSTED, False),
        ("", StatusCode.UNAVAILABLE, True),
        ("", StatusCode.DEADLINE_EXCEEDED, True),
        ("", StatusCode.RESOURCE_EXHAUSTED, False),
    ],
)
def test_whether_it_may_have_happened(reason: str, code: StatusCode, is_open: bool) -> None:
    assert error(reason, code).is_outcome_open is is_open


def test_an_attempt_that_was_put_off_does_not_close_what_an_earlier_one_left_open() -> None:
    def put_off() -> EarmarkError:
        return error("LOCK_TIMEOUT", StatusCode.UNAVAILABLE)

    lost = error("", StatusCode.UNAVAILABLE)
    then = put_off().after(lost)
    assert then.is_outcome_open
    assert put_off().after(then).is_outcome_open
    assert pickle.loads(pickle.dumps(then)).is_outcome_open
    assert not put_off().after(put_off()).is_outcome_open
    refused = error("INSUFFICIENT_CREDITS", StatusCode.RESOURCE_EXHAUSTED).after(lost)
    assert not refused.is_outcome_open, "had the first one taken effect, it would have been answered again"


def test_errors_are_copied_and_pickled() -> None:
    found = error("INSUFFICIENT_CREDITS", StatusCode.RESOURCE_EXHAUSTED, {"shortfall": "5"}, retry_seconds=0.5)
    for again in (copy.copy(found), pickle.loads(pickle.dumps(found))):
        assert isinstance(again, errors.InsufficientCredits)
        assert (again.shortfall, again.request_id, again.retry_after_seconds) == (5, "r-1", 0.5)
        assert str(again) == str(found)


def test_only_what_may_pass_is_tried_again() -> None:
    again = [reason for reason in REASONS if f"| [`{reason}`](#{reason.lower()}) | `UNAVAILABLE` |" in PAGE]
    assert len(again) == 5
    for reason in again:
        assert may_pass(error(reason, StatusCode.UNAVAILABLE))
    for code in (StatusCode.UNAVAILABLE, StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.CANCELLED):
        assert may_pass(error("", code))
    for code in (StatusCode.DEADLINE_EXCEEDED, StatusCode.UNIMPLEMENTED, StatusCode.UNAUTHENTICATED):
        assert not may_pass(error("", code))
    assert not may_pass(error("INTERNAL", StatusCode.INTERNAL))
    assert not may_pass(error("ETAG_MISMATCH", StatusCode.ABORTED))


def test_pauses_double_and_never_undercut_what_is_asked_for() -> None:
    retry = Retry(initial_seconds=0.1, max_seconds=1.0)
    for asked in (0.0, 0.5):
        wanted = error("TOO_MANY_WAITING", StatusCode.UNAVAILABLE, retry_seconds=asked)
        for failures, longest in ((1, 0.1), (2, 0.2), (4, 0.8), (5, 1.0), (1_000, 1.0)):
            pauses = [retry.pause_seconds(failures, wanted) - asked for _ in range(200)]
            assert longest / 2 - 1e-9 <= min(pauses) < max(pauses) <= longest + 1e-9
