"""The one error that the client raises for a call that did not succeed."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN = "earmark"

_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_DETAILS: Sequence[type[Any]] = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.QuotaFailure,
    error_details_pb2.ResourceInfo,
    error_details_pb2.RetryInfo,
)


class EarmarkError(Exception):
    """A call that did not succeed. Decide by the reason, never by the code alone.

    reason: the name of an `earmark.v1.ErrorReason`, such as "INSUFFICIENT_CREDITS"; "" where the error does
        not come from Earmark itself (nobody listens at that address, the deadline has passed).
    code: the status code, of which there are fewer than reasons.
    message: a sentence for people.
    metadata: every figure of the message, by its camelCase name.
    details: the messages of google.rpc that came with it (BadRequest, RetryInfo, ...).
    request_id: the id that the call was sent with; "" for reads. The same call may be sent with it again.
    """

    def __init__(
        self,
        *,
        reason: str,
        code: grpc.StatusCode,
        message: str,
        metadata: Mapping[str, str],
        details: Sequence[Any],
        request_id: str = "",
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.reason = reason
        self.code = code
        self.message = message
        self.metadata = dict(metadata)
        self.details = list(details)
        self.request_id = request_id

    @classmethod
    def from_status(cls, status: status_pb2.Status, request_id: str = "") -> "EarmarkError":
        """The error that a google.rpc.Status stands for, as in a result of ApplyOperations."""
        details = [_unpack(packed) for packed in status.details]
        info = next((detail for detail in details if _is_ours(detail)), error_details_pb2.ErrorInfo())
        return cls(
            reason=info.reason,
            code=_CODES.get(status.code, grpc.StatusCode.UNKNOWN),
            message=status.message,
            metadata=info.metadata,
            details=details,
            request_id=request_id,
        )

    @classmethod
    def from_rpc(cls, error: grpc.aio.AioRpcError, request_id: str = "") -> "EarmarkError":
        status = _rich_status(error) or status_pb2.Status(code=error.code().value[0], message=error.details() or "")
        return cls.from_status(status, request_id)


def _rich_status(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """The google.rpc.Status of the trailing metadata; None if there is none, or none that fits the call."""
    try:
        # An AioRpcError has the three methods of a grpc.Call that are used here.
        status: status_pb2.Status | None = rpc_status.from_call(cast(grpc.Call, error))
    except (ValueError, DecodeError):
        return None
    return status


def _unpack(packed: AnyMessage) -> Any:
    for kind in _DETAILS:
        if packed.Is(kind.DESCRIPTOR):
            message = kind()
            packed.Unpack(message)
            return message
    return packed


def _is_ours(detail: Any) -> bool:
    return isinstance(detail, error_details_pb2.ErrorInfo) and detail.domain == DOMAIN
