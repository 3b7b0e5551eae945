"""Whatever is sent, the answer is a clear one, and what is refused changes nothing."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from earmark.v1.error_reason_pb2 import ErrorReason
from services.ledger.store.database import Connection, Pool
from services.runtime.settings import Settings
from tests.support.hostile import Attempt, Fields, Mischief
from tests.support.reflected import ReflectedClient, Refusal, refusal_of
from tests.support.service_stories import serving

INPUTS: Final = int(os.environ.get("EARMARK_TEST_BAD_INPUTS", "3000"))
SEED: Final = int(os.environ.get("EARMARK_TEST_BAD_INPUT_SEED", "1"))
LATER: Final = {"seconds": int((datetime.now(UTC) + timedelta(days=365)).timestamp())}
DAY_SECONDS: Final = 86_400
TODAY: Final = int(datetime.now(UTC).timestamp()) // DAY_SECONDS * DAY_SECONDS
ACME: Final = "organizations/acme"
PRICE: Final = {"credits_per_block": "1", "block_units": 10, "max_credits": 5_000}

CODES: Final = {
    "INVALID_ARGUMENT": {"BadRequest"},
    "NOT_FOUND": {"ResourceInfo"},
    "ALREADY_EXISTS": {"ResourceInfo"},
    "RESOURCE_EXHAUSTED": {"QuotaFailure"},
    "FAILED_PRECONDITION": {"PreconditionFailure"},
    "ABORTED": set[str](),
    "OUT_OF_RANGE": set[str](),
}
"""The codes that bad input may have, each with its standard detail."""

RIGHT: Final[dict[str, Fields]] = {
    "CreateOrganization": {"organization_id": "new", "organization": {"display_name": "New", "overdraft_limit": 5}},
    "UpdateOrganization": {
        "organization": {"name": ACME, "display_name": "Acme", "overdraft_limit": 10**6},
        "update_mask": {"paths": ["display_name", "overdraft_limit"]},
    },
    "GetOrganization": {"name": ACME},
    "ListOrganizations": {"page_size": 2},
    "CreateSubscription": {
        "parent": ACME,
        "subscription_id": "new",
        "subscription": {"credits": 100, "end_time": LATER, "grace_period": {"seconds": 5}, "labels": {"a": "b"}},
    },
    "UpdateSubscription": {
        "subscription": {"name": f"{ACME}/subscriptions/s", "credits": 10**6, "end_time": LATER},
        "update_mask": {"paths": ["credits", "end_time"]},
    },
    "CancelSubscription": {"name": f"{ACME}/subscriptions/s"},
    "GetSubscription": {"name": f"{ACME}/subscriptions/s"},
    "ListSubscriptions": {"parent": ACME, "page_size": 1},
    "EnableAllocation": {"parent": ACME, "allocation_id": "a", "offering": "offerings/app", "units": 3},
    "AdjustAllocation": {"name": f"{ACME}/allocations/a", "delta_units": 1, "request_id": "once"},
    "DisableAllocation": {"name": f"{ACME}/allocations/a"},
    "UpdateAllocation": {"allocation": {"name": f"{ACME}/allocations/a", "priority": 1}},
    "ApplyOperations": {
        "parent": ACME,
        "request_id": "operations",
        "operations": [
            {"enable": {"allocation_id": "b", "offering": "offerings/app", "units": 1}},
            {"adjust": {"name": f"{ACME}/allocations/b", "delta_units": 1}},
            {"disable": {"name": f"{ACME}/allocations/b"}},
        ],
    },
    "GetAllocation": {"name": f"{ACME}/allocations/a"},
    "ListAllocations": {"parent": ACME, "offering": "offerings/app", "page_size": 1},
    "CreateOffering": {"offering_id": "new", "offering": {"display_name": "New", "price": PRICE}},
    "UpdateOffering": {"offering": {"name": "offerings/spare", "price": PRICE}, "update_mask": {"paths": ["price"]}},
    "GetOffering": {"name": "offerings/app"},
    "ListOfferings": {"page_size": 1},
    "CheckEntitlement": {"parent": ACME, "offering": "offerings/app"},
    "CheckEntitlements": {
        "parent": ACME,
        "targets": [{"offering": "offerings/app"}, {"allocation": f"{ACME}/allocations/a"}],
    },
    "GetUsage": {"name": ACME},
    "QueryUsageHistory": {
        "name": ACME,
        "interval": {"start_time": {"seconds": TODAY - 7 * DAY_SECONDS}, "end_time": {"seconds": TODAY + DAY_SECONDS}},
        "step": 2,
    },
    "ForecastUsage": {"name": ACME, "until": LATER},
    "EstimateCredits": {"lines": [{"offering": "offerings/app", "units": 30}], "organization": ACME},
    "ListEntries": {
        "parent": ACME,
        "kinds": [10, 11],
        "resource": f"{ACME}/allocations/a",
        "interval": {"start_time": {"seconds": TODAY - DAY_SECONDS}, "end_time": {"seconds": TODAY + 2 * DAY_SECONDS}},
        "after_revision": 1,
        "page_size": 1,
    },
    "WatchUsage": {"name": ACME, "after_revision": 1},
    "WatchBalances": {"names": [ACME, "organizations/witness"]},
}


LISTS_OF_ONE: Final = {
    "ListAllocations": "allocations",
    "ListSubscriptions": "subscriptions",
    "ListEntries": "entries",
}
"""What may be asked of one organization, and the field with its items."""


@pytest.fixture
async def reflected(database: str, pool: Pool, sound: None) -> AsyncIterator[ReflectedClient]:
    """With a catalogue, `acme` that the calls are about, and others that they are not. Watches do not wait long."""
    settings = Settings(database_url=database, listen_address="127.0.0.1:0", watch_heartbeat_seconds=0.1)
    async with serving(settings, pool) as address, ReflectedClient(address) as client:
        for offering in ("app", "spare"):
            await client.call("CreateOffering", offering_id=offering, offering={"price": PRICE})
        for organization in ("aaaa", "acme", "witness"):
            parent = f"organizations/{organization}"
            await client.call("CreateOrganization", organization_id=organization)
            for subscription in ("s", "t"):
                terms = {"credits": 10**6, "end_time": LATER}
                await client.call("CreateSubscription", parent=parent, subscription_id=subscription, subscription=terms)
            for allocation in ("a", "b", "c"):
                sent = {"allocation_id": allocation, "offering": "offerings/app", "units": 5}
                await client.call("EnableAllocation", parent=parent, **sent)
            sent = {"name": f"{parent}/allocations/a", "delta_units": 1, "request_id": "first"}
            await client.call("AdjustAllocation", **sent)
        yield client


@pytest.mark.timeout(120 + INPUTS // 100)
async def test_every_bad_input_has_a_clear_answer(reflected: ReflectedClient, connection: Connection) -> None:
    assert set(RIGHT) == set(reflected.methods), "every method has a request that is right"
    mischief = Mischief(reflected, RIGHT, SEED)
    mischief.tokens = await _tokens(reflected)
    outcomes: dict[str, int] = {}
    before = await _everything(connection)
    for attempt in mischief.attempts(INPUTS):
        try:
            outcome = await _attempt(reflected, attempt)
            after = await _everything(connection)
            assert outcome == "OK" or before == after, "a refused call changed something"
        except AssertionError as wrong:
            wrong.add_note(f"{attempt.method}: {attempt.story}")
            raise
        before = after
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    print(f"{INPUTS} inputs, {mischief.places} places: {outcomes}")
    assert {"OK", "INVALID_FIELD", "MALFORMED_MESSAGE", "INVALID_PAGE_TOKEN"} <= set(outcomes)


async def test_the_longest_names_fit_into_the_details(reflected: ReflectedClient) -> None:
    organization, renewed, renewal, taken = await _with_longest_names(reflected)
    other = {"allocation_id": taken, "offering": "offerings/app", "units": 1}
    below = {"name": f"{organization}/allocations/{taken}", "delta_units": -99}
    for method, fields, reason in (
        ("UpdateSubscription", {"subscription": {"name": renewed, "etag": "é" * 99}}, "INVALID_FIELD"),
        ("UpdateSubscription", {"subscription": {"name": renewed, "etag": "~" * 128}}, "ETAG_MISMATCH"),
        ("CancelSubscription", {"name": renewed}, "WOULD_SUSPEND"),
        ("CreateSubscription", {"parent": organization, **renewal, "subscription_id": "q"}, "RENEWAL_ALREADY_EXISTS"),
        ("EnableAllocation", {"parent": organization, **other}, "ALLOCATION_ALREADY_EXISTS"),
        ("AdjustAllocation", {"request_id": "~" * 128, **below}, "UNITS_BELOW_ZERO"),
    ):
        with pytest.raises(Refusal) as refused:
            await reflected.call(method, **fields)
        assert refused.value.reason == reason
        _check(refused.value, size=4_096)
    operations = [{"enable": other}, {"adjust": below, "request_id": "~" * 128}, {"disable": {"name": "é" * 9_999}}]
    answer = await reflected.call("ApplyOperations", parent=organization, operations=operations, allow_partial=True)
    for result in answer.results:
        _check(refusal_of(result.status), size=2_048)


async def _with_longest_names(client: ReflectedClient) -> tuple[str, str, Fields, str]:
    """(organization, a subscription that is renewed, its renewal's request, the id of one of eight allocations)"""
    organization = "organizations/" + "o" * 128
    renewed = f"{organization}/subscriptions/{'s' * 128}"
    offering, taken = "f" * 128, [f"{number}" + "a" * 127 for number in range(8)]
    await client.call("CreateOffering", offering_id=offering, offering={"price": PRICE})
    await client.call("CreateOrganization", organization_id="o" * 128)
    terms: Fields = {"credits": 20, "end_time": LATER}
    await client.call("CreateSubscription", parent=organization, subscription_id="s" * 128, subscription=terms)
    for name in taken:
        sent = {"allocation_id": name, "offering": f"offerings/{offering}", "units": 15}
        await client.call("EnableAllocation", parent=organization, **sent)
    terms = {"credits": 1, "end_time": {"seconds": LATER["seconds"] + 9}, "renews": renewed}
    renewal: Fields = {"subscription_id": "r" * 128, "subscription": terms}
    await client.call("CreateSubscription", parent=organization, **renewal)
    return organization, renewed, renewal, taken[0]


async def _attempt(client: ReflectedClient, attempt: Attempt) -> str:
    """OK or the reason, once it was seen to be well told."""
    try:
        answer = await client.send(attempt.method, attempt.data, attempt.metadata)
    except Refusal as refused:
        _check(refused, size=4_096)
        return refused.reason
    if attempt.method in ("ApplyOperations", "CheckEntitlements"):
        for result in answer.results:
            if result.status.code:
                _check(refusal_of(result.status), size=2_048)
    if attempt.method in LISTS_OF_ONE:
        _check_parent(client, attempt, answer)
    return "OK"


def _check(refused: Refusal, size: int) -> None:
    told = f"{refused.code} {refused.reason}: {refused.message[:300]}"
    assert refused.code in CODES, told
    assert refused.domain == "earmark", told
    assert refused.reason in ErrorReason.DESCRIPTOR.values_by_name, told
    assert set(refused.details) == {"ErrorInfo", *CODES[refused.code]}, told
    assert refused.message, told
    assert refused.size <= size, f"{refused.size} bytes: {told}"


def _check_parent(client: ReflectedClient, attempt: Attempt, answer: Any) -> None:
    """A list of one organization never shows another's, whatever the page token."""
    asked = client.message(client.methods[attempt.method].input_type).FromString(attempt.data)
    items = getattr(answer, LISTS_OF_ONE[attempt.method])
    if asked.parent != "organizations/-":
        assert all(each.name.startswith(f"{asked.parent}/") for each in items), "another organization's"


async def _tokens(client: ReflectedClient) -> dict[str, list[str]]:
    """Those of each list that the right request and its neighbours get."""
    found: dict[str, list[str]] = {}
    for method in ("ListOrganizations", "ListSubscriptions", "ListAllocations", "ListOfferings", "ListEntries"):
        answer = await client.call(method, **RIGHT[method])
        assert answer.next_page_token
        found[method] = [answer.next_page_token]
    return found


async def _everything(connection: Connection) -> str:
    """Changes with every organization's ledger, with the catalogue, and with what is remembered."""
    state: str = await connection.fetchval(
        """
        SELECT concat_ws(' ',
            (SELECT md5(string_agg(organization || revision || digest::text, ',' ORDER BY organization))
             FROM organization),
            (SELECT count(*) || ' ' || sum(changes) FROM offering), (SELECT count(*) FROM offering_price),
            (SELECT count(*) FROM request), (SELECT count(*) FROM catalog_request))
        """
    )
    return state
