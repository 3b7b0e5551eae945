"""How a call that did not succeed is told, and with which code the program ends."""

import json

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from earmark.cli import words
from earmark.errors import EarmarkError

REFUSED = 3
UNAVAILABLE = 6
INTERNAL = 7
EXIT_CODES = {
    grpc.StatusCode.FAILED_PRECONDITION: REFUSED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: REFUSED,
    grpc.StatusCode.ALREADY_EXISTS: REFUSED,
    grpc.StatusCode.ABORTED: REFUSED,
    grpc.StatusCode.NOT_FOUND: 4,
    grpc.StatusCode.INVALID_ARGUMENT: 5,
    grpc.StatusCode.OUT_OF_RANGE: 5,
    grpc.StatusCode.UNAVAILABLE: UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: UNAVAILABLE,
}
TITLES = {REFUSED: "Refused", 4: "Not found", 5: "Invalid", UNAVAILABLE: "Unavailable", INTERNAL: "Failed"}


def exit_code(error: EarmarkError) -> int:
    return EXIT_CODES.get(error.code, INTERNAL)


def to_json(message: Message) -> str:
    """Proto3 JSON on one line. Zeros are spelled out: a script should not have to know the defaults."""
    return MessageToJson(message, indent=None, always_print_fields_with_no_presence=True)


def error_rows(error: EarmarkError) -> list[tuple[str, str]]:
    rows = [("reason", error.reason) if error.reason else ("code", error.code.name)]
    rows += [(key, words.figure(error.metadata[key])) for key in sorted(error.metadata)]
    for detail in error.details:
        if isinstance(detail, error_details_pb2.BadRequest):
            rows += [(violation.field, violation.description) for violation in detail.field_violations]
    return rows


def error_json(error: EarmarkError) -> str:
    return json.dumps(
        {
            "reason": error.reason,
            "code": error.code.name,
            "message": error.message,
            "metadata": error.metadata,
            "details": [json.loads(to_json(detail)) for detail in error.details if not isinstance(detail, AnyMessage)],
            "requestId": error.request_id,
        }
    )
