"""From what a person types to values. Each raises click.BadParameter; click adds which option it was."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

import click

# An instant, or how long from now: the server says what "now" is.
Moment = datetime | timedelta

_INT64_MAX = 2**63 - 1
_INT32_MAX = 2**31 - 1
_WHOLE = re.compile(r"[+-]?(\d{1,20}|\d{1,3}([,_]\d{3}){1,6})", re.ASCII)
_DURATION = re.compile(r"(\d{1,20}[wdhms])+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+)([wdhms])", re.ASCII)
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def number(text: str) -> int:
    """A whole number, not negative; `1,000` and `1_000` are 1000."""
    return _whole(text, 0, _INT64_MAX)


def count(text: str) -> int:
    """A whole number from 1."""
    return _whole(text, 1, _INT64_MAX)


def change(text: str) -> int:
    """A whole number: `+5`, `5`, `-3`."""
    return _whole(text, -_INT64_MAX, _INT64_MAX)


def priority(text: str) -> int:
    """A whole number of 32 bits."""
    return _whole(text, -_INT32_MAX - 1, _INT32_MAX)


def _whole(text: str, low: int, high: int) -> int:
    if not _WHOLE.fullmatch(text):
        raise click.BadParameter(f"{text!r} is not a whole number.")
    value = int(re.sub("[,_]", "", text))
    if not low <= value <= high:
        raise click.BadParameter(f"{text} is not between {low:,} and {high:,}.")
    return value


def decimal(text: str) -> Decimal:
    """A plain decimal number."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise click.BadParameter(f"{text!r} is not a decimal number such as 20 or 0.05.") from None
    if not value.is_finite() or abs(value.adjusted()) > 20:
        raise click.BadParameter(f"{text!r} is not a price.")
    return value


def duration(text: str) -> timedelta:
    """A length of time: `30d`, `12h`, `1d12h`, `0`."""
    if text == "0":
        return timedelta(0)
    if not _DURATION.fullmatch(text):
        raise click.BadParameter(f"{text!r} is not a duration such as 30d, 12h or 1d12h (w, d, h, m, s).")
    try:
        parts = _DURATION_PART.findall(text)
        return sum((timedelta(**{_UNITS[unit]: int(size)}) for size, unit in parts), timedelta(0))
    except OverflowError:
        raise click.BadParameter(f"{text!r} is too long.") from None


def instant(text: str) -> Moment:
    """RFC 3339, a date (its midnight in UTC), `now`, or from now: `+30d`, `-2h`."""
    if text == "now":
        return timedelta(0)
    if text[:1] in ("+", "-"):
        length = duration(text[1:])
        return length if text[0] == "+" else -length
    try:
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        if _RFC_3339.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{text!r}: {error}.") from None
    raise click.BadParameter(f"{text!r} is not an instant: 2027-01-31, 2027-01-31T09:00:00Z, now or +30d.")


def labels(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    """`key=value` each; None where there are none."""
    pairs = [value.partition("=") for value in values]
    if not all(key and equals for key, equals, _ in pairs):
        raise click.BadParameter("a label is KEY=VALUE.", ctx, param)
    return {key: value for key, _, value in pairs} or None
