"""The catalogue: every call of CatalogService, and what a price means for those who hold it already."""

from google.protobuf.field_mask_pb2 import FieldMask
from grpc.aio import Channel, insecure_channel

from earmark.messages import MessageClient, price
from earmark.v1 import catalog_service_pb2 as pb
from earmark.v1.catalog_service_pb2_grpc import CatalogServiceStub
from earmark.v1.resources_pb2 import Allocation, Offering
from services.allocator.server import AllocatorServer
from services.ledger.store.database import Connection
from tests.conftest import Advance
from tests.support.service_stories import DAY, buy, everything, instant, now, refused


async def test_an_offering_is_created_with_its_first_price(client: MessageClient) -> None:
    created = await client.create_offering(
        "data", price=price("0.05", block_units=10, max_credits=7), display_name="Data", solution="S", unit="GB"
    )
    assert (created.name, created.display_name, created.solution, created.unit) == ("offerings/data", "Data", "S", "GB")
    assert [created.price] == list(created.prices)
    assert (created.price.version, created.price.credits_per_block) == (1, "0.05")
    assert (created.price.block_units, created.price.max_credits) == (10, 7)
    assert created.price.effective_time == created.create_time
    read = await client.get_offering("data")
    read.as_of.CopyFrom(created.as_of)
    assert read == created
    await refused(client.create_offering("data", price=price(1)), "OFFERING_ALREADY_EXISTS")
    await refused(client.get_offering("date"), "OFFERING_NOT_FOUND")
    plain = await client.create_offering("free", price=price("0"))
    assert not plain.price.HasField("max_credits")


async def test_whole_credits_by_begun_blocks_up_to_a_maximum(client: MessageClient, organization: str) -> None:
    await client.update_organization(organization, overdraft_unlimited=True)
    await client.create_offering("data", price=price("0.05", block_units=10, max_credits=7))
    for units, credits in ((1, 1), (10, 1), (200, 1), (201, 2), (1_400, 7), (10**12, 7)):
        answer = await client.enable_allocation(organization, offering="data", units=units)
        assert answer.allocation.credits == credits
    await client.create_offering("free", price=price("0.000000"))
    free = await client.enable_allocation(organization, offering="free", units=10**12)
    assert (free.allocation.state, free.allocation.credits) == (Allocation.ENABLED, 0)


async def test_who_is_in_keeps_the_price(client: MessageClient, organization: str, advance: Advance) -> None:
    await buy(client, organization, 1_000)
    await client.create_offering("data", price=price(10))
    await client.enable_allocation(organization, offering="data", units=1, allocation="early")
    dearer = await client.update_offering("data", price=price(20))
    assert [price.version for price in dearer.prices] == [1, 2]

    early = await client.adjust_allocation(organization, "early", delta_units=1)
    assert (early.allocation.price_version, early.allocation.credits) == (1, 20)
    late = await client.enable_allocation(organization, offering="data", units=2, allocation="late")
    assert (late.allocation.price_version, late.allocation.credits) == (2, 40)
    await client.disable_allocation(organization, "early")
    back = await client.enable_allocation(organization, offering="data", units=2, allocation="early")
    assert (back.allocation.price_version, back.allocation.credits) == (2, 40)


async def test_a_price_from_a_day_to_come(
    client: MessageClient, organization: str, advance: Advance, connection: Connection
) -> None:
    await buy(client, organization, 1_000)
    await client.create_offering("data", price=price(10))
    tomorrow = await now(connection) + DAY
    announced = await client.update_offering("data", price=price(20, effective_time=tomorrow))
    assert (announced.price.version, instant(announced.prices[1].effective_time)) == (1, tomorrow)
    today = await client.enable_allocation(organization, offering="data", units=1, allocation="today")
    assert today.allocation.credits == 10
    await advance(DAY)
    assert (await client.get_offering("data")).price.version == 2
    then = await client.enable_allocation(organization, offering="data", units=1, allocation="then")
    assert then.allocation.credits == 20
    error = await refused(client.update_offering("data", price=price(30, effective_time=tomorrow)), "INVALID_FIELD")
    assert "in the past" in error.message


async def test_a_price_that_was_changed_for_one_instant_can_be_changed_back(
    client: MessageClient, organization: str, advance: Advance, connection: Connection
) -> None:
    await buy(client, organization, 1_000)
    await client.create_offering("data", price=price(10))
    tomorrow = await now(connection) + DAY
    for credits in (25, 40):
        await client.update_offering("data", price=price(credits, effective_time=tomorrow))
    changed = await client.update_offering("data", price=price(25, effective_time=tomorrow))
    assert [each.credits_per_block for each in changed.prices] == ["10", "25", "40", "25"]
    await advance(DAY)
    then = await client.enable_allocation(organization, offering="data", units=1)
    assert then.allocation.credits == 25


async def test_the_same_price_is_no_new_version(client: MessageClient) -> None:
    created = await client.create_offering("data", price=price("2.50"))
    same = await client.update_offering("data", price=price("2.5"), display_name="")
    assert (same.etag, len(same.prices)) == (created.etag, 1)
    changed = await client.update_offering("data", unit="GB", etag=created.etag)
    assert changed.etag != created.etag
    await refused(client.update_offering("data", unit="TB", etag=created.etag), "ETAG_MISMATCH")


