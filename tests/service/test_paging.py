"""Lists: every page once, tokens that fit their question only, and pages that fit into an answer."""

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
import pytest

from earmark import EarmarkError, Enable
from earmark.messages import MessageClient
from earmark.v1 import (
    allocation_service_pb2,
    catalog_service_pb2,
    organization_service_pb2,
    subscription_service_pb2,
)
from earmark.v1.allocation_service_pb2_grpc import AllocationServiceStub
from earmark.v1.catalog_service_pb2_grpc import CatalogServiceStub
from earmark.v1.organization_service_pb2_grpc import OrganizationServiceStub
from earmark.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from services.ledger.store.database import Connection
from tests.support.service_stories import buy, offer, refused

ITEMS = 120
ANSWER_BYTES_MAX = 3 * 2**20
EVERYWHERE: Final = "organizations/-"
LARGEST_LABELS = {f"{number:02}".ljust(63, "k"): "v" * 63 for number in range(16)}

Ask = Callable[..., Any]


@pytest.fixture
def lists(channel: grpc.aio.Channel) -> dict[str, Ask]:
    """How to ask for a page of each list, by the field that holds its items."""
    allocations, subscriptions = AllocationServiceStub(channel), SubscriptionServiceStub(channel)
    organizations, catalog = OrganizationServiceStub(channel), CatalogServiceStub(channel)

    async def answer(rpc: Any, request: Any) -> Any:
        try:
            return await rpc(request)
        except grpc.aio.AioRpcError as error:
            raise EarmarkError.from_rpc(error) from error

    def ask(rpc: Any, kind: Any, **always: Any) -> Ask:
        return lambda **fields: answer(rpc, kind(**{**always, **fields}))

    return {
        "allocations": ask(
            allocations.ListAllocations, allocation_service_pb2.ListAllocationsRequest, parent=EVERYWHERE
        ),
        "subscriptions": ask(
            subscriptions.ListSubscriptions, subscription_service_pb2.ListSubscriptionsRequest, parent=EVERYWHERE
        ),
        "organizations": ask(organizations.ListOrganizations, organization_service_pb2.ListOrganizationsRequest),
        "offerings": ask(catalog.ListOfferings, catalog_service_pb2.ListOfferingsRequest),
    }


async def all_pages(list_name: str, ask: Ask, page_size: int, **fields: Any) -> list[list[str]]:
    """The names on each page."""
    pages: list[list[str]] = []
    token = ""
    while not pages or token:
        page = await ask(page_size=page_size, page_token=token, **fields)
        assert page.ByteSize() <= ANSWER_BYTES_MAX
        pages.append([each.name for each in getattr(page, list_name)])
        token = page.next_page_token
    return pages


@pytest.fixture
async def crowd(client: MessageClient) -> None:
    """120 offerings; 120 organizations, each with a subscription and an allocation."""
    await asyncio.gather(*(offer(client, **{f"f{number}": "1"}) for number in range(ITEMS)))

    async def found(number: int) -> None:
        await client.create_organization(f"o{number}")
        await buy(client, f"o{number}", 1, subscription="s-1")
        await client.enable_allocation(f"o{number}", offering=f"f{number}", units=1)

    await asyncio.gather(*(found(number) for number in range(ITEMS)))


@pytest.mark.usefixtures("crowd")
async def test_every_item_is_on_one_page(lists: dict[str, Ask]) -> None:
    for name, ask in lists.items():
        pages = await all_pages(name, ask, 50)
        assert [len(page) for page in pages] == [50, 50, 20], name
        names = [each for page in pages for each in page]
        assert names == sorted(set(names)), name
        assert [len(page) for page in await all_pages(name, ask, 0)] == [50, 50, 20]
        assert [len(page) for page in await all_pages(name, ask, 60)] == [60, 60]
        assert [len(page) for page in await all_pages(name, ask, 2**31 - 1)] == [120]
        error = await refused(ask(page_size=-1), "INVALID_FIELD")
        assert error.details[1].field_violations[0].field == "page_size"


@pytest.mark.usefixtures("crowd")
async def test_a_token_fits_its_own_question_only(lists: dict[str, Ask]) -> None:
    tokens = {name: (await ask(page_size=7)).next_page_token for name, ask in lists.items()}
    for name, ask in lists.items():
        strange = ["no token", "AAAA", "é", "x" * 5_000, *(token for other, token in tokens.items() if other != name)]
        for token in strange:
            error = await refused(ask(page_token=token), "INVALID_PAGE_TOKEN")
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT
            assert error.details[1].field_violations[0].field == "page_token"
        larger = await ask(page_token=tokens[name], page_size=100)
        assert len(getattr(larger, name)) == 100
    for name in ("allocations", "subscriptions"):
        for other_question in ({"parent": "organizations/o1"}, {"state": 1}):
            await refused(lists[name](page_token=tokens[name], **other_question), "INVALID_PAGE_TOKEN")
    await refused(lists["allocations"](page_token=tokens["allocations"], labels={"a": "1"}), "INVALID_PAGE_TOKEN")


