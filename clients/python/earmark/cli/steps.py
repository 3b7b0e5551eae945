"""The operations of `earmark allocation apply`, read from JSON lines or CSV."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

import click

from earmark.cli import parse
from earmark.operations import Adjust, Disable, Enable, Step

_ALLOWED: Mapping[str, tuple[type[Any], frozenset[str], frozenset[str]]] = {
    # operation: its class, what it needs, what it may have
    "enable": (Enable, frozenset({"offering", "units"}), frozenset({"allocation", "priority", "labels"})),
    "adjust": (Adjust, frozenset({"allocation", "delta_units"}), frozenset()),
    "disable": (Disable, frozenset({"allocation"}), frozenset()),
}
_NUMBERS = {"units": parse.number, "delta_units": parse.change, "priority": parse.priority}


def read(text: str) -> list[Step]:
    """What begins with `{` is JSON lines, else CSV. Raises click.UsageError with the line that is wrong."""
    records = _json_lines(text) if text.lstrip("\ufeff \t\r\n").startswith("{") else csv_records(text)
    steps = []
    for line, record in records:
        try:
            steps.append(_step(record))
        except (ValueError, click.BadParameter) as error:
            message = error.message if isinstance(error, click.BadParameter) else str(error)
            raise click.UsageError(f"Line {line}: {message}") from None
    if not steps:
        raise click.UsageError("There are no operations to apply.")
    return steps


def read_text(file: IO[str]) -> str:
    """Raises click.UsageError where it is not UTF-8."""
    try:
        return file.read()
    except UnicodeDecodeError:
        raise click.UsageError(f"{file.name} is not UTF-8.") from None


def _json_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, content in enumerate(text.lstrip("\ufeff").split("\n"), start=1):
        if not content.strip():
            continue
        try:
            record = json.loads(content)
        except ValueError as error:
            raise click.UsageError(f"Line {line} is not JSON: {error}") from None
        if not isinstance(record, dict):
            raise click.UsageError(f"Line {line} is not a JSON object.")
        yield line, {key: value for key, value in record.items() if value is not None}


def csv_records(text: str, *required: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each record with the number of its line; cells that are empty are left out. Raises click.UsageError."""
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        if missing := [column for column in required if column not in (reader.fieldnames or ())]:
            raise click.UsageError(f"Line 1 must name the column {missing[0]}.")
        for record in reader:
            if None in record:
                raise click.UsageError(f"Line {reader.line_num} has more cells than the header.")
            yield reader.line_num, {key: value.strip() for key, value in record.items() if value}
    except csv.Error as error:
        raise click.UsageError(f"Line {reader.line_num} is not CSV: {error}") from None


def _step(record: Mapping[str, Any]) -> Step:
    """Raises ValueError, or click.BadParameter."""
    kind = str(record.get("operation", ""))
    if kind not in _ALLOWED:
        raise ValueError(f"the operation must be one of {', '.join(_ALLOWED)}, not {kind!r}.")
    made, required, optional = _ALLOWED[kind]
    fields = {key: _value(key, value) for key, value in record.items() if key != "operation"}
    if missing := required - fields.keys():
        raise ValueError(f"{kind} needs {', '.join(sorted(missing))}.")
    if unknown := fields.keys() - required - optional - {"request_id"}:
        raise ValueError(f"{kind} takes no {', '.join(sorted(unknown))}.")
    step: Step = made(**fields)
    return step


def _value(key: str, value: Any) -> Any:
    if key in _NUMBERS:
        if isinstance(value, bool | float):
            raise ValueError(f"{key} is a whole number, not {value}.")
        return _NUMBERS[key](str(value))
    if key == "labels":
        return _labels(value)
    if not isinstance(value, str):
        raise ValueError(f"{key} is a string, not {value!r}.")
    return value


def _labels(value: Any) -> dict[str, str]:
    """A JSON object, or in CSV `key=value;key=value`."""
    if isinstance(value, str):
        pairs = [pair.strip().partition("=") for pair in value.split(";")]
        if not all(key and equals for key, equals, _ in pairs):
            raise ValueError("labels are key=value;key=value.")
        return {key: text for key, _, text in pairs}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError("labels are an object of strings.")
    return value