async def test_what_is_retired_stays_but_nothing_joins(client: MessageClient, organization: str) -> None:
    await buy(client, organization, 100)
    await client.create_offering("data", price=price(10))
    for key in ("stays", "leaves"):
        await client.enable_allocation(organization, offering="data", units=1, allocation=key)
    await client.disable_allocation(organization, "leaves")
    assert (await client.update_offering("data", retired=True)).retired

    grown = await client.adjust_allocation(organization, "stays", delta_units=2)
    assert grown.allocation.credits == 30
    await client.enable_allocation(organization, offering="data", units=1, allocation="stays")
    for refusal in (
        client.enable_allocation(organization, offering="data", units=1, allocation="leaves"),
        client.adjust_allocation(organization, "leaves", delta_units=1),
        client.enable_allocation(organization, offering="data", units=1, allocation="new"),
    ):
        error = await refused(refusal, "OFFERING_RETIRED")
        assert error.details[1].violations[0].subject == "offerings/data"
    assert not (await client.update_offering("data", retired=False)).retired
    await client.enable_allocation(organization, offering="data", units=1, allocation="new")


async def test_a_suspended_allocation_of_a_retired_offering_comes_back(
    client: MessageClient, organization: str, advance: Advance, connection: Connection
) -> None:
    await buy(client, organization, 100, lasting=DAY, grace=DAY)
    await client.create_offering("data", price=price(10))
    await client.enable_allocation(organization, offering="data", units=10)
    await advance(2 * DAY)
    await client.update_offering("data", retired=True)
    assert (await client.get_allocation(organization, "data")).state == Allocation.SUSPENDED
    await buy(client, organization, 100, since=await now(connection))
    assert (await client.get_allocation(organization, "data")).state == Allocation.ENABLED


async def test_a_change_sent_twice_is_made_once(client: MessageClient) -> None:
    first = await client.create_offering("data", price=price(10), request_id="r-1")
    again = await client.create_offering("data", price=price("10.0"), request_id="r-1")
    assert again == first
    await refused(client.create_offering("data", price=price(11), request_id="r-1"), "REQUEST_ID_REUSED")
    dearer = await client.update_offering("data", price=price(20), request_id="r-2")
    await client.update_offering("data", price=price(30))
    assert await client.update_offering("data", price=price(20), request_id="r-2") == dearer
    assert (await client.get_offering("data")).price.credits_per_block == "30"


async def test_asking_what_a_change_would_do(client: MessageClient) -> None:
    would = await client.create_offering("data", price=price(10), validate_only=True, request_id="r-1")
    assert would.price.version == 1
    await refused(client.get_offering("data"), "OFFERING_NOT_FOUND")
    await client.create_offering("data", price=price(10), request_id="r-1")
    dearer = await client.update_offering("data", price=price(20), request_id="r-1", validate_only=True)
    assert dearer.price.credits_per_block == "20"
    assert (await client.get_offering("data")).price.credits_per_block == "10"


async def test_fields_are_set_by_mask(client: MessageClient, channel: Channel) -> None:
    await client.create_offering("data", price=price(10), display_name="Data", unit="GB")
    service = CatalogServiceStub(channel)

    async def update(*paths: str) -> Offering:
        request = pb.UpdateOfferingRequest(offering=Offering(name="offerings/data", unit="TB"))
        request.update_mask.paths.extend(paths)
        answer: Offering = await service.UpdateOffering(request)
        return answer

    cleared = await update("display_name")
    assert (cleared.display_name, cleared.unit) == ("", "GB")
    populated = await update()
    assert populated.unit == "TB"


async def test_a_list_of_all(client: MessageClient) -> None:
    for offering in ("b", "a", "B"):
        await client.create_offering(offering, price=price(1), retired=offering == "a")
    listed = await everything(client.list_offerings())
    assert [(each.name, each.retired) for each in listed] == [
        ("offerings/B", False),
        ("offerings/a", True),
        ("offerings/b", False),
    ]


async def test_what_was_read_can_be_changed_and_sent_back(allocator: AllocatorServer, client: MessageClient) -> None:
    """With the price as it was read: no new version of it, whatever the mask."""
    await client.create_offering("data", price=price(10))
    async with insecure_channel(allocator.address) as channel:
        service = CatalogServiceStub(channel)
        for paths in ([], ["*"]):
            offering = await client.get_offering("data")
            offering.display_name = f"named with {paths}"
            mask = FieldMask(paths=paths)
            changed = await service.UpdateOffering(pb.UpdateOfferingRequest(offering=offering, update_mask=mask))
            assert changed.display_name == offering.display_name
            assert [each.version for each in changed.prices] == [1]


async def test_a_rehearsal_waits_for_nobody(client: MessageClient, connection: Connection) -> None:
    await client.create_offering("data", price=price(10))
    async with connection.transaction():
        await connection.execute("SELECT FROM catalog FOR UPDATE")
        rehearsed = await client.update_offering("data", display_name="x", validate_only=True)
        assert rehearsed.display_name == "x"
    assert (await client.get_offering("data")).display_name == ""
