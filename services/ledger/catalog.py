"""The catalogue: its rules, and carrying a change of it out."""

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.ledger import catalog_store, names, store
from services.ledger.allocating import check_etag, limit_exceeded
from services.ledger.commands import NOT_MEANING, meaning
from services.ledger.committing import CommitLost, commit, roll_back
from services.ledger.database import Connection
from services.ledger.encoding import instant_from, instant_text
from services.ledger.limits import OFFERINGS_MAX, PRICE_VERSIONS_MAX
from services.ledger.price import Offering, Price
from services.ledger.refusal import Reason, Refused, invalid_field


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


class CatalogUnconfirmed(Exception):
    """The connection was lost during the commit of a change: whether it happened is to be looked up."""

    def __init__(self, change: "Change") -> None:
        super().__init__(change.after.offering)
        self.change = change


@dataclass(frozen=True, slots=True)
class Change:
    """An offering before and after a command, and as of when."""

    before: Offering | None
    after: Offering
    as_of: datetime


async def change_catalog(
    connection: Connection, command: CatalogCommand, *, request_id: str = "", validate_only: bool = False
) -> Change:
    """Carries the command out in one transaction.

    A request id that was used with the same meaning gives the first answer again. Raises Refused, CatalogUnconfirmed
    or NotReplicated.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        change = await _carry_out(connection, command, "" if validate_only else request_id)
    except BaseException:
        await roll_back(transaction)
        raise
    if validate_only:
        await transaction.rollback()
        return change
    try:
        await commit(connection, transaction)
    except CommitLost as lost:
        raise CatalogUnconfirmed(change) from lost
    return change


async def was_committed(connection: Connection, change: Change) -> bool | None:
    """Looks under the catalogue's lock, so that a commit on its way is waited for; None if it was changed again."""
    async with connection.transaction():
        await catalog_store.wait_longer_for_lock(connection)
        await catalog_store.lock_catalog(connection)
        key = change.after.offering
        current = (await catalog_store.read_offerings(connection, [key])).get(key)
    if current == change.after:
        return True
    return False if current == change.before else None


async def _carry_out(connection: Connection, command: CatalogCommand, request_id: str) -> Change:
    await catalog_store.wait_longer_for_lock(connection)
    await catalog_store.lock_catalog(connection)
    now = await store.read_now(connection)
    if request_id and (used := await catalog_store.read_catalog_request(connection, request_id)):
        return _replay(used, request_id, command)
    before = (await catalog_store.read_offerings(connection, [command.offering])).get(command.offering)
    if isinstance(command, CreateOffering):
        count = await catalog_store.count_offerings(connection)
        after = create_offering(before, command, count, now)
    else:
        after = update_offering(before, command, now)
    if after != before:
        await catalog_store.upsert_offering(connection, after)
        new_prices = after.prices[len(before.prices) if before else 0 :]
        await catalog_store.insert_prices(connection, after.offering, new_prices)
    if request_id:
        answer = json.dumps({"as_of": instant_text(now), **_offering_json(after)})
        await catalog_store.insert_catalog_request(connection, request_id, meaning(command), answer, now)
    return Change(before, after, now)


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
    name = names.offering_name(command.offering)
    if current is None:
        raise Refused(Reason.OFFERING_NOT_FOUND, f"there is no {name}; create it first", {}, name)
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


def _with_price(current: Offering, terms: Terms, now: datetime, name: str) -> Offering:
    effective = terms.effective_time or now
    if effective < now:
        raise invalid_field(
            "offering.price.effective_time",
            f"{instant_text(effective)} is in the past, and it is {instant_text(now)}; leave it out for a price from "
            "now on",
            {"effectiveTime": instant_text(effective), "now": instant_text(now)},
        )
    new = _price(terms, len(current.prices) + 1, effective)
    if current.price_at(effective).same_terms(new):
        return current
    if new.version > PRICE_VERSIONS_MAX:
        raise limit_exceeded("versions of its price", new.version, PRICE_VERSIONS_MAX, name)
    return replace(current, prices=(*current.prices, new))


def _price(terms: Terms, version: int, effective_time: datetime) -> Price:
    return Price(version, effective_time, terms.credits_per_block, terms.block_units, terms.max_credits)


def _replay(used: tuple[bytes, str], request_id: str, command: CatalogCommand) -> Change:
    used_meaning, answer = used
    if used_meaning != meaning(command):
        raise Refused(
            Reason.REQUEST_ID_REUSED,
            f"request id {request_id!r} was used for a change of the catalogue with another meaning; make a new id",
            {"requestId": request_id},
            names.offering_name(command.offering),
        )
    value = json.loads(answer)
    offering = _offering_from(value)
    return Change(offering, offering, instant_from(value["as_of"]))


def _offering_json(offering: Offering) -> dict[str, Any]:
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


def _offering_from(value: dict[str, Any]) -> Offering:
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
