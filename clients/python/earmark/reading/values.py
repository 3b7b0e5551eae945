"""Values that many messages hold."""

from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from earmark.types.resources import Word

W = TypeVar("W", bound=Word)


def instant(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)


def instant_if_set(message: Any, field: str) -> datetime | None:
    return instant(getattr(message, field)) if message.HasField(field) else None


def number_if_set(message: Any, field: str) -> int | None:
    return getattr(message, field) if message.HasField(field) else None


def word(kind: type[W], names: Any, value: int) -> W:
    """The enum's word for a number; the number itself where only a later release has a word for it."""
    try:
        return kind(names.Name(value))
    except ValueError:
        return kind(str(value))
