"""Customers and their overdrafts."""

from collections.abc import AsyncGenerator

from earmark.calls.base import Calls
from earmark.reading import answers, resources
from earmark.types import Organization, OrganizationChange


class Organizations(Calls):
    async def create_organization(
        self,
        organization: str,
        *,
        display_name: str = "",
        overdraft_limit: int = 0,
        overdraft_unlimited: bool = False,
        request_id: str = "",
        validate_only: bool = False,
    ) -> OrganizationChange:
        """Creates an organization, with no subscriptions and nothing allocated.

        Raises OrganizationAlreadyExists.
        """
        answer = await self._messages.create_organization(
            organization,
            display_name=display_name,
            overdraft_limit=overdraft_limit,
            overdraft_unlimited=overdraft_unlimited,
            request_id=request_id,
            validate_only=validate_only,
        )
        return answers.organization_change(answer)

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
    ) -> OrganizationChange:
        """Changes what is given. `force`: even if that suspends allocations.

        Raises OrganizationNotFound, EtagMismatch, WouldSuspend.
        """
        answer = await self._messages.update_organization(
            organization,
            display_name=display_name,
            overdraft_limit=overdraft_limit,
            overdraft_unlimited=overdraft_unlimited,
            etag=etag,
            force=force,
            request_id=request_id,
            validate_only=validate_only,
        )
        return answers.organization_change(answer)

    async def get_organization(self, organization: str) -> Organization:
        """Raises OrganizationNotFound."""
        return resources.organization(await self._messages.get_organization(organization))

    async def list_organizations(self, *, page_size: int = 0) -> AsyncGenerator[Organization, None]:
        """All, by id; the figures of each are those at its own `balance.as_of`."""
        async for each in self._messages.list_organizations(page_size=page_size):
            yield resources.organization(each)
