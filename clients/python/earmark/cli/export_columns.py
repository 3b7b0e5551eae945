"""The columns of `earmark export`: a public format. New ones are added at the end, and none is ever changed."""

import csv
import json
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Final, TextIO

from google.protobuf.timestamp_pb2 import Timestamp

from earmark import names
from earmark.cli import words
from earmark.v1.resources_pb2 import Allocation, EndingSoon, Entry, Subscription

# A spreadsheet takes a cell that begins so for a formula, some of them also in the full width of East Asian text.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def _text(value: str) -> str:
    """What somebody typed. What could be a formula gets a `'` before it, and so does what begins with one: whoever
    reads takes away one, and has the text."""
    return f"'{value}" if value.startswith((*_FORMULA, "'")) else value


def _instant(value: Timestamp) -> str:
    """`2027-01-31T09:00:00.000000Z`, always with six digits; empty where it is not set."""
    if not value.ByteSize():
        return ""
    return value.ToDatetime(tzinfo=UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _labels(value: Mapping[str, str]) -> str:
    """A JSON object with its keys in order; empty where there are none."""
    return json.dumps(dict(value), sort_keys=True, ensure_ascii=False, separators=(",", ":")) if value else ""


def _kind_of(resource: str) -> str:
    """`allocation` of `organizations/x/allocations/y`."""
    return resource.split("/")[-2].removesuffix("s")


def _of(field: str, read: Callable[[Any], object]) -> Callable[[Entry], str]:
    """Empty where the entry is about something else."""

    def cell(entry: Entry) -> str:
        return str(read(getattr(entry, field))) if entry.HasField(field) else ""  # type: ignore[arg-type]

    return cell


def _allocation(read: Callable[[Allocation], object]) -> Callable[[Entry], str]:
    return _of("allocation", read)


def _subscription(read: Callable[[Subscription], object]) -> Callable[[Entry], str]:
    return _of("subscription", read)


def _soon(read: Callable[[EndingSoon], object]) -> Callable[[Entry], str]:
    return _of("ending_soon", read)


def _either(name: str) -> Callable[[Entry], str]:
    """Of what it is about, where that is an allocation or a subscription."""

    def cell(entry: Entry) -> str:
        after = entry.WhichOneof("after")
        return str(getattr(getattr(entry, after), name)) if after in ("allocation", "subscription") else ""

    return cell


def _state(entry: Entry) -> str:
    if entry.HasField("allocation"):
        return words.enum_name(Allocation.State, entry.allocation.state)
    if entry.HasField("subscription"):
        return words.enum_name(Subscription.State, entry.subscription.state)
    return ""


def _after_labels(entry: Entry) -> str:
    after = entry.WhichOneof("after")
    return _labels(getattr(entry, after).labels) if after in ("allocation", "subscription") else ""


CELLS: Final[Mapping[str, Callable[[Entry], str]]] = {
    "organization": lambda entry: names.organization_of(entry.name),
    "revision": lambda entry: str(entry.revision),
    "kind": lambda entry: words.enum_name(Entry.Kind, entry.kind),
    "resource_kind": lambda entry: _kind_of(entry.resource),
    "resource_id": lambda entry: names.id_of(entry.resource),
    "effective_time": lambda entry: _instant(entry.effective_time),
    "recorded_time": lambda entry: _instant(entry.recorded_time),
    "actor": lambda entry: _text(entry.actor),
    "request_id": lambda entry: _text(entry.request_id),
    "causes": lambda entry: " ".join(entry.causes),
    "cause_count": lambda entry: str(entry.cause_count),
    "last": lambda entry: _flag(entry.last),
    # What it is about, as it is after it.
    "state": _state,
    "credits": _either("credits"),
    "labels": _after_labels,
    "offering": _allocation(lambda each: names.id_of(each.offering)),
    "units": _allocation(lambda each: each.units),
    "needed_credits": _allocation(lambda each: each.suspended_credits),
    "price_version": _allocation(lambda each: each.price_version),
    "priority": _allocation(lambda each: each.priority),
    "enabled_revision": _allocation(lambda each: each.enabled_revision),
    "start_time": _subscription(lambda each: _instant(each.start_time)),
    "end_time": _subscription(lambda each: _instant(each.end_time)),
    "grace_end_time": _subscription(lambda each: _instant(each.grace_end_time)),
    "cancel_time": _subscription(lambda each: _instant(each.cancel_time)),
    "renews": _subscription(lambda each: names.id_of(each.renews)),
    "order_reference": _subscription(lambda each: _text(each.order_reference)),
    "display_name": _of("organization", lambda each: _text(each.display_name)),
    # Of thresholds and reminders.
    "threshold_percent": lambda entry: str(entry.threshold_percent or ""),
    "ending": _soon(lambda each: words.enum_name(EndingSoon.Ending, each.ending)),
    "ending_days": _soon(lambda each: each.days),
    "ending_renewed": _soon(lambda each: _flag(each.renewed)),
    # By how much it changed the organization's figures, and these figures after it.
    "valid_delta": lambda entry: str(entry.valid_delta),
    "grace_delta": lambda entry: str(entry.grace_delta),
    "allocated_delta": lambda entry: str(entry.allocated_delta),
    "suspended_delta": lambda entry: str(entry.suspended_delta),
    "valid_credits": lambda entry: str(entry.balance.valid_credits),
    "grace_credits": lambda entry: str(entry.balance.grace_credits),
    "allocated_credits": lambda entry: str(entry.balance.allocated_credits),
    "suspended_credits": lambda entry: str(entry.balance.suspended_credits),
    "available_credits": lambda entry: str(entry.balance.available_credits),
    "overdraft_limit": lambda entry: str(entry.balance.overdraft_limit),
    "overdraft_unlimited": lambda entry: _flag(entry.balance.overdraft_unlimited),
    "digest": lambda entry: entry.digest.hex(),
}


def writer(text: TextIO) -> Callable[[Entry], object]:
    """Writes the header, and returns what writes the row of an entry. Lines end with a line feed."""
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(CELLS)
    return lambda entry: rows.writerow(cell(entry) for cell in CELLS.values())
