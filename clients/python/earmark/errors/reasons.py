"""A class for each reason, in the order of docs/errors.md. What a figure means is said there."""

from dataclasses import dataclass
from functools import cached_property

from google.rpc import error_details_pb2
from grpc import StatusCode

from earmark.errors.base import EarmarkError, number, optional_instant, optional_number, text


@dataclass(frozen=True, slots=True)
class Violation:
    """A bad field, and what would be right."""

    field: str
    description: str


class InvalidArgument(EarmarkError, code=StatusCode.INVALID_ARGUMENT):
    """What was sent is wrong, and the same call fails again. `violations` names each bad field."""

    @cached_property
    def violations(self) -> list[Violation]:
        return [
            Violation(each.field, each.description)
            for detail in self.details
            if isinstance(detail, error_details_pb2.BadRequest)
            for each in detail.field_violations
        ]


class InvalidField(InvalidArgument, reason="INVALID_FIELD"):
    violation_count = number("violationCount")
    now = optional_instant("now")
    start_time = optional_instant("startTime")
    end_time = optional_instant("endTime")
    grace_end_time = optional_instant("graceEndTime")
    effective_time = optional_instant("effectiveTime")
    until = optional_instant("until")


class MalformedMessage(InvalidArgument, reason="MALFORMED_MESSAGE"): ...


class InvalidPageToken(InvalidArgument, reason="INVALID_PAGE_TOKEN"): ...


class _AboutOne(EarmarkError):
    @cached_property
    def resource(self) -> str:
        """The resource name of what it is about; empty if it does not say."""
        infos = (each for each in self.details if isinstance(each, error_details_pb2.ResourceInfo))
        return next((info.resource_name for info in infos), "")


class NotFound(_AboutOne, code=StatusCode.NOT_FOUND):
    """What `resource` names is not there."""


class OrganizationNotFound(NotFound, reason="ORGANIZATION_NOT_FOUND"): ...


class SubscriptionNotFound(NotFound, reason="SUBSCRIPTION_NOT_FOUND"): ...


class OfferingNotFound(NotFound, reason="OFFERING_NOT_FOUND"): ...


class AllocationNotFound(NotFound, reason="ALLOCATION_NOT_FOUND"): ...


class AlreadyExists(_AboutOne, code=StatusCode.ALREADY_EXISTS):
    """What `resource` names is there already."""


class OrganizationAlreadyExists(AlreadyExists, reason="ORGANIZATION_ALREADY_EXISTS"): ...


class SubscriptionAlreadyExists(AlreadyExists, reason="SUBSCRIPTION_ALREADY_EXISTS"): ...


class OfferingAlreadyExists(AlreadyExists, reason="OFFERING_ALREADY_EXISTS"): ...


class AllocationAlreadyExists(AlreadyExists, reason="ALLOCATION_ALREADY_EXISTS"):
    offering = text("offering")
    requested_offering = text("requestedOffering")


class RenewalAlreadyExists(AlreadyExists, reason="RENEWAL_ALREADY_EXISTS"):
    renewal = text("renewal")


class Refused(EarmarkError, code=StatusCode.FAILED_PRECONDITION):
    """Nothing is wrong with the call, but the rules do not allow it as things are."""


class InsufficientCredits(Refused, reason="INSUFFICIENT_CREDITS"):
    """All figures are whole credits."""

    required = number("required")
    available = number("available")
    overdraft_limit = number("overdraftLimit")
    suspended = number("suspended")
    shortfall = number("shortfall")
    next_start_time = optional_instant("nextStartTime")


class WouldSuspend(Refused, reason="WOULD_SUSPEND"):
    """Either at once, with `allocations` and their number, or earlier than before, with `covered_until`."""

    allocation_count = optional_number("allocationCount")
    covered_until = optional_instant("coveredUntil")
    covered_until_before = optional_instant("coveredUntilBefore")

    @property
    def allocations(self) -> list[str]:
        """The names of the first 5."""
        return [name for name in self.metadata.get("allocations", "").split(",") if name]


class SubscriptionStateForbids(Refused, reason="SUBSCRIPTION_STATE"):
    state = text("state")


class Suspended(Refused, reason="SUSPENDED"):
    units = number("units")
    delta_units = number("deltaUnits")


class OfferingRetired(Refused, reason="OFFERING_RETIRED"):
    allocation = text("allocation")


class UnitsBelowZero(Refused, reason="UNITS_BELOW_ZERO"):
    units = number("units")
    delta_units = number("deltaUnits")


class LimitExceeded(Refused, reason="LIMIT_EXCEEDED"):
    what = text("what")
    value = number("value")
    limit = number("limit")


class RequestIdReused(Refused, reason="REQUEST_ID_REUSED"):
    reused_id = text("requestId")


class Aborted(EarmarkError, code=StatusCode.ABORTED):
    """Somebody else was faster. Read again, and decide anew."""


class EtagMismatch(Aborted, reason="ETAG_MISMATCH"):
    etag = text("etag")
    current_etag = text("currentEtag")


class CannotResume(EarmarkError, code=StatusCode.OUT_OF_RANGE):
    """A watch cannot begin, or go on, where it was to: what was seen is no longer in the ledger. Begin anew."""

    revision = number("revision")


class RevisionNotReached(CannotResume, reason="REVISION_NOT_REACHED"):
    newest_revision = number("newestRevision")


class HistoryReplaced(CannotResume, reason="HISTORY_REPLACED"): ...


class Unavailable(EarmarkError, code=StatusCode.UNAVAILABLE):
    """It passes. The client has tried again for as long as it may."""


class LockTimeout(Unavailable, reason="LOCK_TIMEOUT"): ...


class TooManyWaiting(Unavailable, reason="TOO_MANY_WAITING"):
    waiting = number("waiting")


class DatabaseUnavailable(Unavailable, reason="DATABASE_UNAVAILABLE"): ...


class ShuttingDown(Unavailable, reason="SHUTTING_DOWN"): ...


class OutcomeUnknown(Unavailable, reason="OUTCOME_UNKNOWN"):
    """What became of it is not known. The same call with `request_id` finds out, and does it at most once."""


class Unreachable(Unavailable, bare_code=StatusCode.UNAVAILABLE):
    """Nobody listens at any of the addresses, the connection was lost, or TLS does not fit. No reason comes with it."""


class DeadlineExceeded(EarmarkError, bare_code=StatusCode.DEADLINE_EXCEEDED):
    """No answer came in time, and what became of the call is open. No reason comes with it."""


class InternalError(EarmarkError, reason="INTERNAL", code=StatusCode.INTERNAL):
    """A bug of Earmark; the cause is in the server's log."""
