"""What is done to which attempt, as a case says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf import any_pb2, duration_pb2, json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from clients.conformance.host.contract import BY_NAME

DOMAIN: Final = "earmark"

OF_AN_ADDRESS: Final = ("dead", "mute", "not_serving")
"""As long as the case runs, whatever is called."""
ON_THE_WAY: Final = ("delay", "rewrite", "garble")
"""The attempt goes on."""
OF_CALLS: Final = ("refuse", "cut", "swallow", "lose", "replace", "goaway")
OF_STREAMS: Final = ("refuse", "cut", "end", "silence", "goaway")


@dataclass(frozen=True)
class Status:
    """How a call ends."""

    code: grpc.StatusCode
    message: str
    details: bytes = b""
    """A google.rpc.Status; empty: none, as when gRPC itself refuses."""


@dataclass(frozen=True)
class Fault:
    do: str
    method: str = ""
    attempts: Sequence[int] | None = (1,)
    """From 1; None: every one."""
    address: int | None = None
    """From 1; None: any."""
    after: int = 0
    """So many messages of a stream."""
    milliseconds: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What is written into the request, as proto3 JSON."""
    status: Status | None = None

    def is_about(self, method: str, number: int, address: int) -> bool:
        return (
            self.method == method
            and (self.attempts is None or number in self.attempts)
            and self.address in (None, address)
        )


def read_fault(given: Mapping[str, Any]) -> Fault:
    """Raises ValueError for what is no fault, and ParseError for fields that its method does not have."""
    told = dict(given)
    attempts = told.pop("attempts", [1])
    status = told.pop("status", None)
    fault = Fault(
        do=str(told.pop("do", "")),
        method=str(told.pop("method", "")),
        attempts=None if attempts == "every" else tuple(attempts),
        address=told.pop("address", None),
        after=int(told.pop("after", 0)),
        milliseconds=int(told.pop("ms", 0)),
        fields=told.pop("set", {}),
        status=None if status is None else read_status(status),
    )
    if told:
        raise ValueError(f"a fault has no {', '.join(sorted(told))}")
    _check(fault)
    return fault


def _check(fault: Fault) -> None:
    if fault.do in OF_AN_ADDRESS:
        if fault.address is None or fault.method:
            raise ValueError(f"{fault.do!r} is done to an address, and to no method")
        return
    if fault.method not in BY_NAME:
        raise ValueError(f"the contract has no method {fault.method!r}")
    possible = (*ON_THE_WAY, *(OF_STREAMS if BY_NAME[fault.method].streams else OF_CALLS))
    if fault.do not in possible:
        raise ValueError(f"{fault.do!r} cannot be done to {fault.method}; {', '.join(possible)} can")
    if (fault.status is not None) != (fault.do in ("refuse", "replace")):
        raise ValueError(f"{fault.do!r}: `refuse` and `replace` have a status, and nothing else has")
    json_format.ParseDict(dict(fault.fields), BY_NAME[fault.method].request())


def read_status(given: Mapping[str, Any]) -> Status:
    """With a reason as Earmark refuses, without one as gRPC itself does. Raises ValueError for what is no status."""
    told = dict(given)
    code = grpc.StatusCode[told.pop("code")]
    message = told.pop("message", "as the case wants it")
    reason = told.pop("reason", "")
    metadata, domain = told.pop("metadata", {}), told.pop("domain", DOMAIN)
    retry_milliseconds = int(told.pop("retry_after_ms", 0))
    if told:
        raise ValueError(f"a status has no {', '.join(sorted(told))}")
    details: list[Message] = []
    if reason:
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata))
    if retry_milliseconds:
        seconds, rest = divmod(retry_milliseconds, 1_000)
        delay = duration_pb2.Duration(seconds=seconds, nanos=rest * 1_000_000)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if not details:
        return Status(code, message)
    rich = status_pb2.Status(code=code.value[0], message=message, details=[_packed(each) for each in details])
    return Status(code, message, rich.SerializeToString())


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
