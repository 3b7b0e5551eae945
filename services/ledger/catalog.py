"""Carrying a change of the catalogue out: one transaction under the catalogue's lock."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.ledger.committing import CommitLost, commit, roll_back
from services.ledger.rules import names
from services.ledger.rules.cataloguing import (
    CatalogCommand,
    CreateOffering,
    create_offering,
    offering_from,
    offering_json,
    update_offering,
)
from services.ledger.rules.commands import meaning
from services.ledger.rules.encoding import instant_from, instant_text
from services.ledger.rules.price import Offering
from services.ledger.rules.refusal import Reason, Refused
from services.ledger.store import catalog_tables, reads
from services.ledger.store.database import Connection


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
    connection: Connection,
    command: CatalogCommand,
    *,
    request_id: str = "",
    when_locked: Callable[[], object] = lambda: None,
) -> Change:
    """Carries the command out in one transaction; `when_locked` is called when nobody else can come between.

    A request id that was used with the same meaning gives the first answer again. Raises Refused, CatalogUnconfirmed
    or NotReplicated.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        await catalog_tables.wait_longer_for_lock(connection)
        await catalog_tables.lock_catalog(connection)
        when_locked()
        change = await _carry_out(connection, command, request_id)
    except BaseException:
        await roll_back(transaction)
        raise
    try:
        await commit(connection, transaction)
    except CommitLost as lost:
        raise CatalogUnconfirmed(change) from lost
    return change


async def decide_catalog(connection: Connection, command: CatalogCommand) -> Change:
    """What would become of the command now. Writes nothing and looks at no request id. Raises Refused."""
    now = await reads.read_now(connection)
    before = (await catalog_tables.read_offerings(connection, [command.offering])).get(command.offering)
    if isinstance(command, CreateOffering):
        count = await catalog_tables.count_offerings(connection)
        return Change(before, create_offering(before, command, count, now), now)
    return Change(before, update_offering(before, command, now), now)


async def was_committed(connection: Connection, change: Change) -> bool | None:
    """Looks under the catalogue's lock, so that a commit on its way is waited for; None if it was changed again.

    The look itself is committed, which waits for the standby: what it saw is there to stay. Raises what `commit` does.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        await catalog_tables.wait_longer_for_lock(connection)
        await catalog_tables.lock_catalog(connection)
        key = change.after.offering
        current = (await catalog_tables.read_offerings(connection, [key])).get(key)
    except BaseException:
        await roll_back(transaction)
        raise
    await commit(connection, transaction)
    if current == change.after:
        return True
    return False if current == change.before else None


async def _carry_out(connection: Connection, command: CatalogCommand, request_id: str) -> Change:
    if request_id and (used := await catalog_tables.read_catalog_request(connection, request_id)):
        return _replay(used, request_id, command)
    change = await decide_catalog(connection, command)
    before, after = change.before, change.after
    if after != before:
        await catalog_tables.upsert_offering(connection, after)
        new_prices = after.prices[len(before.prices) if before else 0 :]
        await catalog_tables.insert_prices(connection, after.offering, new_prices)
    if request_id:
        answer = json.dumps({"as_of": instant_text(change.as_of), **offering_json(after)})
        await catalog_tables.insert_catalog_request(connection, request_id, meaning(command), answer, change.as_of)
    return change


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
    offering = offering_from(value)
    return Change(offering, offering, instant_from(value["as_of"]))
