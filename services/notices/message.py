"""A notice as others read it: its channel and its JSON; and what may be believed of one that was heard."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from services.ledger.rules import names
from services.ledger.rules.answers import Balance
from services.ledger.rules.limits import ID_PATTERN, REVISION_MAX

PAYLOAD_BYTES_MAX: Final = 8_192
"""What is longer is no notice of ours: those have less than 1,000 bytes."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What a notice says, true or not."""

    organization: str
    revision: int


def channel(prefix: str, organization: str) -> str:
    return prefix + organization


def payload(balance: Balance) -> str:
    """A Notice in proto3 JSON on one line; fields that are zero are there too.

    Written out here, since protobuf's own printer takes longer for it than the call that it tells of.
    """
    figures, name = balance.figures, names.organization_name(balance.organization)
    bounds = {"spendableCredits": figures.spendable, "coverageCredits": figures.coverage}
    return json.dumps(
        {
            "organization": name,
            "revision": str(balance.revision),
            "balance": {
                "organization": name,
                "revision": str(balance.revision),
                "asOf": _timestamp_text(balance.as_of),
                "validCredits": str(figures.valid),
                "graceCredits": str(figures.grace),
                "allocatedCredits": str(figures.allocated),
                "suspendedCredits": str(figures.suspended),
                "availableCredits": str(figures.available),
                "overdraftLimit": str(figures.overdraft_limit),
                "overdraftUnlimited": figures.overdraft_unlimited,
                **{key: str(bound) for key, bound in bounds.items() if bound is not None},
            },
        }
    )


def _timestamp_text(instant: datetime) -> str:
    """As proto3 JSON has it: with 0, 3 or 6 digits, whichever is enough."""
    timespec = "microseconds" if instant.microsecond % 1000 else "milliseconds" if instant.microsecond else "seconds"
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"


def read_hint(prefix: str, channel: bytes, payload: bytes) -> Hint | None:
    """None if it is no notice. The organization is the channel's; of the payload only the revision counts."""
    try:
        name = channel.decode("ascii")
        if not name.startswith(prefix) or len(payload) > PAYLOAD_BYTES_MAX:
            return None
        organization = name.removeprefix(prefix)
        revision = _revision(payload)
    except (ValueError, RecursionError):
        return None
    if not ID_PATTERN.match(organization) or not 1 <= revision <= REVISION_MAX:
        return None
    return Hint(organization, revision)


def _revision(payload: bytes) -> int:
    """As proto3 JSON writes an int64: in a string. Raises ValueError."""
    notice = json.loads(payload)
    revision = notice.get("revision") if isinstance(notice, dict) else None
    if not isinstance(revision, str) or not (revision.isascii() and revision.isdecimal()):
        raise ValueError("no revision")
    return int(revision)