@pytest.mark.usefixtures("crowd")
async def test_a_token_that_was_tampered_with(client: MessageClient, lists: dict[str, Ask]) -> None:
    """Nobody gets to see another organization, and nothing fails that should be refused."""

    def forged(token: str, *key: Any) -> str:
        fingerprint, *_ = json.loads(base64.urlsafe_b64decode(token))
        return base64.urlsafe_b64encode(json.dumps([fingerprint, *key]).encode()).decode()

    keys: list[tuple[Any, ...]] = [(), (7,), ("\x00", "\x00"), ("\ud800", "\ud800"), ([],), (None, "a")]
    for ask in lists.values():
        token = (await ask(page_size=1)).next_page_token
        for key in keys:
            await refused(ask(page_token=forged(token, *key)), "INVALID_PAGE_TOKEN")

    await client.update_organization("o55", overdraft_limit=1)
    await client.enable_allocation("o55", offering="f55", units=1, allocation="another")
    await buy(client, "o55", 1, subscription="another")
    for name in ("allocations", "subscriptions"):
        own = {"parent": "organizations/o55", "page_size": 1}
        token = (await lists[name](**own)).next_page_token
        page = await lists[name](**{**own, "page_token": forged(token, "o1", "")})
        assert all(each.name.startswith("organizations/o55/") for each in getattr(page, name))


async def test_a_page_never_outgrows_an_answer(
    client: MessageClient, connection: Connection, lists: dict[str, Ask]
) -> None:
    """The largest legal subscriptions and offerings: fewer than a page may hold are too many for one answer."""
    organization = "o" * 128
    await client.create_organization(organization, display_name="\N{OLD PERSIAN SIGN A}" * 256)
    end = datetime.now(UTC) + timedelta(days=400)
    for begin in range(0, 900, 100):
        await asyncio.gather(
            *(
                client.create_subscription(
                    organization,
                    credits=10**12,
                    end_time=end,
                    subscription=f"{number:0128}",
                    order_reference="\N{OLD PERSIAN SIGN A}" * 256,
                    labels=LARGEST_LABELS,
                )
                for number in range(begin, begin + 100)
            )
        )
    pages = await all_pages("subscriptions", lists["subscriptions"], 1_000)
    assert len(pages) > 1
    assert sum(map(len, pages)) == 900

    await _insert_largest_offerings(connection)
    pages = await all_pages("offerings", lists["offerings"], 1_000)
    assert len(pages) > 1
    assert len({name for page in pages for name in page}) == sum(map(len, pages)) == 500


async def _insert_largest_offerings(connection: Connection) -> None:
    """500 with all the text and all the prices that one may have: 50,000 calls would take too long."""
    await connection.execute(
        """
        INSERT INTO offering (offering, display_name, solution, unit, retired, changes, create_time, update_time)
        SELECT lpad(n::text, 128, 'f'), text, text, text, true, 1, now(), now()
        FROM generate_series(1, 500) AS n, repeat(chr(66464), 256) AS text
        """
    )
    await connection.execute(
        """
        INSERT INTO offering_price (offering, version, effective_time, credits_per_block, block_units, max_credits)
        SELECT offering, version, now() + version * interval '1 s', 999999999.999999, 1000000000000, 1000000000000
        FROM offering, generate_series(1, 100) AS version
        """
    )


async def test_a_thousand_of_the_largest_allocations_fit_on_a_page(
    client: MessageClient, lists: dict[str, Ask]
) -> None:
    organization, offering = "o" * 128, "f" * 128
    await offer(client, **{offering: "1000000"})
    await client.create_organization(organization, overdraft_unlimited=True)
    await client.apply_operations(
        organization,
        [
            Enable(offering=offering, units=1, allocation=f"{number:0128}", priority=-1, labels=LARGEST_LABELS)
            for number in range(1_000)
        ],
    )
    pages = await all_pages("allocations", lists["allocations"], 5_000)
    assert [len(page) for page in pages] == [1_000]
    await client.enable_allocation(organization, offering=offering, units=1)
    pages = await all_pages("allocations", lists["allocations"], 5_000)
    assert [len(page) for page in pages] == [1_000, 1]
