"""A plain gRPC client that knows of Earmark only what the server's reflection tells."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

import grpc
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

DETAILS_KEY: Final = "grpc-status-details-bin"
PACKAGE: Final = "earmark.v1."
SECONDS: Final = 20.0
DETAILS: Final = (
    error_details_pb2.BadRequest,
    error_details_pb2.ErrorInfo,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.QuotaFailure,
    error_details_pb2.ResourceInfo,
    error_details_pb2.RetryInfo,
)

Metadata = list[tuple[str, str | bytes]]


@dataclass(eq=False)
class Refusal(Exception):
    """How a call was refused, as the wire says it."""

    code: str
    message: str
    reason: str = ""
    domain: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)
    """The metadata of the ErrorInfo."""
    fields: tuple[str, ...] = ()
    """Those that a BadRequest names."""
    details: tuple[str, ...] = ()
    """The kinds of the details."""
    size: int = 0
    """The bytes of the whole status."""


def refusal_of(status: status_pb2.Status, code: str = "") -> Refusal:
    """What a status says, of a call or of an operation in a batch answer."""
    found: dict[str, Any] = {}
    for packed in status.details:
        for kind in DETAILS:
            if packed.TypeName() == kind.DESCRIPTOR.full_name:
                detail = kind()
                packed.Unpack(detail)
                found[kind.DESCRIPTOR.name] = detail
    info = found.get("ErrorInfo", error_details_pb2.ErrorInfo())
    bad = found.get("BadRequest", error_details_pb2.BadRequest())
    return Refusal(
        code=code or next(each.name for each in grpc.StatusCode if each.value[0] == status.code),
        message=status.message,
        reason=info.reason,
        domain=info.domain,
        figures=dict(info.metadata),
        fields=tuple(each.field for each in bad.field_violations),
        details=tuple(found),
        size=status.ByteSize(),
    )


class ReflectedClient:
    """Calls every method of the services in `earmark.v1` that the server names, by the method's name.

    `packages` are what else the services may be in.
    """

    def __init__(self, address: str, packages: tuple[str, ...] = ()) -> None:
        self._address = address
        self._packages = (PACKAGE, *packages)
        self._channel = aio.insecure_channel(address)
        self.methods: dict[str, MethodDescriptor] = {}

    async def __aenter__(self) -> "ReflectedClient":
        await asyncio.to_thread(self._reflect)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    def request(self, method: str, **fields: Any) -> Any:
        """A request of the method; a value that is a dict becomes a message or a map, None is left out."""
        sent = {name: value for name, value in fields.items() if value is not None}
        return self.message(self.methods[method].input_type)(**sent)

    def message(self, descriptor: Descriptor) -> type[Any]:
        kind: type[Any] = GetMessageClass(descriptor)
        return kind

    async def call(self, method: str, **fields: Any) -> Any:
        """The answer, of a stream the first; raises Refusal."""
        return await self.send(method, self.request(method, **fields).SerializeToString())

    async def send(self, method: str, data: bytes, metadata: Metadata | None = None) -> Any:
        """As `call`, with any bytes for the request."""
        described = self.methods[method]
        path = f"/{described.containing_service.full_name}/{method}"
        answer = self.message(described.output_type).FromString
        ask: Any = self._channel.unary_stream if described.server_streaming else self._channel.unary_unary
        called = ask(path, request_serializer=None, response_deserializer=answer)(
            data, timeout=SECONDS, metadata=metadata
        )
        try:
            return await (called.read() if described.server_streaming else called)
        except aio.AioRpcError as error:
            raise refusal_from(error) from None
        finally:
            called.cancel()

    def _reflect(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            pool = DescriptorPool(database)
            for service in database.get_services():
                if service.startswith(self._packages):
                    for method in pool.FindServiceByName(service).methods:
                        self.methods[method.name] = method
                        _fetch(method.input_type, set())
                        _fetch(method.output_type, set())


def _fetch(descriptor: Descriptor, seen: set[str]) -> None:
    """Has everything that a message consists of looked up while the way to do so is open."""
    if descriptor.full_name not in seen:
        seen.add(descriptor.full_name)
        for each in descriptor.fields:
            if each.message_type is not None:
                _fetch(each.message_type, seen)


def refusal_from(error: aio.AioRpcError) -> Refusal:
    """What the error of a call says."""
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            with suppress(ValueError):
                status.ParseFromString(value if isinstance(value, bytes) else value.encode())
    status.message = status.message or error.details() or ""
    return refusal_of(status, error.code().name)
