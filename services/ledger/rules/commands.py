"""What can be asked of an organization, as plain values, and what makes two requests mean the same.

A field that is None was not sent. Form and bounds have been checked before a command exists.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from hashlib import sha256
from typing import Any, Final

from msgspec import Struct

from services.ledger.rules.encoding import MICROSECOND, canonical, instant_text

NOT_MEANING = {"not_meaning": True}
"""Marks a field that two requests of the same meaning may differ in."""

_PLAIN: Final = frozenset({str, int, bool})
"""What means itself."""


@dataclass(frozen=True, slots=True)
class EnableAllocation:
    allocation: str
    offering: str
    units: int
    priority: int | None = None
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class AdjustAllocation:
    allocation: str
    delta_units: int


@dataclass(frozen=True, slots=True)
class DisableAllocation:
    allocation: str


Operation = EnableAllocation | AdjustAllocation | DisableAllocation


@dataclass(frozen=True, slots=True)
class ApplyOperations:
    """All or nothing. With `allow_partial` each operation is a command of its own instead."""

    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class UpdateAllocation:
    allocation: str
    priority: int | None = None
    labels: Mapping[str, str] | None = None
    etag: str = field(default="", metadata=NOT_MEANING)


@dataclass(frozen=True, slots=True)
class CreateSubscription:
    subscription: str | None
    credits: int
    end_time: datetime
    start_time: datetime | None = None
    grace_period: timedelta = timedelta()
    renews: str | None = None
    order_reference: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    made_up_id: str = field(default="", metadata=NOT_MEANING)
    """Used where `subscription` is None."""


@dataclass(frozen=True, slots=True)
class UpdateSubscription:
    subscription: str
    credits: int | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    grace_period: timedelta | None = None
    order_reference: str | None = None
    labels: Mapping[str, str] | None = None
    force: bool = False
    etag: str = field(default="", metadata=NOT_MEANING)


@dataclass(frozen=True, slots=True)
class CancelSubscription:
    subscription: str
    force: bool = False
    etag: str = field(default="", metadata=NOT_MEANING)


@dataclass(frozen=True, slots=True)
class CreateOrganization:
    display_name: str = ""
    overdraft_limit: int = 0
    overdraft_unlimited: bool = False


@dataclass(frozen=True, slots=True)
class UpdateOrganization:
    display_name: str | None = None
    overdraft_limit: int | None = None
    overdraft_unlimited: bool | None = None
    force: bool = False
    etag: str = field(default="", metadata=NOT_MEANING)


Command = (
    Operation
    | ApplyOperations
    | UpdateAllocation
    | CreateSubscription
    | UpdateSubscription
    | CancelSubscription
    | CreateOrganization
    | UpdateOrganization
)


class Call(Struct, frozen=True):
    """A command with who sent it and how."""

    command: Command
    request_id: str = ""
    """Empty: none, so nothing is remembered."""
    actor: str = ""


def meaning(command: Any) -> bytes:
    """32 bytes, equal for two commands if and only if they ask for the same.

    A field that is None, or that two requests of one meaning may differ in, does not count; so a field that a later
    release adds changes no meaning as long as it is not sent. Labels count whatever their order.
    """
    return sha256(canonical(_meaning(command))).digest()


@cache
def _meaningful(kind: type) -> tuple[str, ...]:
    """The names of a command's fields that count."""
    return tuple(each.name for each in fields(kind) if not each.metadata)


def _meaning(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, timedelta):
        return value // MICROSECOND
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return [_meaning(each) for each in value]
    if is_dataclass(value):
        sent = {"method": type(value).__name__}
        for name in _meaningful(value.__class__):
            each = getattr(value, name)
            if each is not None:
                sent[name] = each if type(each) in _PLAIN else _meaning(each)
        return sent
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"  # 10 and 10.0 are one price.
    return value
