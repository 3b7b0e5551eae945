"""ListEntries: every entry once and in order, filters that look at a bounded number, and pages that fit an answer."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from earmark import Enable
from earmark.messages import MessageClient
from services.allocator.server import AllocatorServer
from services.ledger.rules.limits import ANSWER_BYTES_MAX, ENTRIES_SCANNED_MAX
from services.ledger.store.database import Connection, Pool
from services.runtime.settings import Settings
from tests.support.reflected import ReflectedClient, Refusal
from tests.support.service_stories import buy, now, offer, serving

ALL: Final = "organizations/-"
ORGANIZATIONS: Final = ("a", "b", "c")
LARGEST_LABELS: Final = {f"{number:02}".ljust(63, "k"): "v" * 63 for number in range(16)}
REVISION_MAX: Final = 2**63 - 1


@pytest.fixture
async def reflected(allocator: AllocatorServer) -> AsyncIterator[ReflectedClient]:
    async with ReflectedClient(allocator.address) as client:
        yield client


@pytest.fixture
async def ledgers(client: MessageClient) -> None:
    await make_ledgers(client)


async def make_ledgers(client: MessageClient) -> None:
    """Three organizations; each was created, bought, and enabled one and the same thing 1 to 8."""
    await offer(client, app="1")

    async def live(organization: str) -> None:
        await client.create_organization(organization)
        await buy(client, organization, 100, subscription="x")
        for units in range(1, 9):
            await client.enable_allocation(organization, offering="app", units=units, allocation="x")

    await asyncio.gather(*map(live, ORGANIZATIONS))


async def pages(client: ReflectedClient, parent: str, size: int, **fields: Any) -> list[list[Any]]:
    found: list[list[Any]] = []
    token = ""
    while not found or token:
        sent = {"parent": parent, "page_size": size, "page_token": token, **fields}
        page = await client.call("ListEntries", **sent)
        assert page.ByteSize() <= ANSWER_BYTES_MAX
        found.append(list(page.entries))
        token = page.next_page_token
    return found


async def names(client: ReflectedClient, parent: str, size: int, **fields: Any) -> list[str]:
    return [each.name for page in await pages(client, parent, size, **fields) for each in page]


def in_order(organization: str, *revisions: int) -> list[str]:
    return [f"organizations/{organization}/entries/{revision}" for revision in revisions]


@pytest.mark.usefixtures("ledgers")
async def test_every_entry_is_on_one_page(reflected: ReflectedClient) -> None:
    expected = [name for each in ORGANIZATIONS for name in in_order(each, *range(1, 11))]
    for size in (1, 3, 10, 0, 2**31 - 1):
        assert await names(reflected, ALL, size) == expected
        assert await names(reflected, ALL, size, newest_first=True) == expected[::-1]
        assert await names(reflected, "organizations/b", size) == expected[10:20]
        assert await names(reflected, "organizations/b", size, newest_first=True) == expected[10:20][::-1]


@pytest.mark.usefixtures("ledgers")
async def test_what_is_asked_for(reflected: ReflectedClient) -> None:
    one = "organizations/b"
    assert await names(reflected, one, 0, after_revision=7) == in_order("b", 8, 9, 10)
    assert await names(reflected, one, 0, after_revision=7, newest_first=True) == in_order("b", 10, 9, 8)
    assert await names(reflected, one, 0, kinds=[1, 10]) == in_order("b", 1, 3)
    # An allocation and a subscription of one id are two.
    assert await names(reflected, one, 0, resource=f"{one}/subscriptions/x") == in_order("b", 2)
    assert await names(reflected, one, 0, resource=f"{one}/allocations/x") == in_order("b", *range(3, 11))
    assert await names(reflected, one, 0, resource=f"{one}/allocations/x", kinds=[3, 10]) == in_order("b", 3)
    assert await names(reflected, one, 0, resource=f"{one}/allocations/y") == []
    assert await names(reflected, ALL, 0, kinds=[3]) == [name for each in ORGANIZATIONS for name in in_order(each, 2)]
    for revision in (10, 11, REVISION_MAX - 1, REVISION_MAX):
        assert await names(reflected, one, 0, after_revision=revision) == []
        assert await names(reflected, one, 0, after_revision=revision, newest_first=True) == []


@pytest.mark.usefixtures("ledgers")
async def test_an_interval_is_half_open_and_may_be_open(reflected: ReflectedClient, connection: Connection) -> None:
    one = "organizations/b"
    [[*entries]] = await pages(reflected, one, 0)
    at = [each.effective_time for each in entries]
    assert len({(each.seconds, each.nanos) for each in at}) == 10
    for newest_first in (False, True):
        step = -1 if newest_first else 1
        for sent, revisions in (
            ({"start_time": at[4]}, range(5, 11)),
            ({"end_time": at[4]}, range(1, 5)),
            ({"start_time": at[2], "end_time": at[6]}, range(3, 7)),
            ({"start_time": at[2], "end_time": at[2]}, range(0)),
            ({}, range(1, 11)),
        ):
            found = await names(reflected, one, 3, interval=sent, newest_first=newest_first)
            assert found == in_order("b", *revisions)[::step], sent
        later = {"seconds": int((await now(connection)).timestamp()) + 86_400}
        for sent in ({"start_time": later}, {"end_time": {"seconds": 946_684_800}}):
            assert await names(reflected, one, 3, interval=sent, newest_first=newest_first) == []


BAD: Final[tuple[tuple[dict[str, Any], list[str]], ...]] = (
    ({"parent": "organizations/"}, ["parent"]),
    ({"kinds": [0, 99]}, ["kinds[0]", "kinds[1]"]),
    ({"kinds": [1] * 1_001}, ["kinds"]),
    ({"resource": "organizations/b"}, ["resource"]),
    ({"resource": "organizations/c/allocations/x"}, ["resource"]),
    ({"resource": "organizations/b/entries/1"}, ["resource"]),
    ({"resource": "organizations/b/allocations/x", "kinds": [1, 3]}, ["kinds"]),
    ({"parent": ALL, "resource": "organizations/b/allocations/x"}, ["resource"]),
    ({"parent": ALL, "after_revision": 1}, ["after_revision"]),
    ({"after_revision": -1}, ["after_revision"]),
    ({"page_size": -1}, ["page_size"]),
    ({"interval": {"start_time": {"seconds": 2_000_000_000}, "end_time": {"seconds": 1_999_999_999}}}, ["interval"]),
    (
        {"interval": {"start_time": {"seconds": -1}, "end_time": {"nanos": -1}}},
        ["interval.start_time", "interval.end_time.nanos"],
    ),
)


async def test_what_cannot_be_asked_for(reflected: ReflectedClient) -> None:
    for fields, bad in BAD:
        with pytest.raises(Refusal) as refused:
            await reflected.call("ListEntries", **{"parent": "organizations/b", **fields})
        assert (refused.value.reason, list(refused.value.fields)) == ("INVALID_FIELD", bad)


async def test_an_organization_that_is_not_there(reflected: ReflectedClient) -> None:
    with pytest.raises(Refusal) as refused:
        await reflected.call("ListEntries", parent="organizations/nobody")
    assert refused.value.reason == "ORGANIZATION_NOT_FOUND"
    assert await names(reflected, ALL, 0) == []


@pytest.mark.usefixtures("ledgers")
async def test_a_token_is_for_its_own_question(reflected: ReflectedClient) -> None:
    token = (await reflected.call("ListEntries", parent="organizations/b", page_size=3)).next_page_token
    assert (await reflected.call("ListEntries", parent="organizations/b", page_token=token)).entries[0].revision == 4
    for other in (
        {"parent": "organizations/a"},
        {"parent": ALL},
        {"newest_first": True},
        {"kinds": [1]},
        {"after_revision": 1},
        {"resource": "organizations/b/allocations/x"},
        {"interval": {"start_time": {"seconds": 946_684_800}}},
    ):
        with pytest.raises(Refusal) as refused:
            await reflected.call("ListEntries", **{"parent": "organizations/b", "page_token": token, **other})
        assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


@pytest.mark.usefixtures("ledgers")
@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_token_that_was_tampered_with_shows_no_other_organization(
    reflected: ReflectedClient, newest_first: bool
) -> None:
    asked = {"parent": "organizations/b", "page_size": 1, "newest_first": newest_first, "after_revision": 2}
    token = (await reflected.call("ListEntries", **asked)).next_page_token
    fingerprint, *_ = json.loads(base64.urlsafe_b64decode(token))

    async def forged(*key: str) -> list[str]:
        value = base64.urlsafe_b64encode(json.dumps([fingerprint, *key]).encode()).decode()
        answer = await reflected.call("ListEntries", **{**asked, "page_size": 100, "page_token": value})
        return [each.name for each in answer.entries]

    allowed = set(in_order("b", *range(3, 11)))
    for key in (("a", "1"), ("c", "9"), ("", "1"), ("\x7f", "1"), ("é", "1"), ("b", "1"), ("b", str(REVISION_MAX - 1))):
        assert set(await forged(*key)) <= allowed, key
    for bad in (
        ("b",),
        ("b", "x"),
        ("b", "0"),
        ("b", "-1"),
        ("b", "\u0661"),
        ("b", str(REVISION_MAX)),
        ("b", "1", "1"),
    ):
        with pytest.raises(Refusal) as refused:
            await forged(*bad)
        assert refused.value.reason == "INVALID_PAGE_TOKEN", bad


async def test_a_filter_finds_everything_however_far_it_has_to_look(
    database: str, pool: Pool, connection: Connection
) -> None:
    """A page looks at a bounded number of entries, so there may be nothing on it, and more behind it."""
    settings = Settings(database_url=database, listen_address="127.0.0.1:0")
    async with (
        serving(settings, pool) as address,
        MessageClient(address) as client,
        ReflectedClient(address) as reflected,
    ):
        await make_ledgers(client)
        await _look_far(reflected, connection)


async def _look_far(reflected: ReflectedClient, connection: Connection) -> None:
    await _add_entries(connection, "b", 2 * ENTRIES_SCANNED_MAX + 5_000)
    last = 10 + 2 * ENTRIES_SCANNED_MAX + 5_000
    for newest_first in (False, True):
        found = await pages(reflected, "organizations/b", 0, kinds=[13], newest_first=newest_first)
        revisions = [each.revision for page in found for each in page]
        assert revisions == [last]
        assert [len(page) for page in found] == ([1, 0, 0] if newest_first else [0, 0, 1])
        everywhere = await pages(reflected, ALL, 0, kinds=[13], newest_first=newest_first)
        assert [each.revision for page in everywhere for each in page] == [last]


async def _add_entries(connection: Connection, organization: str, count: int) -> None:
    """As many more adjustments of the newest entry's allocation, and then one that disables it."""
    await connection.execute(
        """
        INSERT INTO entry
        SELECT organization, e.revision + n, CASE n WHEN $2 THEN 'ALLOCATION_DISABLED' ELSE 'ALLOCATION_ADJUSTED' END,
               resource, effective_time, recorded_time, actor, request_id, causes, cause_count, after, detail,
               0, 0, 0, 0, valid_credits, grace_credits, allocated_credits, suspended_credits, overdraft_limit,
               overdraft_unlimited, last, digest
        FROM entry e, generate_series(1, $2::bigint) AS n WHERE organization = $1 AND e.revision = 10
        """,
        organization,
        count,
    )
    await connection.execute(
        "UPDATE organization SET revision = revision + $2 WHERE organization = $1", organization, count
    )
    await connection.execute("ANALYZE entry")


async def test_a_page_of_the_largest_entries_ends_early(client: MessageClient, reflected: ReflectedClient) -> None:
    organization, offering = "o" * 128, "f" * 128
    await offer(client, **{offering: "1000000"})
    await client.create_organization(organization, overdraft_unlimited=True)
    operations = [
        Enable(offering=offering, units=10**6, allocation=f"{number:0128}", priority=-(2**31), labels=LARGEST_LABELS)
        for number in range(999)
    ]
    await client.apply_operations(organization, operations, request_id="\\" * 128)
    found = await pages(reflected, f"organizations/{organization}", 1_000)
    assert len(found) > 1
    revisions = [each.revision for page in found for each in page]
    assert revisions == list(range(1, len(revisions) + 1))
    assert len(revisions) >= 1_000
