"""A refusal as it crosses the wire: status code, ErrorInfo, and the standard detail that fits."""

from collections.abc import Sequence
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from services.ledger.rules.refusal import Reason, Refused

DOMAIN: Final = "earmark"
DETAIL_BYTES_MAX: Final = 4_096
BATCH_DETAIL_BYTES_MAX: Final = 2_048
"""Of one operation's error in a batch answer."""
RETRY_MILLISECONDS: Final = 200

CODES: Final[dict[Reason, grpc.StatusCode]] = {
    Reason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.MALFORMED_MESSAGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_PAGE_TOKEN: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.ORGANIZATION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.SUBSCRIPTION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.OFFERING_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.ALLOCATION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.ORGANIZATION_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.SUBSCRIPTION_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.OFFERING_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.ALLOCATION_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.RENEWAL_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.INSUFFICIENT_CREDITS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.WOULD_SUSPEND: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.SUBSCRIPTION_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.SUSPENDED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.OFFERING_RETIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UNITS_BELOW_ZERO: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.LIMIT_EXCEEDED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.REQUEST_ID_REUSED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ETAG_MISMATCH: grpc.StatusCode.ABORTED,
    Reason.LOCK_TIMEOUT: grpc.StatusCode.UNAVAILABLE,
    Reason.TOO_MANY_WAITING: grpc.StatusCode.UNAVAILABLE,
    Reason.DATABASE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
    Reason.OUTCOME_UNKNOWN: grpc.StatusCode.UNAVAILABLE,
    Reason.REVISION_NOT_REACHED: grpc.StatusCode.OUT_OF_RANGE,
    Reason.HISTORY_REPLACED: grpc.StatusCode.OUT_OF_RANGE,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}


def status_of(refused: Refused, bytes_max: int = DETAIL_BYTES_MAX) -> status_pb2.Status:
    """The status, shorter than `bytes_max`: of a long list of bad fields the first are given, and the total; a detail
    does not repeat a long message."""
    shown, description = len(refused.violations), refused.message
    while True:
        status = _status(refused, shown, description)
        if status.ByteSize() < bytes_max or not (shown or description):
            return status
        shown, description = shown // 2, ""


def _status(refused: Refused, violations_shown: int, description: str) -> status_pb2.Status:
    info = error_details_pb2.ErrorInfo(reason=refused.reason, domain=DOMAIN, metadata=dict(refused.figures))
    details: list[Message] = [info]
    standard = _standard_detail(refused, violations_shown, description)
    if standard is not None:
        details.append(standard)
    return status_pb2.Status(code=CODES[refused.reason].value[0], message=refused.message, details=_packed(details))


def _standard_detail(refused: Refused, violations_shown: int, description: str) -> Message | None:
    code = CODES[refused.reason]
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field=each.field, description=each.description)
                for each in refused.violations[:violations_shown]
            ]
        )
    if code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS):
        kind = refused.resource.split("/")[-2].removesuffix("s")
        return error_details_pb2.ResourceInfo(
            resource_type=f"earmark.v1/{kind}", resource_name=refused.resource, description=description
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        violation = error_details_pb2.QuotaFailure.Violation(subject=refused.resource, description=description)
        return error_details_pb2.QuotaFailure(violations=[violation])
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        precondition = error_details_pb2.PreconditionFailure.Violation(
            type=refused.reason, subject=refused.resource, description=description
        )
        return error_details_pb2.PreconditionFailure(violations=[precondition])
    if code is grpc.StatusCode.UNAVAILABLE and refused.reason is not Reason.OUTCOME_UNKNOWN:
        delay = duration_pb2.Duration(nanos=RETRY_MILLISECONDS * 1_000_000)
        return error_details_pb2.RetryInfo(retry_delay=delay)
    return None


def _packed(details: Sequence[Message]) -> list[any_pb2.Any]:
    packed = []
    for each in details:
        wrapped = any_pb2.Any()
        wrapped.Pack(each)
        packed.append(wrapped)
    return packed
