"""OrganizationService."""

from collections.abc import AsyncGenerator
from functools import cached_property
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from earmark import names
from earmark.messages.connection import Connection
from earmark.messages.wire import given
from earmark.v1 import organization_service_pb2 as pb
from earmark.v1.organization_service_pb2_grpc import OrganizationServiceStub
from earmark.v1.resources_pb2 import Organization

if TYPE_CHECKING:  # a name of the stubs alone
    from earmark.v1.organization_service_pb2_grpc import OrganizationServiceAsyncStub


class Organizations(Connection):
    """Customers and their overdrafts."""

    @cached_property
    def _organization_service(self) -> "OrganizationServiceAsyncStub":
        return OrganizationServiceStub(self._channel)

    async def create_organization(
        self,
        organization: str,
        *,
        display_name: str = "",
        overdraft_limit: int = 0,
        overdraft_unlimited: bool = False,
        request_id: str = "",
        validate_only: bool = False,
    ) -> pb.CreateOrganizationResponse:
        request = pb.CreateOrganizationRequest(
            organization_id=organization,
            organization=Organization(
                display_name=display_name,
                overdraft_limit=overdraft_limit,
                overdraft_unlimited=overdraft_unlimited,
            ),
            request_id=request_id,
            validate_only=validate_only,
        )
        return await self._mutate(self._organization_service.CreateOrganization, request)

    async def update_organization(
        self,
        organization: str,
        *,
        display_name: str | None = None,
        overdraft_limit: int | None = None,
        overdraft_unlimited: bool | None = None,
        etag: str = "",
        force: bool = False,
        request_id: str = "",
        validate_only: bool = False,
    ) -> pb.UpdateOrganizationResponse:
        """Changes what is given. `force`: even if that suspends allocations."""
        fields = given(
            {
                "display_name": display_name,
                "overdraft_limit": overdraft_limit,
                "overdraft_unlimited": overdraft_unlimited,
            }
        )
        request = pb.UpdateOrganizationRequest(
            organization=Organization(name=names.organization(organization), etag=etag, **fields),
            update_mask=FieldMask(paths=list(fields)),
            force=force,
            request_id=request_id,
            validate_only=validate_only,
        )
        return await self._mutate(self._organization_service.UpdateOrganization, request)

    async def get_organization(self, organization: str) -> Organization:
        request = pb.GetOrganizationRequest(name=names.organization(organization))
        return await self._call(self._organization_service.GetOrganization, request)

    async def list_organizations(self, *, page_size: int = 0) -> AsyncGenerator[Organization, None]:
        """All, by id; the figures of each are those at its own `balance.as_of`."""
        request = pb.ListOrganizationsRequest(page_size=page_size)
        async for page in self._pages(self._organization_service.ListOrganizations, request):
            for organization in page.organizations:
                yield organization
