"""The one error that crosses the wire: a refusal with a stable reason and every figure of its message."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from services.ledger.rules import names


class Reason(StrEnum):
    """Why a call was refused: `earmark.v1.ErrorReason`, which documents each."""

    INVALID_FIELD = "INVALID_FIELD"
    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"
    ORGANIZATION_NOT_FOUND = "ORGANIZATION_NOT_FOUND"
    SUBSCRIPTION_NOT_FOUND = "SUBSCRIPTION_NOT_FOUND"
    OFFERING_NOT_FOUND = "OFFERING_NOT_FOUND"
    ALLOCATION_NOT_FOUND = "ALLOCATION_NOT_FOUND"
    ORGANIZATION_ALREADY_EXISTS = "ORGANIZATION_ALREADY_EXISTS"
    SUBSCRIPTION_ALREADY_EXISTS = "SUBSCRIPTION_ALREADY_EXISTS"
    OFFERING_ALREADY_EXISTS = "OFFERING_ALREADY_EXISTS"
    ALLOCATION_ALREADY_EXISTS = "ALLOCATION_ALREADY_EXISTS"
    RENEWAL_ALREADY_EXISTS = "RENEWAL_ALREADY_EXISTS"
    INSUFFICIENT_CREDITS = "INSUFFICIENT_CREDITS"
    WOULD_SUSPEND = "WOULD_SUSPEND"
    SUBSCRIPTION_STATE = "SUBSCRIPTION_STATE"
    SUSPENDED = "SUSPENDED"
    OFFERING_RETIRED = "OFFERING_RETIRED"
    UNITS_BELOW_ZERO = "UNITS_BELOW_ZERO"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    LOCK_TIMEOUT = "LOCK_TIMEOUT"
    TOO_MANY_WAITING = "TOO_MANY_WAITING"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    REVISION_NOT_REACHED = "REVISION_NOT_REACHED"
    HISTORY_REPLACED = "HISTORY_REPLACED"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field (its path in the request) and what would be right."""

    field: str
    description: str


@dataclass(eq=False)
class Refused(Exception):
    """A call that is not carried out. It has changed nothing."""

    reason: Reason
    message: str
    figures: Mapping[str, str] = field(default_factory=dict)
    """Every figure of the message, under camelCase keys."""
    resource: str = ""
    """The name of what the refusal is about, where it is about one thing."""
    violations: tuple[FieldViolation, ...] = ()

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"

    def at_operation(self, index: int) -> "Refused":
        """The same refusal, naming the operation (from 0) of a call of several that it is about."""
        return replace(
            self,
            message=f"operation {index}: {self.message}",
            figures={**self.figures, "operationIndex": str(index)},
        )

    def at_line(self, index: int) -> "Refused":
        """The same refusal, naming the line (from 0) of an estimate that it is about."""
        return replace(self, message=f"line {index}: {self.message}", figures={**self.figures, "lineIndex": str(index)})


def invalid_field(field_path: str, description: str, figures: Mapping[str, str]) -> Refused:
    """A single bad field, judged against the clock or what is stored, with the figures of its description."""
    refused = invalid_fields((FieldViolation(field_path, description),))
    return replace(refused, figures={**refused.figures, **figures})


def invalid_fields(violations: tuple[FieldViolation, ...]) -> Refused:
    """Every bad field of a call at once; the message names the first three and the total."""
    shown = "; ".join(f"{each.field}: {each.description}" for each in violations[:3])
    more = f" (and {len(violations) - 3} more)" if len(violations) > 3 else ""
    return Refused(Reason.INVALID_FIELD, shown + more, {"violationCount": str(len(violations))}, violations=violations)


def check_etag(sent: str, current: str, resource: str) -> None:
    """Refuses a write that was made up from an older state of the resource."""
    if sent and sent != current:
        raise Refused(
            Reason.ETAG_MISMATCH,
            f"{resource} has changed since etag {sent!r} was read; read it again and decide anew",
            {"etag": sent, "currentEtag": current},
            resource,
        )


def limit_exceeded(what: str, value: int, limit: int, resource: str) -> Refused:
    return Refused(
        Reason.LIMIT_EXCEEDED,
        f"{resource}: {what} would be {value}; the limit is {limit}",
        {"limit": str(limit), "value": str(value), "what": what},
        resource,
    )


def organization_not_found(organization: str) -> Refused:
    name = names.organization_name(organization)
    return Refused(Reason.ORGANIZATION_NOT_FOUND, f"there is no {name}; CreateOrganization makes it", {}, name)


def subscription_not_found(organization: str, subscription: str) -> Refused:
    name = names.subscription_name(organization, subscription)
    text = f"there is no {name}; ListSubscriptions names those of the organization"
    return Refused(Reason.SUBSCRIPTION_NOT_FOUND, text, {}, name)


def allocation_not_found(organization: str, allocation: str) -> Refused:
    name = names.allocation_name(organization, allocation)
    text = f"{name} was never enabled; EnableAllocation switches an offering on"
    return Refused(Reason.ALLOCATION_NOT_FOUND, text, {}, name)


def offering_not_found(offering: str) -> Refused:
    name = names.offering_name(offering)
    return Refused(Reason.OFFERING_NOT_FOUND, f"there is no {name}; ListOfferings names them all", {}, name)
