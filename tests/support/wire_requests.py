"""The steps of the model's lives as requests on the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from tests.model.lives import Step
from tests.model.words import Offering, Price

Fields = dict[str, Any]

METHODS: Final = {
    "enable": "EnableAllocation",
    "adjust": "AdjustAllocation",
    "disable": "DisableAllocation",
    "update_allocation": "UpdateAllocation",
    "apply": "ApplyOperations",
    "create_subscription": "CreateSubscription",
    "update_subscription": "UpdateSubscription",
    "cancel_subscription": "CancelSubscription",
    "update_organization": "UpdateOrganization",
    "settle": "GetOrganization",
    "change_price": "UpdateOffering",
    "retire": "UpdateOffering",
}

JUNK: Final[dict[str, Fields]] = {
    "allocation": {"priority": 77, "labels": {"": "x" * 99}},
    "subscription": {
        "credits": -5,
        "start_time": {"seconds": 10**15},
        "end_time": {"nanos": -1},
        "grace_period": {"seconds": -1},
        "order_reference": "\0",
        "labels": {"": "x" * 99},
    },
    "organization": {"display_name": "\0", "overdraft_limit": -1, "overdraft_unlimited": True},
}
"""What would be refused, or change something, if a field outside the update mask counted."""


@dataclass
class Wording:
    """How one life's names and values are worded on the wire.

    Its offerings and allocations have a prefix there, since the catalogue is one for all lives.
    """

    organization: str
    prefix: str
    made: dict[str, str] = field(default_factory=dict)
    """The subscription's id that the server made, for the one that the life thought of."""

    @property
    def parent(self) -> str:
        return f"organizations/{self.organization}"

    def offering(self, offering: str) -> str:
        return f"offerings/{self.prefix}{offering}"

    def allocation(self, allocation: str) -> str:
        return f"{self.parent}/allocations/{self.prefix}{allocation}"

    def subscription(self, subscription: str) -> str:
        return f"{self.parent}/subscriptions/{self.made.get(subscription, subscription)}"

    def request(self, step: Step, number: int) -> tuple[str, Fields]:
        """The method and the fields of its request; by `number` the same update is worded in several ways."""
        sent: Fields = dict(step.arguments)
        fields: Fields = {key: sent.pop(key) for key in ("request_id", "validate_only", "force") if key in sent}
        match step.call:
            case "settle":
                fields = {"name": self.parent}
            case "enable":
                fields |= {"parent": self.parent, **self._enable(sent)}
            case "adjust" | "disable":
                fields |= self._of_allocation(sent)
            case "apply":
                fields |= {"parent": self.parent, "allow_partial": sent.get("allow_partial")}
                fields["operations"] = [self._operation(each) for each in sent["operations"]]
            case "create_subscription":
                fields |= {"parent": self.parent, **self._purchase(sent)}
            case "cancel_subscription":
                fields["name"] = self.subscription(sent["subscription_id"])
            case "update_allocation":
                name = self.allocation(sent.pop("allocation_id"))
                fields |= _update("allocation", name, sent, number)
            case "update_subscription":
                name = self.subscription(sent.pop("subscription_id"))
                fields |= _update("subscription", name, _term(sent), number)
            case "update_organization":
                fields |= _update("organization", self.parent, sent, number)
            case "retire":
                fields = _update("offering", self.offering(sent["offering"]), {"retired": True}, number)
            case "change_price":
                fields = self._price(sent)
        return METHODS[step.call], fields

    def creation(self, name: str, offering: Offering) -> Fields:
        return {
            "offering_id": self.offering(name).partition("/")[2],
            "offering": {"price": _terms(offering.prices[0])},
        }

    def _enable(self, sent: Mapping[str, Any]) -> Fields:
        allocation = sent.get("allocation_id")
        return {
            "allocation_id": allocation and self.prefix + allocation,
            "offering": self.offering(sent["offering"]),
            **{key: sent.get(key) for key in ("units", "priority", "labels")},
        }

    def _of_allocation(self, sent: Mapping[str, Any]) -> Fields:
        return {"name": self.allocation(sent["allocation_id"]), "delta_units": sent.get("delta_units")}

    def _operation(self, sent: Mapping[str, Any]) -> Fields:
        of_kind = self._enable(sent) if sent["op"] == "enable" else self._of_allocation(sent)
        return _present({"request_id": sent.get("request_id"), sent["op"]: _present(of_kind)})

    def _purchase(self, sent: Mapping[str, Any]) -> Fields:
        renews = sent.get("renews")
        return {
            "subscription_id": sent.get("subscription_id"),
            "subscription": {
                "credits": sent["credits"],
                **_term({key: sent[key] for key in ("start", "end", "grace") if key in sent}),
                "renews": self.subscription(renews) if renews else "",
            },
        }

    def _price(self, sent: Mapping[str, Any]) -> Fields:
        price: Fields = {"credits_per_block": sent["price"]}
        if "since" in sent:
            price["effective_time"] = instant(sent["since"])
        return _update("offering", self.offering(sent["offering"]), {"price": price}, 0)


def instant(microseconds: int) -> Fields:
    seconds, rest = divmod(microseconds, 1_000_000)
    return {"seconds": seconds, "nanos": rest * 1000}


def _terms(price: Price) -> Fields:
    number = price.credits_per_block
    places = f"{number.numerator * 10**6 // number.denominator:07}"
    return _present(
        {
            "credits_per_block": f"{places[:-6]}.{places[-6:]}",
            "block_units": price.block_units,
            "max_credits": price.max_credits,
        }
    )


def _term(sent: Mapping[str, Any]) -> Fields:
    named = {"start": "start_time", "end": "end_time", "grace": "grace_period"}
    return {named.get(key, key): instant(value) if key in named else value for key, value in sent.items()}


def _update(noun: str, name: str, sent: Mapping[str, Any], number: int) -> Fields:
    """Worded without a mask where that says the same, or with one: then whatever lies outside it does not count."""
    if all(sent.values()) and number % 3 == 0:
        return {noun: {"name": name, **sent}}
    junk = JUNK.get(noun, {}) if sent and number % 3 == 1 else {}
    return {noun: {**junk, **sent, "name": name}, "update_mask": {"paths": sorted(sent)}}


def _present(fields: Mapping[str, Any]) -> Fields:
    return {key: value for key, value in fields.items() if value is not None}


def price_is_new(offering: Offering, sent: Mapping[str, Any], now: int) -> bool:
    """Whether a change of price adds a version: not if the price would be in force at that instant anyway."""
    there = [each for each in offering.prices if each.since <= sent.get("since", now)]
    in_force = max(there, key=lambda each: (each.since, each.version))
    return (in_force.credits_per_block, in_force.block_units, in_force.max_credits) != (
        Fraction(sent["price"]),
        1,
        None,
    )
