"""Numbers, instants and lengths of time as words for people."""

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_STEPS = (
    # below so many seconds, counted in so many seconds, called
    (60, 1, "s"),
    (3600, 60, "min"),
    (48 * 3600, 3600, "h"),
    (730 * 86400, 86400, "days"),
    (float("inf"), 365 * 86400, "years"),
)

_SPANS = (
    (timedelta(days=1), "day"),
    (timedelta(hours=1), "h"),
    (timedelta(minutes=1), "min"),
    (timedelta(seconds=1), "s"),
)


def clean(text: str) -> str:
    """What is printed must not steer the terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def number(value: int) -> str:
    return f"{value:,}"


def decimal(value: str) -> str:
    """A plain decimal number with thousands separators: `25,000`, `0.05`."""
    whole, point, places = value.partition(".")
    return f"{figure(whole)}{point}{places}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def signed(value: int) -> str:
    """`+2,000`, `-5`."""
    return f"{value:+,}"


def percent(part: int, whole: int) -> str:
    """`12.3 %`, rounded; `<0.1 %` of what is more than nothing; empty where there is no whole."""
    if whole <= 0:
        return ""
    tenths = (part * 2000 + whole) // (whole * 2)
    if part > 0 and not tenths:
        return "<0.1 %"
    return f"{tenths // 10:,}.{tenths % 10} %"


def second(value: Timestamp) -> str:
    """`2027-01-31 09:00:00Z`, cut to the second."""
    return f"{moment(value):%Y-%m-%d %H:%M:%SZ}"


def minute(value: Timestamp) -> str:
    """`2027-01-31 09:00Z`, cut to the minute."""
    return f"{moment(value):%Y-%m-%d %H:%MZ}"


def span(value: timedelta) -> str:
    """About how long: `6 days`, `1 day`, `5.2 days`, `3.5 h`."""
    size, name = next((size, name) for size, name in _SPANS if value >= size or size == _SPANS[-1][0])
    count = f"{value / size:.1f}".removesuffix(".0")
    return f"{count} {name}" if count == "1" or name in ("h", "min", "s") else f"{count} {name}s"


def moment(value: Timestamp) -> datetime:
    return value.ToDatetime(tzinfo=UTC)


def date(value: Timestamp) -> str:
    return moment(value).date().isoformat()


def instant(value: Timestamp, as_of: Timestamp) -> str:
    """`2027-01-31 09:00:00Z (in 29 days)`."""
    return f"{rfc_3339(moment(value)).replace('T', ' ')} ({relative(value, as_of)})"


def rfc_3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def relative(value: Timestamp, as_of: Timestamp) -> str:
    """`in 29 days`, `2 h ago`, rounded, from the answer's own instant: the server's clock may be moved."""
    seconds = (moment(value) - moment(as_of)).total_seconds()
    distance = abs(seconds)
    if distance < 1:
        return "now"
    size, name = next((size, name) for below, size, name in _STEPS if distance < below)
    words = f"{round(distance / size):,} {name}"
    return f"in {words}" if seconds > 0 else f"{words} ago"


def length(value: Duration) -> str:
    """`30 days`, `1 day 12:00:00`."""
    whole = value.ToTimedelta()
    rest = whole - timedelta(days=whole.days)
    parts = [plural(whole.days, "day")] if whole.days or not rest else []
    return " ".join([*parts, str(rest)] if rest else parts)


def enum_name(enum: Any, value: int) -> str:
    """The name of an enum's value; its number where a later release has added it."""
    return str(enum.Name(value)) if value in enum.values() else str(value)


def figure(text: str) -> str:
    """An error's figure: a whole number gets its thousands separators."""
    digits = text.removeprefix("-")
    return number(int(text)) if digits.isascii() and digits.isdigit() and len(digits) < 20 else text
