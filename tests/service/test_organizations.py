"""Customers and their overdrafts: every call of OrganizationService."""

import pytest
from grpc.aio import Channel

from earmark.messages import MessageClient
from earmark.v1 import organization_service_pb2 as pb
from earmark.v1.organization_service_pb2_grpc import OrganizationServiceStub
from earmark.v1.resources_pb2 import Organization
from services.ledger.store.database import Connection
from tests.support.service_stories import buy, consequences, everything, figures, kinds, refused


async def test_an_organization_begins_with_nothing(client: MessageClient) -> None:
    created = await client.create_organization("o-1", display_name="First, Ünïcode & Sons", overdraft_limit=10)
    organization = created.organization
    assert (organization.name, organization.display_name) == ("organizations/o-1", "First, Ünïcode & Sons")
    assert (created.balance.revision, figures(created.balance)) == (1, (0, 0, 0, 0))
    assert (created.balance.spendable_credits, created.balance.coverage_credits) == (10, 10)
    read = await client.get_organization("o-1")
    assert (read.etag, read.create_time) == (organization.etag, organization.create_time)
    await refused(client.create_organization("o-1"), "ORGANIZATION_ALREADY_EXISTS")
    await refused(client.get_organization("O-1"), "ORGANIZATION_NOT_FOUND")


async def test_creating_again_with_the_same_id_of_the_request(client: MessageClient, connection: Connection) -> None:
    first = await client.create_organization("o-1", display_name="First", request_id="r-1")
    again = await client.create_organization("o-1", display_name="First", request_id="r-1")
    assert again == first
    await refused(client.create_organization("o-1", display_name="Other", request_id="r-1"), "REQUEST_ID_REUSED")
    other = await client.create_organization("o-2", display_name="Other", request_id="r-1")
    assert other.balance.revision == 1
    assert await kinds(connection, "o-1") == ["ORGANIZATION_CREATED"]


@pytest.mark.usefixtures("sensors")
async def test_an_overdraft_is_raised_and_lowered(client: MessageClient, organization: str) -> None:
    await buy(client, organization, 50)
    raised = await client.update_organization(organization, overdraft_limit=50)
    assert raised.balance.spendable_credits == 100
    enabled = await client.enable_allocation(organization, offering="email-sensor", units=20)
    assert enabled.balance.available_credits == -50

    error = await refused(client.update_organization(organization, overdraft_limit=0), "WOULD_SUSPEND")
    assert error.metadata["allocations"] == "organizations/o-1/allocations/email-sensor"
    forced = await client.update_organization(organization, overdraft_limit=0, force=True)
    assert consequences(forced.consequences) == ([], ["email-sensor"], ["email-sensor"])
    assert figures(forced.balance) == (50, 0, 0, 100)

    boundless = await client.update_organization(organization, overdraft_unlimited=True)
    assert consequences(boundless.consequences) == (["email-sensor"], [], [])
    assert not boundless.balance.HasField("spendable_credits")
    assert not boundless.balance.HasField("coverage_credits")
    more = await client.adjust_allocation(organization, "email-sensor", delta_units=10**6)
    assert more.balance.allocated_credits == 100 + 5 * 10**6


async def test_fields_are_set_by_mask_and_guarded_by_etag(
    client: MessageClient, organization: str, channel: Channel
) -> None:
    service = OrganizationServiceStub(channel)
    name = f"organizations/{organization}"

    async def update(sent: Organization, *paths: str) -> Organization:
        request = pb.UpdateOrganizationRequest(organization=sent)
        request.update_mask.paths.extend(paths)
        answer: pb.UpdateOrganizationResponse = await service.UpdateOrganization(request)
        return answer.organization

    named = await update(Organization(name=name, display_name="First", overdraft_limit=7), "display_name")
    assert (named.display_name, named.overdraft_limit) == ("First", 0)
    populated = await update(Organization(name=name, overdraft_limit=7))
    assert (populated.display_name, populated.overdraft_limit) == ("First", 7)
    cleared = await update(Organization(name=name), "*")
    assert (cleared.display_name, cleared.overdraft_limit) == ("", 0)

    await refused(client.update_organization(organization, display_name="x", etag=named.etag), "ETAG_MISMATCH")
    await buy(client, organization, 5)
    current = await client.update_organization(organization, display_name="x", etag=cleared.etag)
    same = await client.update_organization(organization, display_name="x")
    assert same.balance.revision == current.balance.revision


async def test_asking_what_a_change_would_do(client: MessageClient, organization: str, connection: Connection) -> None:
    would = await client.create_organization("o-2", validate_only=True)
    assert would.organization.name == "organizations/o-2"
    await refused(client.get_organization("o-2"), "ORGANIZATION_NOT_FOUND")
    await refused(client.create_organization(organization, validate_only=True), "ORGANIZATION_ALREADY_EXISTS")
    updated = await client.update_organization(organization, overdraft_limit=9, validate_only=True)
    assert updated.balance.spendable_credits == 9
    assert await kinds(connection, organization) == ["ORGANIZATION_CREATED"]


async def test_a_list_of_all(client: MessageClient) -> None:
    for organization in ("b", "a", "B", "a~", "a-1"):
        await client.create_organization(organization)
    listed = await everything(client.list_organizations())
    assert [each.name.removeprefix("organizations/") for each in listed] == ["B", "a", "a-1", "a~", "b"]
    assert all(each.balance.revision == 1 and each.balance.HasField("as_of") for each in listed)
