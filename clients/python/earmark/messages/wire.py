"""From Python's values to those of the contract."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.interval_pb2 import Interval

from earmark.v1.resources_pb2 import Price


def timestamp(instant: datetime | None) -> Timestamp | None:
    """Raises ValueError for an instant without a time zone: it could mean anything."""
    if instant is None:
        return None
    if instant.utcoffset() is None:
        raise ValueError(f"{instant!r} has no time zone; use datetime.timezone.utc")
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def duration(length: timedelta | None) -> Duration | None:
    if length is None:
        return None
    message = Duration()
    message.FromTimedelta(length)
    return message


def interval(start: datetime | None, end: datetime | None) -> Interval | None:
    """`[start, end)`, either side left open where it is None."""
    if start is None and end is None:
        return None
    return Interval(start_time=timestamp(start), end_time=timestamp(end))


def price(
    credits_per_block: str | int | Decimal,
    *,
    block_units: int | None = None,
    max_credits: int | None = None,
    effective_time: datetime | None = None,
) -> Price:
    """A price: so many credits for each begun block of units, at most `max_credits` for one allocation.

    Credits per block may be a decimal number of at most 6 places, never a float. Without `effective_time` it
    is the price from now on.
    """
    exact = f"{credits_per_block:f}" if isinstance(credits_per_block, Decimal) else str(credits_per_block)
    return Price(
        credits_per_block=exact,
        block_units=block_units,
        max_credits=max_credits,
        effective_time=timestamp(effective_time),
    )


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that an update sets; their keys are its update mask. None means: leave it as it is."""
    return {field: value for field, value in fields.items() if value is not None}
