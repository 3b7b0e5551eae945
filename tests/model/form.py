"""What can be judged from a request alone: its form and bounds, and its meaning for a replay."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from tests.model.words import DAY, DEFAULT_GRACE, MOST, YEAR_2000, YEAR_2201

Operation = Mapping[str, object]
"""One of enable, adjust or disable as plain data: {"op": "enable", "offering": "app", "units": 3, ...}."""

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-._~]{0,127}")
REQUEST_ID = re.compile(r"[ -~]{1,128}")
NUMBERS = {
    "units": (1, MOST),
    "delta_units": (-MOST, MOST),
    "credits": (1, MOST),
    "overdraft_limit": (0, MOST),
    "priority": (-(2**31), 2**31 - 1),
    "start": (YEAR_2000, YEAR_2201 - 1),
    "end": (YEAR_2000, YEAR_2201 - 1),
    "grace": (0, 365 * DAY),
}
FIELDS = {
    "enable": {"op", "offering", "units", "allocation_id", "priority", "labels", "request_id"},
    "adjust": {"op", "allocation_id", "delta_units", "request_id"},
    "disable": {"op", "allocation_id", "request_id"},
}


def faults(fields: Mapping[str, object]) -> list[str]:
    """The names of all fields that are bad in themselves; None is an absent field."""
    return [name for name, value in fields.items() if value is not None and not _good(name, value)]


def _good(name: str, value: object) -> bool:
    if name in NUMBERS:
        least, most = NUMBERS[name]
        return isinstance(value, int) and least <= value <= most
    if name in ("allocation_id", "offering", "subscription_id", "renews"):
        return isinstance(value, str) and ID.fullmatch(value) is not None
    if name == "request_id":
        return isinstance(value, str) and REQUEST_ID.fullmatch(value) is not None
    if name == "display_name":
        return isinstance(value, str) and len(value) <= 256 and value.isprintable()
    if name == "labels":
        return isinstance(value, Mapping) and _good_labels(value)
    return True


def _good_labels(labels: Mapping[str, str]) -> bool:
    return len(labels) <= 16 and all(len(side.encode()) <= 63 for pair in labels.items() for side in pair)


def operation_faults(operation: Operation) -> list[str]:
    """The bad fields of one operation; its request id is judged as that of a single call."""
    op = operation.get("op")
    if not isinstance(op, str) or op not in FIELDS:
        return ["op"]
    needed = {"enable": ("offering", "units"), "adjust": ("allocation_id", "delta_units", "request_id")}
    missing = [name for name in needed.get(op, ("allocation_id",)) if operation.get(name) is None]
    return missing + [name for name in operation if name not in FIELDS[op]] + faults(operation)


def term_faults(fields: Mapping[str, object]) -> list[str]:
    """A term whose two ends were both sent must have a length."""
    start, end = fields.get("start"), fields.get("end")
    return ["end"] if isinstance(start, int) and isinstance(end, int) and end <= start else []


def operation_meaning(operation: Operation) -> str:
    """An operation's meaning: the allocation's default id filled in, an empty label map as if absent."""
    fields = {k: v for k, v in operation.items() if k != "request_id" and v is not None and v != {}}
    if operation["op"] == "enable":
        fields.setdefault("allocation_id", operation["offering"])
    return json.dumps(fields, sort_keys=True)


def operations_meaning(operations: list[Operation]) -> str:
    return json.dumps([operation_meaning(operation) for operation in operations])


def meaning(method: str, fields: Mapping[str, object]) -> str:
    """Any other call's meaning: every field that is there (for an update: in its mask), in a fixed order."""
    there = {name: value for name, value in fields.items() if value is not None}
    if method == "create_subscription":
        there.setdefault("grace", DEFAULT_GRACE)
    return json.dumps([method, there], sort_keys=True)
