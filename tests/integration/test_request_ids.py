"""The same id again is the same answer again, whoever is asked and however often."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
from google.protobuf.message import Message

from earmark import Adjust, Enable
from earmark.messages import MessageClient, price
from services.allocator.server import AllocatorServer
from services.ledger.ledger import Ledger
from services.ledger.rules.answers import Answer
from services.ledger.rules.cataloguing import CatalogCommand, CreateOffering, Terms, UpdateOffering
from services.ledger.rules.commands import (
    ApplyOperations,
    Call,
    CancelSubscription,
    Command,
    CreateOrganization,
    CreateSubscription,
    DisableAllocation,
    UpdateAllocation,
    UpdateOrganization,
    UpdateSubscription,
)
from services.ledger.rules.refusal import Reason
from services.ledger.store import catalog_tables
from services.ledger.store.database import Connection, Pool, connect_pool
from services.runtime.settings import Settings
from tests.conftest import Advance
from tests.support.books import (
    DAY,
    SECONDS,
    SENSOR,
    SENSOR_CREDITS,
    adjust,
    do,
    enable,
    entries,
    in_days,
    make_customer,
    offer_sensors,
    refused,
    request_ids,
    revision,
    together,
    told,
    units_of,
)

END: Final = in_days(500)

Send = Callable[[MessageClient], Awaitable[Any]]

SENT: Final[dict[str, Send]] = {
    "create": lambda client: client.create_organization("new", display_name="New", request_id="create"),
    "rename": lambda client: client.update_organization("acme", display_name="Acme!", request_id="rename"),
    "buy": lambda client: client.create_subscription(
        "acme", credits=5, end_time=END, grace_period=DAY, labels={"b": "2", "a": "1"}, request_id="buy"
    ),
    "amend": lambda client: client.update_subscription("acme", "first", credits=2_000_000, request_id="amend"),
    "enable": lambda client: client.enable_allocation(
        "acme", offering=SENSOR, units=3, allocation="host", labels={"z": "", "a": "1"}, request_id="enable"
    ),
    "adjust": lambda client: client.adjust_allocation("acme", SENSOR, delta_units=2, request_id="adjust"),
    "update": lambda client: client.update_allocation("acme", SENSOR, priority=-7, request_id="update"),
    "several": lambda client: client.apply_operations(
        "acme",
        [Enable(offering=SENSOR, units=2, allocation="host"), Adjust(allocation=SENSOR, delta_units=-1)],
        request_id="several",
    ),
    "each": lambda client: client.apply_operations(
        "acme", [Adjust(allocation="host", delta_units=1, request_id="each")], allow_partial=True
    ),
    "disable": lambda client: client.disable_allocation("acme", "host", request_id="disable"),
    "cancel": lambda client: client.cancel_subscription("acme", "first", force=True, request_id="cancel"),
    "offer": lambda client: client.create_offering("new", price=price("0.05"), unit="GB", request_id="offer"),
    "reprice": lambda client: client.update_offering(SENSOR, price=price("30"), request_id="reprice"),
}
"""By request id."""


@pytest.fixture
async def acme(ledger: Ledger, connection: Connection) -> Ledger:
    """`acme` has a million credits and ten sensors."""
    await offer_sensors(connection)
    await make_customer(ledger, connection)
    await do(ledger, "acme", enable(units=10))
    return ledger


@asynccontextmanager
async def _started(database: str) -> AsyncIterator[MessageClient]:
    """A client of an allocator that has just started, and stops afterwards."""
    async with await connect_pool(database, name="restarted", size=2) as pool:
        server = AllocatorServer(Settings(listen_address="127.0.0.1:0"), pool)
        await server.start()
        async with MessageClient(server.address) as client:
            yield client
        await server.stop()


async def test_a_replay_is_the_first_answer_byte_for_byte_in_another_process_and_later(
    acme: Ledger, connection: Connection, advance: Advance, database: str
) -> None:
    async with _started(database) as client:
        first = {request_id: await send(client) for request_id, send in SENT.items()}
    written = await entries(connection)
    await advance(timedelta(hours=23))
    async with _started(database) as client:
        again = {request_id: await send(client) for request_id, send in reversed(SENT.items())}
    # What became of all is no part of what became of each.
    first["each"].ClearField("balance")
    again["each"].ClearField("balance")
    for request_id in SENT:
        assert _bytes(again[request_id]) == _bytes(first[request_id]), request_id
    assert await entries(connection) == written


def _bytes(answer: Message) -> bytes:
    return answer.SerializeToString(deterministic=True)


OTHER_MEANINGS: Final[list[tuple[Command, Command]]] = [
    (adjust(+1), adjust(+2)),
    (adjust(+1), adjust(+1, "other")),
    (enable(units=11), adjust(+1)),
    (enable(units=11), enable(units=11, priority=0)),
    (DisableAllocation(SENSOR), enable(units=11)),
    (UpdateAllocation(SENSOR, priority=1), UpdateAllocation(SENSOR, labels={})),
    (ApplyOperations((adjust(+1),)), adjust(+1)),
    (UpdateSubscription("first", credits=2_000_000), CancelSubscription("first", force=True)),
    (UpdateOrganization("New name"), UpdateOrganization("New name", overdraft_limit=0)),
]


async def test_an_id_with_another_meaning_is_refused_and_changes_nothing(acme: Ledger, connection: Connection) -> None:
    for number, (first, second) in enumerate(OTHER_MEANINGS):
        request_id = f"id-{number}"
        answer = await do(acme, "acme", first, request_id)
        before = await told(connection)
        refusal = await refused(do(acme, "acme", second, request_id))
        assert refusal.reason is Reason.REQUEST_ID_REUSED, second
        assert refusal.figures == {"requestId": request_id}
        assert await told(connection) == before
        assert await do(acme, "acme", first, request_id) == answer


async def test_a_replay_comes_before_every_check_but_form(acme: Ledger, connection: Connection) -> None:
    """What exists by now, and an etag that is stale by now, are what the first call made so."""
    create, end = CreateOrganization("Acme"), in_days(100)
    first = await do(acme, "new", create, "id")
    assert await do(acme, "new", create, "id") == first
    assert (await refused(do(acme, "new", create, "other"))).reason is Reason.ORGANIZATION_ALREADY_EXISTS

    buy = CreateSubscription("second", 5, end)
    first = await do(acme, "acme", buy, "buy")
    assert await do(acme, "acme", buy, "buy") == first
    assert (await refused(do(acme, "acme", buy, "other"))).reason is Reason.SUBSCRIPTION_ALREADY_EXISTS

    update = UpdateAllocation(SENSOR, priority=4, etag=str(await revision(connection) - 1))
    first = await do(acme, "acme", update, "update")
    stale = replace(update, priority=5)
    assert (await refused(do(acme, "acme", stale, "stale"))).reason is Reason.ETAG_MISMATCH
    assert await do(acme, "acme", update, "update") == first
    assert await do(acme, "acme", replace(update, etag="0"), "update") == first


async def test_a_purchase_without_an_id_of_its_own_is_made_once(acme: Ledger, connection: Connection) -> None:
    end = in_days(100)
    first = await do(acme, "acme", CreateSubscription(None, 5, end, made_up_id="one"), "id")
    again = await do(acme, "acme", CreateSubscription(None, 5, end, made_up_id="two"), "id")
    assert again == first
    assert (await told(connection))[-1] == "SUBSCRIPTION_CREATED one"


async def test_a_refused_call_is_not_remembered(acme: Ledger, connection: Connection) -> None:
    """After a purchase the same call succeeds."""
    dear = enable("dear", 60_000)
    assert (await refused(do(acme, "acme", dear, "id"))).reason is Reason.INSUFFICIENT_CREDITS
    assert await request_ids(connection) == []
    await do(acme, "acme", CreateSubscription("second", 60_000 * SENSOR_CREDITS, in_days(10)))
    assert (await do(acme, "acme", dear, "id")).outcome.allocations[0].units == 60_000


async def test_a_call_that_changed_nothing_is_remembered(acme: Ledger, connection: Connection) -> None:
    before = await told(connection)
    first = await do(acme, "acme", enable(units=10), "id")
    assert await told(connection) == before
    await do(acme, "acme", adjust(+5))
    assert await do(acme, "acme", enable(units=10), "id") == first
    assert await units_of(connection) == 15


async def test_a_rehearsal_neither_reads_ids_nor_keeps_them(acme: Ledger, connection: Connection) -> None:
    await do(acme, "acme", adjust(+1), "used")
    [of_used] = await acme.rehearse("acme", [Call(adjust(+1), "used")], SECONDS)
    assert isinstance(of_used, Answer)
    assert of_used.outcome.allocations[0].units == 12
    [of_other] = await acme.rehearse("acme", [Call(adjust(+5), "used")], SECONDS)
    assert isinstance(of_other, Answer)
    await acme.rehearse("acme", [Call(adjust(+1), "new")], SECONDS)
    assert await request_ids(connection) == ["used"]
    assert (await do(acme, "acme", adjust(+2), "new")).outcome.allocations[0].units == 13


async def test_ids_of_two_organizations_have_nothing_to_do_with_each_other(
    acme: Ledger, connection: Connection
) -> None:
    await make_customer(acme, connection, "other")
    await do(acme, "acme", adjust(+1), "id")
    assert (await do(acme, "other", enable(units=4), "id")).outcome.allocations[0].units == 4


async def test_concurrent_duplicates_in_two_processes_are_one_call(
    acme: Ledger, connection: Connection, pool: Pool
) -> None:
    before = await revision(connection)
    ledgers = (acme, Ledger(pool))
    answers = await together([do(ledgers[each % 2], "acme", adjust(+1), f"id-{each % 5}") for each in range(50)])
    assert all(isinstance(each, Answer) for each in answers)
    assert all(each == answers[number % 5] for number, each in enumerate(answers))
    assert await revision(connection) == before + 5
    assert await units_of(connection) == 15


async def test_concurrent_creations_with_one_id_are_one_organization(
    acme: Ledger, connection: Connection, pool: Pool
) -> None:
    ledgers = (acme, Ledger(pool))
    create = CreateOrganization("New")
    answers = await together([do(ledgers[each % 2], "new", create, "id") for each in range(20)])
    assert [each == answers[0] for each in answers] == [True] * 20
    assert await told(connection, "new") == ["ORGANIZATION_CREATED"]


async def _offer(ledger: Ledger, command: CatalogCommand, request_id: str, validate_only: bool = False) -> Any:
    return await ledger.change_catalog(command, request_id=request_id, validate_only=validate_only, seconds=SECONDS)


async def test_the_catalogue_has_ids_of_its_own(acme: Ledger, connection: Connection) -> None:
    await do(acme, "acme", adjust(+1), "id")
    create = CreateOffering("new", Terms(Decimal(3)), "New")
    assert (await _offer(acme, create, "id", validate_only=True))[0].offering == "new"
    first = await _offer(acme, create, "id")
    await _offer(acme, UpdateOffering("new", unit="GB"), "")
    assert await _offer(acme, create, "id") == first
    assert (await refused(_offer(acme, replace(create, display_name="Newer"), "id"))).reason is Reason.REQUEST_ID_REUSED
    assert (await refused(_offer(acme, create, "other"))).reason is Reason.OFFERING_ALREADY_EXISTS
    unchanged = await _offer(acme, UpdateOffering("new", unit="GB"), "unchanged")
    await _offer(acme, UpdateOffering("new", unit="TB"), "")
    assert await _offer(acme, UpdateOffering("new", unit="GB"), "unchanged") == unchanged
    kept = await connection.fetch("SELECT request_id FROM catalog_request ORDER BY 1")
    assert [row["request_id"] for row in kept] == ["id", "unchanged"]


async def test_concurrent_changes_of_the_catalogue_with_one_id_are_one(
    acme: Ledger, connection: Connection, pool: Pool
) -> None:
    ledgers = (acme, Ledger(pool))
    create = CreateOffering("new", Terms(Decimal(3)))
    answers = await asyncio.gather(*(_offer(ledgers[each % 2], create, "id") for each in range(20)))
    assert all(each == answers[0] for each in answers)
    assert (await catalog_tables.read_offerings(connection, ["new"]))["new"].changes == 1
