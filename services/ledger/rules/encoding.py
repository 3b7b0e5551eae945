"""How ledger values are written down as JSON, and the digest that chains the entries (docs/ledger.md).

The encoding is versioned: what is stored under a version is read and hashed the same way for ever.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import msgspec

from services.ledger.rules.model import (
    Allocation,
    AllocationState,
    Entry,
    Figures,
    Organization,
    Subscription,
    SubscriptionState,
)

ENCODING_VERSION: Final = 1
MICROSECOND: Final = timedelta(microseconds=1)


_FAST: Final = msgspec.json.Encoder(order="sorted")
_ESCAPING: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical(value: Any, *, floats: bool = True) -> bytes:
    """JSON with sorted keys, no white space, and all but printable ASCII escaped: one way to write each value.

    It is faster where it is told that there are no floats.
    """
    text = _FAST.encode(value)
    no_number = floats and b"null" in text  # It makes null of a float that is no number, too.
    if text.isascii() and b"\x7f" not in text and not no_number:
        return text  # Both write it the same way.
    return _ESCAPING.encode(value).encode()


def json_text(value: Any) -> str:
    """JSON for a column of the database, which keeps no order and no white space."""
    return _FAST.encode(value).decode()


@lru_cache(maxsize=1024)
def instant_text(instant: datetime) -> str:
    """`2027-01-31T00:00:00.000000Z`, always with six digits."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def instant_from(text: str) -> datetime:
    return datetime.fromisoformat(text)


def figures_json(figures: Figures) -> dict[str, Any]:
    return {
        "valid": figures.valid,
        "grace": figures.grace,
        "allocated": figures.allocated,
        "suspended": figures.suspended,
        "overdraft_limit": figures.overdraft_limit,
        "overdraft_unlimited": figures.overdraft_unlimited,
    }


def figures_from(value: Mapping[str, Any]) -> Figures:
    return Figures(**value)


def organization_json(organization: Organization) -> dict[str, Any]:
    """Its own fields; its figures stand beside it in an entry."""
    return {
        "display_name": organization.display_name,
        "changed_revision": organization.changed_revision,
        "create_time": instant_text(organization.create_time),
        "update_time": instant_text(organization.update_time),
    }


def subscription_json(subscription: Subscription) -> dict[str, Any]:
    return {
        "state": str(subscription.state),
        "credits": subscription.credits,
        "start_time": instant_text(subscription.start_time),
        "end_time": instant_text(subscription.end_time),
        "grace_microseconds": subscription.grace_period // MICROSECOND,
        "renews": subscription.renews,
        "order_reference": subscription.order_reference,
        "labels": dict(subscription.labels),
        "changed_revision": subscription.changed_revision,
        "create_time": instant_text(subscription.create_time),
        "update_time": instant_text(subscription.update_time),
        "cancel_time": instant_text(subscription.cancel_time) if subscription.cancel_time else None,
    }


def subscription_from(organization: str, subscription: str, value: Mapping[str, Any]) -> Subscription:
    return Subscription(
        organization=organization,
        subscription=subscription,
        state=SubscriptionState(value["state"]),
        credits=value["credits"],
        start_time=instant_from(value["start_time"]),
        end_time=instant_from(value["end_time"]),
        grace_period=value["grace_microseconds"] * MICROSECOND,
        renews=value["renews"],
        order_reference=value["order_reference"],
        labels=value["labels"],
        changed_revision=value["changed_revision"],
        create_time=instant_from(value["create_time"]),
        update_time=instant_from(value["update_time"]),
        cancel_time=instant_from(value["cancel_time"]) if value["cancel_time"] else None,
    )


def allocation_json(allocation: Allocation) -> dict[str, Any]:
    return {
        "offering": allocation.offering,
        "state": str(allocation.state),
        "units": allocation.units,
        "credits": allocation.credits,
        "suspended_credits": allocation.suspended_credits,
        "price_version": allocation.price_version,
        "priority": allocation.priority,
        "labels": dict(allocation.labels),
        "enabled_revision": allocation.enabled_revision,
        "changed_revision": allocation.changed_revision,
        "create_time": instant_text(allocation.create_time),
        "update_time": instant_text(allocation.update_time),
    }


def allocation_from(organization: str, allocation: str, value: Mapping[str, Any]) -> Allocation:
    return Allocation(
        organization=organization,
        allocation=allocation,
        offering=value["offering"],
        state=AllocationState(value["state"]),
        units=value["units"],
        credits=value["credits"],
        suspended_credits=value["suspended_credits"],
        price_version=value["price_version"],
        priority=value["priority"],
        labels=value["labels"],
        enabled_revision=value["enabled_revision"],
        changed_revision=value["changed_revision"],
        create_time=instant_from(value["create_time"]),
        update_time=instant_from(value["update_time"]),
    )


def deltas_json(entry: Entry) -> dict[str, int]:
    return {
        "valid": entry.figures.valid - entry.before.valid,
        "grace": entry.figures.grace - entry.before.grace,
        "allocated": entry.figures.allocated - entry.before.allocated,
        "suspended": entry.figures.suspended - entry.before.suspended,
    }


def entry_digest(entry: Entry, digest_before: bytes, *, last: bool) -> bytes:
    """SHA-256 over the digest before (32 zero bytes at revision 1) and the entry's canonical content.

    `last` is what the entry will say of itself when it is written.
    """
    content = {
        "encoding": ENCODING_VERSION,
        "organization": entry.organization,
        "revision": entry.revision,
        "kind": str(entry.kind),
        "resource": entry.resource,
        "effective_time": instant_text(entry.effective_time),
        "recorded_time": instant_text(entry.recorded_time),
        "actor": entry.actor,
        "request_id": entry.request_id,
        "causes": list(entry.causes),
        "cause_count": entry.cause_count,
        "after": entry.after,
        "detail": entry.detail,
        "deltas": deltas_json(entry),
        "figures": figures_json(entry.figures),
        "last": last,
    }
    return sha256(digest_before + canonical(content, floats=False)).digest()
