"""Switching offerings on and off, and whether they may be used."""

from collections.abc import AsyncGenerator, Mapping, Sequence

from earmark import names
from earmark.calls.base import Calls
from earmark.messages.allocations import step_ids
from earmark.messages.connection import new_request_id
from earmark.operations import Adjust, Disable, Enable, Step
from earmark.reading import answers, resources
from earmark.types import (
    Allocation,
    AllocationChange,
    AllocationState,
    Applied,
    Entitlement,
    EntitlementResult,
)
from earmark.v1 import resources_pb2


class Allocations(Calls):
    async def enable(
        self,
        organization: str,
        *,
        offering: str,
        units: int,
        allocation: str = "",
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str = "",
        validate_only: bool = False,
    ) -> AllocationChange:
        """Makes an allocation enabled at exactly `units`. Its id is the offering's unless given.

        Ids are one space for all offerings of the organization: prefix a key of your own with the offering
        (`endpoint-sensor~web-1`).
        Raises OrganizationNotFound, OfferingNotFound, AllocationAlreadyExists (that id holds another offering),
        OfferingRetired, LimitExceeded, InsufficientCredits.
        """
        if self._coalescer and not validate_only:
            step = Enable(
                offering=offering,
                units=units,
                allocation=allocation,
                priority=priority,
                labels=labels,
                request_id=request_id,
            )
            return await self._coalescer.carry_out(self._messages.manner, organization, step)
        answer = await self._messages.enable_allocation(
            organization,
            offering=offering,
            units=units,
            allocation=allocation,
            priority=priority,
            labels=labels,
            request_id=request_id,
            validate_only=validate_only,
        )
        return answers.allocation_change(answer)

    async def adjust(
        self,
        organization: str,
        allocation: str,
        *,
        delta_units: int,
        request_id: str = "",
        validate_only: bool = False,
    ) -> AllocationChange:
        """Adds to the units, or takes from them; to zero disables, upwards from DISABLED enables.

        Raises AllocationNotFound, Suspended, OfferingRetired, UnitsBelowZero, LimitExceeded, InsufficientCredits.
        """
        if self._coalescer and not validate_only:
            step = Adjust(allocation=allocation, delta_units=delta_units, request_id=request_id)
            return await self._coalescer.carry_out(self._messages.manner, organization, step)
        answer = await self._messages.adjust_allocation(
            organization, allocation, delta_units=delta_units, request_id=request_id, validate_only=validate_only
        )
        return answers.allocation_change(answer)

    async def disable(
        self, organization: str, allocation: str, *, request_id: str = "", validate_only: bool = False
    ) -> AllocationChange:
        """Switches an allocation off and returns what it held. Raises AllocationNotFound."""
        if self._coalescer and not validate_only:
            step = Disable(allocation=allocation, request_id=request_id)
            return await self._coalescer.carry_out(self._messages.manner, organization, step)
        answer = await self._messages.disable_allocation(
            organization, allocation, request_id=request_id, validate_only=validate_only
        )
        return answers.allocation_change(answer)

    async def update_allocation(
        self,
        organization: str,
        allocation: str,
        *,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        etag: str = "",
        request_id: str = "",
        validate_only: bool = False,
    ) -> AllocationChange:
        """Changes what is given; labels are replaced as a whole. Raises AllocationNotFound, EtagMismatch."""
        answer = await self._messages.update_allocation(
            organization,
            allocation,
            priority=priority,
            labels=labels,
            etag=etag,
            request_id=request_id,
            validate_only=validate_only,
        )
        return answers.allocation_change(answer)

    async def apply(
        self,
        organization: str,
        operations: Sequence[Step],
        *,
        allow_partial: bool = False,
        request_id: str = "",
        validate_only: bool = False,
    ) -> Applied:
        """Up to 1,000 operations in order: all or nothing, or with `allow_partial` each on its own.

        All or nothing: raises what its operations do; `operation_index` says which. With `allow_partial` each result
        has an error of its own, and each operation a request id: its own, or `{request_id}-{index}`.
        """
        call_id = request_id or new_request_id()
        answer = await self._messages.apply_operations(
            organization,
            operations,
            allow_partial=allow_partial,
            request_id=call_id,
            validate_only=validate_only,
        )
        ids = step_ids(operations, call_id) if allow_partial else [call_id] * len(operations)
        return answers.applied(answer, ids)

    async def check(self, organization: str, *, offering: str = "", allocation: str = "") -> Entitlement:
        """Whether it may be used now: one allocation, or all those of an offering together.

        Raises OrganizationNotFound, OfferingNotFound. An allocation that never was is NOT_ENABLED.
        """
        answer = await self._messages.check_entitlement(organization, offering=offering, allocation=allocation)
        return answers.entitlement(answer)

    async def check_all(
        self, organization: str, *, offerings: Sequence[str] = (), allocations: Sequence[str] = ()
    ) -> list[EntitlementResult]:
        """The same for up to 1,000 at one instant: first the offerings, then the allocations.

        Raises OrganizationNotFound.
        """
        answer = await self._messages.check_entitlements(organization, offerings=offerings, allocations=allocations)
        of_offerings, of_allocations = answer.results[: len(offerings)], answer.results[len(offerings) :]
        return [
            *(
                answers.entitlement_result(found, offering=each)
                for each, found in zip(offerings, of_offerings, strict=True)
            ),
            *(
                answers.entitlement_result(found, allocation=each)
                for each, found in zip(allocations, of_allocations, strict=True)
            ),
        ]

    async def get_allocation(self, organization: str, allocation: str) -> Allocation:
        """Raises OrganizationNotFound, AllocationNotFound."""
        return resources.allocation(await self._messages.get_allocation(organization, allocation))

    async def list_allocations(
        self,
        organization: str = names.EVERY,
        *,
        offering: str = "",
        state: AllocationState | None = None,
        labels: Mapping[str, str] | None = None,
        page_size: int = 0,
    ) -> AsyncGenerator[Allocation, None]:
        """By organization and id; of all organizations unless one is given. Raises OrganizationNotFound."""
        found = self._messages.list_allocations(
            organization,
            offering=offering,
            state=resources_pb2.Allocation.State.Value(state or "STATE_UNSPECIFIED"),
            labels=labels,
            page_size=page_size,
        )
        async for each in found:
            yield resources.allocation(each)
