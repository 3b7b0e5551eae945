"""AllocationService."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from earmark import names
from earmark.messages.connection import Connection, new_request_id
from earmark.messages.wire import given
from earmark.operations import Step
from earmark.v1 import allocation_service_pb2 as pb
from earmark.v1.allocation_service_pb2_grpc import AllocationServiceStub
from earmark.v1.resources_pb2 import Allocation

if TYPE_CHECKING:  # a name of the stubs alone
    from earmark.v1.allocation_service_pb2_grpc import AllocationServiceAsyncStub


class Allocations(Connection):
    """Switching offerings on and off."""

    @cached_property
    def _allocation_service(self) -> "AllocationServiceAsyncStub":
        return AllocationServiceStub(self._channel)

    async def enable_allocation(
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
    ) -> pb.EnableAllocationResponse:
        """Makes an allocation enabled at exactly `units`. Its id is the offering's unless given.

        Ids are one space for all offerings of the organization: prefix a key of your own with the offering
        (`endpoint-sensor~web-1`).
        """
        request = pb.EnableAllocationRequest(
            parent=names.organization(organization),
            allocation_id=allocation,
            offering=names.offering(offering),
            units=units,
            priority=priority,
            labels=labels,
            request_id=request_id,
            validate_only=validate_only,
        )
        return await self._mutate(self._allocation_service.EnableAllocation, request)

    async def adjust_allocation(
        self,
        organization: str,
        allocation: str,
        *,
        delta_units: int,
        request_id: str = "",
        validate_only: bool = False,
    ) -> pb.AdjustAllocationResponse:
        """Adds to the units, or takes from them; to zero disables."""
        request = pb.AdjustAllocationRequest(
            name=names.allocation(organization, allocation),
            delta_units=delta_units,
            request_id=request_id,
            validate_only=validate_only,
        )
        return await self._mutate(self._allocation_service.AdjustAllocation, request)

    async def disable_allocation(
        self, organization: str, allocation: str, *, request_id: str = "", validate_only: bool = False
    ) -> pb.DisableAllocationResponse:
        request = pb.DisableAllocationRequest(
            name=names.allocation(organization, allocation),
            request_id=request_id,
            validate_only=validate_only,
        )
        return await self._mutate(self._allocation_service.DisableAllocation, request)

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
    ) -> pb.UpdateAllocationResponse:
        """Changes what is given; labels are replaced as a whole."""
        fields = given({"priority": priority, "labels": labels})
        request = pb.UpdateAllocationRequest(
            allocation=Allocation(name=names.allocation(organization, allocation), etag=etag, **fields),
            update_mask=FieldMask(paths=list(fields)),
            request_id=request_id,
            validate_only=validate_only,
        )
        return await self._mutate(self._allocation_service.UpdateAllocation, request)

    async def apply_operations(
        self,
        organization: str,
        operations: Sequence[Step],
        *,
        allow_partial: bool = False,
        request_id: str = "",
        validate_only: bool = False,
    ) -> pb.ApplyOperationsResponse:
        """Up to 1,000 steps in order: all or nothing, or with `allow_partial` each on its own.

        With `allow_partial` each step has a request id; where none is given, the call's and the step's index:
        `{request_id}-0`, `{request_id}-1`, ...: leave them four of the 128 characters.
        """
        call_id = request_id or new_request_id()
        steps = [operation.to_wire(organization) for operation in operations]
        if allow_partial:
            for step, step_id in zip(steps, step_ids(operations, call_id), strict=True):
                step.request_id = step_id
        request = pb.ApplyOperationsRequest(
            parent=names.organization(organization),
            operations=steps,
            allow_partial=allow_partial,
            request_id="" if allow_partial else call_id,
            validate_only=validate_only,
        )
        return await self._call(self._allocation_service.ApplyOperations, request, call_id)

    async def apply_once(self, request: pb.ApplyOperationsRequest, seconds: float) -> pb.ApplyOperationsResponse:
        """One attempt of so long a time: whoever has a policy of its own decides about the next one."""
        return await self._attempt(self._allocation_service.ApplyOperations, request, seconds=seconds)

    async def check_entitlement(self, organization: str, *, offering: str = "", allocation: str = "") -> pb.Entitlement:
        """Whether it may be used now: one allocation, or all those of an offering together."""
        if bool(offering) == bool(allocation):
            raise ValueError("give either an offering or an allocation")
        request = pb.CheckEntitlementRequest(parent=names.organization(organization))
        if offering:
            request.offering = names.offering(offering)
        else:
            request.allocation = names.allocation(organization, allocation)
        return await self._call(self._allocation_service.CheckEntitlement, request)

    async def check_entitlements(
        self, organization: str, *, offerings: Sequence[str] = (), allocations: Sequence[str] = ()
    ) -> pb.CheckEntitlementsResponse:
        """The same for up to 1,000 at one instant, each with its own status: first the offerings, then the rest."""
        request = pb.CheckEntitlementsRequest(
            parent=names.organization(organization),
            targets=[
                *(pb.EntitlementTarget(offering=names.offering(each)) for each in offerings),
                *(pb.EntitlementTarget(allocation=names.allocation(organization, each)) for each in allocations),
            ],
        )
        return await self._call(self._allocation_service.CheckEntitlements, request)

    async def get_allocation(self, organization: str, allocation: str) -> Allocation:
        request = pb.GetAllocationRequest(name=names.allocation(organization, allocation))
        return await self._call(self._allocation_service.GetAllocation, request)

    async def list_allocations(
        self,
        organization: str = names.EVERY,
        *,
        offering: str = "",
        state: Allocation.State.ValueType = Allocation.STATE_UNSPECIFIED,
        labels: Mapping[str, str] | None = None,
        page_size: int = 0,
    ) -> AsyncGenerator[Allocation, None]:
        """By organization and id; of all organizations unless one is given."""
        request = pb.ListAllocationsRequest(
            parent=names.organization(organization),
            offering=names.offering(offering) if offering else "",
            state=state,
            labels=labels,
            page_size=page_size,
        )
        async for page in self._pages(self._allocation_service.ListAllocations, request):
            for allocation in page.allocations:
                yield allocation


def step_ids(operations: Sequence[Step], call_id: str) -> list[str]:
    """The request id of each step with `allow_partial`: its own, or the call's and its index."""
    return [step.request_id or f"{call_id}-{index}" for index, step in enumerate(operations)]
