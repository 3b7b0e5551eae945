"""What every error of a call has in common, and how it is read from what came over the wire."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, Generic, Self, TypeVar, cast, overload

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN: Final = "earmark"

T = TypeVar("T")

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
    """A call that did not succeed. Decide by its class or its reason, never by the code alone.

    reason: the name of an `earmark.v1.ErrorReason`, such as "INSUFFICIENT_CREDITS"; "" where the error does
        not come from Earmark itself (nobody listens at that address, the deadline has passed).
    code: the status code, of which there are fewer than reasons.
    message: a sentence for people.
    metadata: every figure of the message, by its camelCase name.
    details: the messages of google.rpc that came with it (BadRequest, RetryInfo, ...).
    request_id: the id that the call was sent with; "" for reads. The same call may be sent with it again.

    A reason of a later release, which has no class here yet, is of the class of its code.
    """

    reasons: ClassVar[dict[str, type["EarmarkError"]]] = {}
    """The class of each reason."""
    codes: ClassVar[dict[grpc.StatusCode, type["EarmarkError"]]] = {}
    """The class of what has an unknown reason."""
    bare_codes: ClassVar[dict[grpc.StatusCode, type["EarmarkError"]]] = {}
    """The class of what comes from gRPC itself, without a reason."""

    def __init__(
        self,
        *,
        reason: str,
        code: grpc.StatusCode,
        message: str,
        metadata: Mapping[str, str] | None = None,
        details: Sequence[Any] = (),
        request_id: str = "",
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.reason = reason
        self.code = code
        self.message = message
        self.metadata = dict(metadata or {})
        self.details = list(details)
        self.request_id = request_id
        self._was_open = False

    def __init_subclass__(
        cls, *, reason: str = "", code: grpc.StatusCode | None = None, bare_code: grpc.StatusCode | None = None
    ) -> None:
        if reason:
            cls.reasons[reason] = cls
        if code:
            cls.codes[code] = cls
        if bare_code:
            cls.bare_codes[bare_code] = cls

    @property
    def is_outcome_open(self) -> bool:
        """Whether a mutation may have taken effect nevertheless. The same call with `request_id` finds out.

        An earlier attempt counts as well: a later one that was put off, or that Earmark itself did not see, says
        nothing of what became of it.
        """
        is_open = self.reason in ("OUTCOME_UNKNOWN", "INTERNAL") or (not self.reason and self.code in _OPEN)
        return is_open or (self._was_open and (not self.reason or self.code is grpc.StatusCode.UNAVAILABLE))

    def after(self, earlier: "EarmarkError | None") -> Self:
        """This error, as that of an attempt after the earlier one of the same call."""
        self._was_open = self._was_open or (earlier is not None and earlier.is_outcome_open)
        return self

    @property
    def retry_after_seconds(self) -> float:
        """The server asks for no other attempt before so many seconds; 0 if it does not say."""
        asked = [
            float(detail.retry_delay.ToTimedelta().total_seconds())
            for detail in self.details
            if isinstance(detail, error_details_pb2.RetryInfo)
        ]
        return max([0.0, *asked])

    @property
    def operation_index(self) -> int | None:
        """Of several operations that are all or nothing: the one that was refused, from 0."""
        return _index(self.metadata.get("operationIndex"))

    @property
    def line_index(self) -> int | None:
        """Of several lines of an estimate: the one that was refused, from 0."""
        return _index(self.metadata.get("lineIndex"))

    @staticmethod
    def of(
        reason: str,
        code: grpc.StatusCode,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        details: Sequence[Any] = (),
        request_id: str = "",
    ) -> "EarmarkError":
        """An error of the class that belongs to it."""
        fallback = EarmarkError.codes if reason else EarmarkError.bare_codes
        kind = EarmarkError.reasons.get(reason) or fallback.get(code, EarmarkError)
        return kind(
            reason=reason, code=code, message=message, metadata=metadata, details=details, request_id=request_id
        )

    @staticmethod
    def from_status(status: status_pb2.Status, request_id: str = "") -> "EarmarkError":
        """The error that a google.rpc.Status stands for, as in a result of ApplyOperations."""
        details = [_unpack(packed) for packed in status.details]
        info = next((detail for detail in details if _is_ours(detail)), error_details_pb2.ErrorInfo())
        return EarmarkError.of(
            info.reason,
            _CODES.get(status.code, grpc.StatusCode.UNKNOWN),
            status.message,
            metadata=info.metadata,
            details=details,
            request_id=request_id,
        )

    @staticmethod
    def from_rpc(error: grpc.aio.AioRpcError, request_id: str = "") -> "EarmarkError":
        status = _rich_status(error) or status_pb2.Status(code=error.code().value[0], message=error.details() or "")
        return EarmarkError.from_status(status, request_id)

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.reason, self.code, self.message, self.metadata, self.details, self.request_id)
        return _again, arguments, {"_was_open": self._was_open}


class Figure(Generic[T]):
    """A figure of an error, read from its metadata: `error.shortfall`."""

    def __init__(self, key: str, read: Callable[[str], T]) -> None:
        self._key = key
        self._read = read

    @overload
    def __get__(self, error: None, owner: type[EarmarkError]) -> Self: ...

    @overload
    def __get__(self, error: EarmarkError, owner: type[EarmarkError]) -> T: ...

    def __get__(self, error: EarmarkError | None, owner: type[EarmarkError]) -> "Self | T":
        if error is None:
            return self
        if self._key not in error.metadata:
            raise AttributeError(f"{error.reason} came without its figure {self._key!r}")
        return self._read(error.metadata[self._key])


class OptionalFigure(Figure[T | None]):
    """As `Figure`; None where it is unset."""

    def __get__(self, error: EarmarkError | None, owner: type[EarmarkError]) -> Any:
        return None if error is not None and self._key not in error.metadata else super().__get__(error, owner)


def number(key: str) -> Figure[int]:
    return Figure(key, int)


def text(key: str) -> Figure[str]:
    return Figure(key, str)


def optional_instant(key: str) -> Figure[datetime | None]:
    return OptionalFigure(key, datetime.fromisoformat)


def optional_number(key: str) -> Figure[int | None]:
    return OptionalFigure(key, int)


_OPEN: Final = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
)


def _again(
    reason: str,
    code: grpc.StatusCode,
    message: str,
    metadata: Mapping[str, str],
    details: Sequence[Any],
    request_id: str,
) -> EarmarkError:
    """Exceptions with keyword arguments are not copied or pickled otherwise."""
    return EarmarkError.of(reason, code, message, metadata=metadata, details=details, request_id=request_id)


def _index(value: str | None) -> int | None:
    return int(value) if value else None


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
