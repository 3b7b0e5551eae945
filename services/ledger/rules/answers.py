"""What a carried-out call answers, and how an answer is remembered for a retry."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from services.ledger.rules.encoding import (
    allocation_from,
    allocation_json,
    figures_from,
    figures_json,
    instant_from,
    instant_text,
    subscription_from,
    subscription_json,
)
from services.ledger.rules.limits import NAMES_LISTED_MAX
from services.ledger.rules.model import Allocation, Figures, OrganizationFields, Subscription


class Balance(Struct, frozen=True):
    """An organization's figures at one revision."""

    organization: str
    revision: int
    as_of: datetime
    figures: Figures


class AllocationNames(Struct, frozen=True):
    """The ids of the first of a list of allocations, and the length of the list."""

    first: tuple[str, ...] = ()
    total: int = 0

    @classmethod
    def of(cls, allocations: Sequence[Allocation]) -> "AllocationNames":
        return cls(tuple(each.allocation for each in allocations[:NAMES_LISTED_MAX]), len(allocations))


class Consequences(Struct, frozen=True):
    """What a change of coverage did to allocations, or left undone."""

    resumed: AllocationNames = AllocationNames()
    suspended: AllocationNames = AllocationNames()
    waiting: AllocationNames = AllocationNames()


class Outcome(Struct, frozen=True):
    """What a call was about, as it is after it."""

    allocations: tuple[Allocation, ...] = ()
    """One, or one for each operation."""
    subscription: Subscription | None = None
    organization: OrganizationFields | None = None
    consequences: Consequences | None = None


class Answer(Struct, frozen=True):
    """The organization's figures after a call, and what the call was about."""

    balance: Balance
    outcome: Outcome


def answer_json(answer: Answer) -> dict[str, Any]:
    """The answer in JSON's terms; what is absent is left out."""
    balance, outcome = answer.balance, answer.outcome
    value: dict[str, Any] = {
        "revision": balance.revision,
        "as_of": instant_text(balance.as_of),
        "figures": figures_json(balance.figures),
    }
    if outcome.allocations:
        value["allocations"] = [{"id": each.allocation, **allocation_json(each)} for each in outcome.allocations]
    if outcome.subscription:
        value["subscription"] = {
            "id": outcome.subscription.subscription,
            **subscription_json(outcome.subscription),
        }
    if outcome.organization:
        value["organization"] = _organization_json(outcome.organization)
    if outcome.consequences:
        value["consequences"] = {
            key: {"first": list(each.first), "total": each.total} for key, each in _lists(outcome.consequences).items()
        }
    return value


def answer_from(organization: str, value: dict[str, Any]) -> Answer:
    """What `answer_json` wrote, now or in an earlier release."""
    subscription = value.get("subscription")
    fields = value.get("organization")
    lists = value.get("consequences")
    return Answer(
        balance=Balance(organization, value["revision"], instant_from(value["as_of"]), figures_from(value["figures"])),
        outcome=Outcome(
            allocations=tuple(allocation_from(organization, each["id"], each) for each in value.get("allocations", ())),
            subscription=subscription and subscription_from(organization, subscription["id"], subscription),
            organization=fields and _organization_from(organization, fields),
            consequences=lists
            and Consequences(
                **{key: AllocationNames(tuple(each["first"]), each["total"]) for key, each in lists.items()}
            ),
        ),
    )


def _lists(consequences: Consequences) -> dict[str, AllocationNames]:
    return {
        "resumed": consequences.resumed,
        "suspended": consequences.suspended,
        "waiting": consequences.waiting,
    }


def _organization_json(fields: OrganizationFields) -> dict[str, Any]:
    return {
        "display_name": fields.display_name,
        "changed_revision": fields.changed_revision,
        "create_time": instant_text(fields.create_time),
        "update_time": instant_text(fields.update_time),
    }


def _organization_from(organization: str, value: dict[str, Any]) -> OrganizationFields:
    return OrganizationFields(
        organization,
        value["display_name"],
        value["changed_revision"],
        instant_from(value["create_time"]),
        instant_from(value["update_time"]),
    )
