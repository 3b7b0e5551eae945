"""Whatever is sent, the answer is a clear one, and what is refused changes nothing."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest

from services.allocator.organization_handler import OrganizationHandler
from services.allocator.server import AllocatorServer
from services.ledger.rules.refusal import Refused
from services.ledger.store.database import Pool
from services.runtime.settings import Settings
from tests.fuzz.campaign import campaign
from tests.fuzz.inputs import KINDS
from tests.fuzz.judge import BATCH_DETAIL_BYTES_MAX, DETAIL_BYTES_MAX, judge_refusal
from tests.fuzz.report import Report
from tests.fuzz.right import LATER, PRICE, RIGHT, WITNESS, Fields, prepare_catalog
from tests.support.processes import running_allocator
from tests.support.reflected import ReflectedClient, Refusal, refusal_of
from tests.support.service_stories import serving

INPUTS: Final = int(os.environ.get("EARMARK_TEST_BAD_INPUTS", "3000"))
SEED: Final = int(os.environ.get("EARMARK_TEST_BAD_INPUT_SEED", "1"))
A_FEW: Final = 1_000
"""Enough for every field once: what a handler of ours does wrong is found among them."""
REASONS: Final = frozenset({"INVALID_FIELD", "MALFORMED_MESSAGE", "INVALID_PAGE_TOKEN", "ETAG_MISMATCH", "accepted"})

Handler = Callable[[OrganizationHandler, Any, Any], Awaitable[Any]]


@pytest.fixture
async def reflected(allocator: AllocatorServer) -> AsyncIterator[ReflectedClient]:
    async with ReflectedClient(allocator.address, packages=("grpc.",)) as client:
        await prepare_catalog(client)
        yield client


@pytest.mark.timeout(120 + INPUTS // 50)
async def test_every_bad_input_has_a_clear_answer(database: str) -> None:
    with running_allocator(database, watch_heartbeat_seconds="0.1") as (process, address):
        report = await campaign(address, database, INPUTS, SEED, process.pid)
        assert process.poll() is None
    print("\n".join(report.lines()))
    assert report.violations == []
    assert report.inputs == INPUTS
    assert len(report.covered) == report.fields
    assert set(report.kinds) == set(KINDS)
    assert set(report.reasons) >= REASONS


async def test_every_method_has_a_request_that_is_right(reflected: ReflectedClient) -> None:
    """Else what is spoiled in it would never be what it is refused for."""
    assert set(RIGHT) == set(reflected.methods)


async def test_a_handler_that_fails_on_some_values_is_found(
    monkeypatch: pytest.MonkeyPatch, database: str, pool: Pool
) -> None:
    right: Handler = OrganizationHandler.ListOrganizations

    async def fails(handler: OrganizationHandler, request: Any, context: Any) -> Any:
        if request.page_size < 0:
            raise ZeroDivisionError
        return await right(handler, request, context)

    monkeypatch.setattr(OrganizationHandler, "ListOrganizations", fails)
    report = await a_few(database, pool)
    assert report.violations
    for each in report.violations:
        assert each.startswith("INTERNAL: ")
        assert ") ListOrganizations" in each


@pytest.mark.parametrize("organization", ["its own", WITNESS])
async def test_a_handler_that_writes_although_it_refuses_is_found(
    monkeypatch: pytest.MonkeyPatch, database: str, pool: Pool, organization: str
) -> None:
    """What it does to the input's own organization is seen at once; to any other, after the block."""
    right: Handler = OrganizationHandler.UpdateOrganization

    async def writes(handler: OrganizationHandler, request: Any, context: Any) -> Any:
        try:
            return await right(handler, request, context)
        except Refused:
            changed = request.organization.name.split("/")[-1] if organization == "its own" else organization
            await pool.execute("UPDATE organization SET revision = revision + 1 WHERE organization = $1", changed)
            raise

    monkeypatch.setattr(OrganizationHandler, "UpdateOrganization", writes)
    report = await a_few(database, pool)
    told = [each for each in report.violations if ") UpdateOrganization" in each]
    assert told
    assert all("changed" in each for each in told)
    assert any("the ledger does not verify" in each for each in report.violations)
    assert any("the witness" in each for each in report.violations) == (organization == WITNESS)


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
        assert judge_refusal(refused.value, DETAIL_BYTES_MAX) == ""
    operations = [{"enable": other}, {"adjust": below, "request_id": "~" * 128}, {"disable": {"name": "é" * 9_999}}]
    answer = await reflected.call("ApplyOperations", parent=organization, operations=operations, allow_partial=True)
    for result in answer.results:
        assert judge_refusal(refusal_of(result.status), BATCH_DETAIL_BYTES_MAX) == ""


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


async def a_few(database: str, pool: Pool) -> Report:
    settings = Settings(database_url=database, listen_address="127.0.0.1:0", watch_heartbeat_seconds=0.1)
    async with serving(settings, pool) as address:
        return await campaign(address, database, A_FEW, SEED)
