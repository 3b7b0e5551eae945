"""The refusals that are not the rules' but the service's own: nothing is wrong with the call."""

from services.ledger.rules import names
from services.ledger.rules.refusal import Reason, Refused


def too_many_waiting(organization: str, waiting: int) -> Refused:
    return Refused(
        Reason.TOO_MANY_WAITING,
        f"{waiting} calls are waiting for {names.organization_name(organization)}; try again in a moment",
        {"waiting": str(waiting)},
        names.organization_name(organization),
    )


def outcome_unknown(name: str) -> Refused:
    """Whether the call about the named resource was carried out could not be found out in time."""
    text = f"{name}: whether the call was carried out is not known; send it again with the same request id"
    return Refused(Reason.OUTCOME_UNKNOWN, text, {"outcome": "unknown"}, name)


def unavailable(reason: Reason, organization: str) -> Refused:
    """A call that was not carried out, for a reason of the service's own."""
    name = names.organization_name(organization)
    text = {
        Reason.LOCK_TIMEOUT: "the call's turn did not come in time",
        Reason.DATABASE_UNAVAILABLE: "the database cannot be reached",
    }[reason]
    return Refused(reason, f"{name}: {text}; nothing was changed, try again in a moment", {}, name)


def internal_error() -> Refused:
    return Refused(Reason.INTERNAL, "internal error; the cause is in the server's log")
