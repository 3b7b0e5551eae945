"""The catalogue's rules: creating an offering, changing it, giving it a new price. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.ledger.rules import names
from services.ledger.rules.commands import NOT_MEANING
from services.ledger.rules.encoding import instant_from, instant_text
from services.ledger.rules.limits import OFFERINGS_MAX, PRICE_VERSIONS_MAX
from services.ledger.rules.price import Offering, Price
from services.ledger.rules.refusal import Reason, Refused, check_etag, invalid_field, limit_exceeded, offering_not_found


@dataclass(frozen=True, slots=True)
class Terms:
    """A price as it is sent."""

    credits_per_block: Decimal
    block_units: int = 1
    max_credits: int | None = None
    effective_time: datetime | None = None
    """Absent: now."""


@dataclass(frozen=True, slots=True)
class CreateOffering:
    offering: str
    price: Terms
    display_name: str = ""
    solution: str = ""
    unit: str = ""
    retired: bool = False


@dataclass(frozen=True, slots=True)
class UpdateOffering:
    """What is None is kept."""

    offering: str
    price: Terms | None = None
    display_name: str | None = None
    solution: str | None = None
    unit: str | None = None
    retired: bool | None = None
    etag: str = field(default="", metadata=NOT_MEANING)


CatalogCommand = CreateOffering | UpdateOffering


def create_offering(current: Offering | None, command: CreateOffering, count: int, now: datetime) -> Offering:
    """`count` is the number of offerings there are."""
    name = names.offering_name(command.offering)
    if current is not None:
        raise Refused(Reason.OFFERING_ALREADY_EXISTS, f"{name} exists already; update it instead", {}, name)
    if command.price.effective_time is not None:
        raise invalid_field(
            "offering.price.effective_time",
            "the first price takes effect at once, so leave it out; later prices have one",
            {},
        )
    if count >= OFFERINGS_MAX:
        raise limit_exceeded("offerings", count + 1, OFFERINGS_MAX, name)
    return Offering(
        offering=command.offering,
        display_name=command.display_name,
        solution=command.solution,
        unit=command.unit,
        retired=command.retired,
        prices=(_price(command.price, 1, now),),
        changes=1,
        create_time=now,
        update_time=now,
    )


def update_offering(current: Offering | None, command: UpdateOffering, now: datetime) -> Offering:
    if current is None:
        raise offering_not_found(command.offering)
    name = names.offering_name(command.offering)
    check_etag(command.etag, current.etag, name)
    sent: dict[str, Any] = {
        "display_name": command.display_name,
        "solution": command.solution,
        "unit": command.unit,
        "retired": command.retired,
    }
    changed = replace(current, **{key: value for key, value in sent.items() if value is not None})
    if command.price is not None:
        changed = _with_price(changed, command.price, now, name)
    if changed == current:
        return current
    return replace(changed, changes=current.changes + 1, update_time=now)


def offering_json(offering: Offering) -> dict[str, Any]:
    """In JSON's terms."""
    return {
        "offering": offering.offering,
        "display_name": offering.display_name,
        "solution": offering.solution,
        "unit": offering.unit,
        "retired": offering.retired,
        "changes": offering.changes,
        "create_time": instant_text(offering.create_time),
        "update_time": instant_text(offering.update_time),
        "prices": [
            {
                "version": each.version,
                "effective_time": instant_text(each.effective_time),
                "credits_per_block": str(each.credits_per_block),
                "block_units": each.block_units,
                "max_credits": each.max_credits,
            }
            for each in offering.prices
        ],
    }


def offering_from(value: Mapping[str, Any]) -> Offering:
    """What `offering_json` wrote, now or in an earlier release."""
    return Offering(
        offering=value["offering"],
        display_name=value["display_name"],
        solution=value["solution"],
        unit=value["unit"],
        retired=value["retired"],
        prices=tuple(
            Price(
                each["version"],
                instant_from(each["effective_time"]),
                Decimal(each["credits_per_block"]),
                each["block_units"],
                each["max_credits"],
            )
            for each in value["prices"]
        ),
        changes=value["changes"],
        create_time=instant_from(value["create_time"]),
        update_time=instant_from(value["update_time"]),
    )


def _with_price(current: Offering, terms: Terms, now: datetime, name: str) -> Offering:
    effective = terms.effective_time or now
    sent = _price(terms, len(current.prices) + 1, effective)
    if effective < now:
        if any(each.effective_time == effective and each.same_terms(sent) for each in current.prices):
            return current  # A version that is there already, sent back as it was read.
        raise invalid_field(
            "offering.price.effective_time",
            f"{instant_text(effective)} is in the past, and it is {instant_text(now)}; leave it out for a price from "
            "now on",
            {"effectiveTime": instant_text(effective), "now": instant_text(now)},
        )
    if current.price_at(effective).same_terms(sent):
        return current
    if sent.version > PRICE_VERSIONS_MAX:
        raise limit_exceeded("versions of its price", sent.version, PRICE_VERSIONS_MAX, name)
    return replace(current, prices=(*current.prices, sent))


def _price(terms: Terms, version: int, effective_time: datetime) -> Price:
    return Price(version, effective_time, terms.credits_per_block, terms.block_units, terms.max_credits)
