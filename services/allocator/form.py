"""Form and bounds of what is sent: every bad field of a request is found before any of it is looked at."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from services.ledger.rules import limits
from services.ledger.rules.encoding import MICROSECOND
from services.ledger.rules.refusal import FieldViolation, invalid_fields
from services.wire import EPOCH

ID_RULE: Final = "1 to 128 ASCII letters, digits and -._~, beginning with a letter or a digit"
NANOS: Final = 1_000_000_000
EVERYTHING: Final = "-"


class Form:
    """Collects what is wrong with a request. Each method returns a usable value, right or wrong; `check` decides."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self.violations: list[FieldViolation] = []

    def check(self) -> None:
        """Raises Refused with every bad field if there is any."""
        if self.violations:
            raise invalid_fields(tuple(self.violations))

    def fail(self, field: str, description: str) -> None:
        self.violations.append(FieldViolation(self._prefix + field, description))

    def within(self, prefix: str) -> "Form":
        """A form for a part of the request, whose violations are this one's."""
        part = Form(self._prefix + prefix)
        part.violations = self.violations
        return part

    def organization(self, field: str, value: str, *, or_all: bool = False) -> str:
        """The id in `organizations/{organization}`; with `or_all` also `-`."""
        return self._name(field, value, ("organizations",), or_all=or_all)[0]

    def offering(self, field: str, value: str) -> str:
        return self._name(field, value, ("offerings",))[0]

    def subscription(self, field: str, value: str) -> tuple[str, str]:
        """(organization, subscription)"""
        organization, subscription = self._name(field, value, ("organizations", "subscriptions"))
        return organization, subscription

    def allocation(self, field: str, value: str) -> tuple[str, str]:
        """(organization, allocation)"""
        organization, allocation = self._name(field, value, ("organizations", "allocations"))
        return organization, allocation

    def id(self, field: str, value: str) -> str:
        if not limits.ID_PATTERN.match(value):
            self.fail(field, f"must be {ID_RULE}{_but_is(value)}")
        return value

    def whole(self, field: str, value: int, lowest: int, highest: int, hint: str = "") -> int:
        if not lowest <= value <= highest:
            self.fail(field, f"must be {lowest} to {highest}, but is {value}{hint}")
        return value

    def text(self, field: str, value: str) -> str:
        if len(value) > limits.TEXT_CHARACTERS_MAX:
            self.fail(field, f"must have at most {limits.TEXT_CHARACTERS_MAX} characters, but has {len(value)}")
        if limits.has_control_characters(value):
            self.fail(field, "must not contain control characters")
        return value

    def labels(self, field: str, value: Mapping[str, str]) -> dict[str, str]:
        if not value:
            return {}
        if len(value) > limits.LABELS_MAX:
            self.fail(field, f"must be at most {limits.LABELS_MAX}, but are {len(value)}")
            return {}
        for key, text in value.items():
            for side, part in (("key", key), ("value", text)):
                size = len(part.encode())
                if size > limits.LABEL_BYTES_MAX:
                    self.fail(
                        f"{field}[{_short(key)}]",
                        f"its {side} has {size} bytes; at most {limits.LABEL_BYTES_MAX} are allowed",
                    )
                if limits.has_control_characters(part):
                    self.fail(f"{field}[{_short(key)}]", f"its {side} must not contain control characters")
            if not key:
                self.fail(field, "a key must not be empty")
        return dict(value)

    def request_id(self, field: str, value: str, *, required: bool = False, why: str = "") -> str:
        if not value and required:
            self.fail(field, f"is required {why}: a retry would otherwise do it twice; best send a UUID")
        if value and not limits.REQUEST_ID_PATTERN.match(value):
            self.fail(field, "must be 1 to 128 printable ASCII characters")
        return value

    def etag(self, field: str, value: str) -> str:
        """Whatever it says, it must be short enough to be shown to whoever sent it."""
        if value and not limits.REQUEST_ID_PATTERN.match(value):
            self.fail(field, "must be an etag that was read, or empty")
        return value

    def instant(self, field: str, value: Timestamp) -> datetime:
        """To the microsecond; what is finer is cut off. EPOCH for what is no instant of ours."""
        seconds = value.seconds
        if not 0 <= value.nanos < NANOS:
            self.fail(f"{field}.nanos", f"must be 0 to 999999999, but is {value.nanos}")
        elif not _seconds(limits.INSTANT_MIN) <= seconds < _seconds(limits.INSTANT_END):
            self.fail(field, f"must lie in the years 2000 to 2200, but is {seconds} s from the epoch")
        else:
            return EPOCH + timedelta(seconds=seconds, microseconds=value.nanos // 1000)
        return EPOCH

    def required_instant(self, field: str, holder: Message, name: str) -> datetime:
        """That of the holder's field `name`, which must be set."""
        if not holder.HasField(name):
            self.fail(field, "is required")
            return EPOCH
        sent: Timestamp = getattr(holder, name)
        return self.instant(field, sent)

    def grace_period(self, field: str, value: Duration) -> timedelta:
        if not -NANOS < value.nanos < NANOS or value.seconds * value.nanos < 0:
            self.fail(f"{field}.nanos", "must be -999999999 to 999999999 and have the sign of the seconds")
            return timedelta()
        sign = 1 if value.nanos > 0 else -1  # What is finer is cut off.
        microseconds = value.seconds * 1_000_000 + sign * (abs(value.nanos) // 1000)
        if not 0 <= microseconds <= limits.GRACE_MAX // MICROSECOND:
            self.fail(field, f"must be 0 to 365 days (31536000 s), but is {value.seconds} s")
            return timedelta()
        return microseconds * MICROSECOND

    def price(self, field: str, value: str) -> Decimal:
        """A plain decimal number: digits, and at most 6 after a point."""
        if not limits.PRICE_PATTERN.match(value) or Decimal(value) > limits.PRICE_MAX:
            self.fail(
                field,
                "must be a plain decimal number, 0 to 1000000000 with at most 6 places, such as 20 or 0.05"
                + _but_is(value),
            )
            return Decimal(0)
        return Decimal(value)

    def mask(self, field: str, mask: FieldMask, message: Message, settable: Iterable[str]) -> frozenset[str]:
        """The fields to set: those named, all for `*`, and where no mask was sent those that are populated."""
        paths, allowed = set(mask.paths), frozenset(settable)
        if not paths:
            populated = {each.name for each, _ in message.ListFields()}
            return allowed & populated
        for path in sorted(paths - allowed - {"*"}):
            self.fail(field, f"'{_short(path)}' cannot be set; {', '.join(sorted(allowed))} can")
        return allowed if "*" in paths else allowed & paths

    def _name(self, field: str, value: str, collections: tuple[str, ...], *, or_all: bool = False) -> list[str]:
        """The ids of a resource name, one for each collection."""
        parts = value.split("/", 2 * len(collections))
        ids = parts[1::2]
        well_formed = len(parts) == 2 * len(collections) and tuple(parts[::2]) == collections
        if not well_formed or not all(limits.ID_PATTERN.match(each) or (or_all and each == EVERYTHING) for each in ids):
            pattern = "/".join(f"{each}/{{{each[:-1]}}}" for each in collections)
            also = " or organizations/-" if or_all else ""
            self.fail(field, f"must be {pattern}{also}, each id {ID_RULE}{_but_is(value)}")
            return ["" for _ in collections]
        return ids


def _short(value: str) -> str:
    """At most 64 bytes, with what cannot be printed escaped: an error has room for no more."""
    escaped = repr(value[:65])[1:-1].encode()
    return escaped.decode() if len(escaped) <= 64 else escaped[:61].decode(errors="ignore") + "..."


def _but_is(value: str) -> str:
    return f", but is '{_short(value)}'" if value else ", but is empty"


def _seconds(instant: datetime) -> int:
    return int((instant - EPOCH).total_seconds())
