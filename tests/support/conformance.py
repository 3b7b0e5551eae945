"""The conformance cases, and what they expect of values and errors. clients/conformance/README.md tells the rules."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from earmark import EarmarkError
from earmark.errors import RequestIdReused

TABLES: Final = Path(__file__).parents[2] / "clients" / "conformance"
NAME: Final = re.compile(r"\{(\w+)\}")
INSTANT: Final = re.compile(r"(now|today)?([+-][0-9]+[smhd])?")
LENGTH: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


@dataclass(frozen=True)
class Case:
    table: str
    """The file that it is in, without `.json`."""
    told: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.told["name"])


def load_cases() -> list[Case]:
    """All of them, those that stand for several written out."""
    return [
        Case(file.stem, told)
        for file in sorted(TABLES.glob("*.json"))
        for case in json.loads(file.read_text())["cases"]
        for told in _written_out(case)
    ]


def _written_out(case: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "each" not in case:
        yield case
        return
    common = {key: value for key, value in case.items() if key != "each"}
    for row in case["each"]:
        yield fill(common, row)


def fill(value: Any, names: Mapping[str, Any]) -> Any:
    """With each `{name}` replaced; a text that is nothing else becomes the value itself. Unknown names stay."""
    if isinstance(value, Mapping):
        return {key: fill(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [fill(each, names) for each in value]
    if not isinstance(value, str):
        return value
    whole = NAME.fullmatch(value)
    if whole:
        return names.get(whole[1], value)
    return NAME.sub(lambda found: str(names.get(found[1], found[0])), value)


def length(text: str) -> timedelta | None:
    """Of `30d`; None for what is no length."""
    found = LENGTH.fullmatch(text)
    return float(found[1]) * UNITS[found[2]] if found else None


def instant(text: str, now: datetime) -> datetime | None:
    """Of `now`, `+30d`, `today` (midnight of UTC) or `today-1d`; None for what is no instant."""
    found = INSTANT.fullmatch(text)
    if not text or not found:
        return None
    start = now.replace(hour=0, minute=0, second=0, microsecond=0) if found[1] == "today" else now
    if not found[2]:
        return start
    by = length(found[2][1:])
    assert by is not None
    return start - by if found[2][0] == "-" else start + by


def plain(value: Any) -> Any:
    """As JSON has it, with texts for instants and lengths. Errors stay what they are."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():f}s"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.hex() if isinstance(value, bytes) else value


def at(value: Any, path: str) -> Any:
    """What lies at `allocation.etag`, or at `results.0.allocation`."""
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def differences(expected: Any, found: Any, now: datetime, where: str = "") -> list[str]:
    """A sentence for each thing that is not as expected. An object may have more than is expected of it."""
    if isinstance(found, EarmarkError):
        return error_differences(expected, found, now, where)
    if isinstance(expected, Mapping) and any(key.startswith("$") for key in expected):
        return [] if _holds(expected, found) else [f"{where or 'it'} is {found!r}, not {json.dumps(expected)}"]
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return [
            each
            for key, value in expected.items()
            for each in differences(value, found.get(key, "absent"), now, f"{where}.{key}".strip("."))
        ]
    if isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return [f"{where or 'the list'} has {len(found)} items, not {len(expected)}: {found!r}"]
        pairs = enumerate(zip(expected, found, strict=True))
        return [each for index, (one, other) in pairs for each in differences(one, other, now, f"{where}[{index}]")]
    return [] if _same(expected, found, now) else [f"{where or 'it'} is {found!r}, not {expected!r}"]


def _holds(condition: Mapping[str, Any], found: Any) -> bool:
    [(name, value)] = condition.items()
    if name == "$some":
        return bool(found) is value
    if name == "$at_least":
        return bool(found >= value)
    if name == "$in":
        return found in value
    raise ValueError(f"there is no condition {name!r}")


def _same(expected: Any, found: Any, now: datetime) -> bool:
    if isinstance(expected, str) and isinstance(found, str) and expected != found:
        moment, by = instant(expected, now), length(expected)
        return found == plain(moment) or (by is not None and by == length(found))
    return bool(expected == found) and isinstance(expected, bool) == isinstance(found, bool)


def error_differences(expected: Any, error: EarmarkError, now: datetime, where: str = "the error") -> list[str]:
    """Whether it is the error, and has the class of its reason and the figures that are told of."""
    if not isinstance(expected, Mapping):
        return [f"{where} is {error!r}, not {expected!r}"]
    found: dict[str, Any] = {
        "reason": error.reason,
        "code": error.code.name,
        "kind": expected.get("kind", "") if is_of_kind(error, expected.get("kind", "")) else type(error).__name__,
        "figures": {name: _figure(error, name) for name in expected.get("figures", {})},
        "violations": [each.field for each in getattr(error, "violations", ())],
        "resource": getattr(error, "resource", ""),
        "operation_index": error.operation_index,
        "line_index": error.line_index,
        "outcome_open": error.is_outcome_open,
        "retry_after_ms": round(error.retry_after_seconds * 1_000),
        "request_id": error.request_id,
        "message": error.message,
    }
    of_its_class = type(error) is EarmarkError.reasons.get(error.reason, type(error))
    return [
        *([] if of_its_class else [f"{where} is no {EarmarkError.reasons[error.reason].__name__}"]),
        *differences(expected, found, now, where),
    ]


def _figure(error: EarmarkError, name: str) -> Any:
    """As the class of its reason gives it."""
    if isinstance(error, RequestIdReused) and name == "request_id":
        return error.reused_id
    return plain(getattr(error, name, "absent"))


def is_of_kind(error: EarmarkError, code: str) -> bool:
    """Whether it is of the class to which errors of that code belong; so is what has a narrower class."""
    return any(each.name == code and isinstance(error, kind) for each, kind in EarmarkError.codes.items())
