"""The methods of the contract, and their messages as JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import json_format, message_factory
from google.protobuf.message import DecodeError, Message

from earmark.v1 import (
    allocation_service_pb2,
    catalog_service_pb2,
    organization_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
)

FILES: Final = (
    allocation_service_pb2.DESCRIPTOR,
    catalog_service_pb2.DESCRIPTOR,
    organization_service_pb2.DESCRIPTOR,
    subscription_service_pb2.DESCRIPTOR,
    usage_service_pb2.DESCRIPTOR,
)


@dataclass(frozen=True)
class Method:
    name: str
    """`EnableAllocation`."""
    path: str
    """`/earmark.v1.AllocationService/EnableAllocation`."""
    request: type[Message]
    streams: bool
    """Whether the answer is a stream."""

    def request_of(self, data: bytes) -> Message:
        """What cannot be read is an empty message."""
        message = self.request()
        try:
            message.ParseFromString(data)
        except DecodeError:
            message.Clear()
        return message


def _methods() -> Iterator[Method]:
    for file in FILES:
        for service in file.services_by_name.values():
            for method in service.methods:
                yield Method(
                    method.name,
                    f"/{service.full_name}/{method.name}",
                    message_factory.GetMessageClass(method.input_type),
                    bool(method.server_streaming),
                )


METHODS: Final[Mapping[str, Method]] = {method.path: method for method in _methods()}
BY_NAME: Final[Mapping[str, Method]] = {method.name: method for method in METHODS.values()}


def as_json(message: Message) -> dict[str, Any]:
    """proto3 JSON with the contract's field names: an int64 is a string, what is not set is left out."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def request_ids_of(message: Any) -> list[str]:
    """The request's own id and those of its operations, as far as there are any."""
    own = [getattr(message, "request_id", "")]
    return [each for each in [*own, *(step.request_id for step in getattr(message, "operations", ()))] if each]
