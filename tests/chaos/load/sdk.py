"""Calls by the SDK's methods, with what a message says as their arguments: tried again until their deadline."""

from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any, Final

import earmark
from earmark import names
from earmark.messages import MessageClient
from earmark.operations import Adjust, Disable, Enable, Step
from earmark.v1 import allocation_service_pb2 as allocation_pb
from earmark.v1 import organization_service_pb2 as organization_pb
from earmark.v1 import subscription_service_pb2 as subscription_pb
from earmark.v1 import usage_service_pb2 as usage_pb
from tests.chaos.load.writing import written


class Sdk:
    """The layer of the client below the words of the domain: its retries are the same, its answers are messages."""

    address = ""
    """The SDK chooses."""

    def __init__(self, client: earmark.Client) -> None:
        self._client = client.messages

    async def send(self, method: str, request: Any, *, actor: str, seconds: float) -> Any:
        """The answer's message, within so many seconds. Raises EarmarkError."""
        return await CALLS[method](self._client.using(actor=actor, timeout_seconds=seconds), request)


async def _enable(client: MessageClient, request: allocation_pb.EnableAllocationRequest) -> Any:
    return await client.enable_allocation(
        request.parent,
        offering=request.offering,
        units=request.units,
        allocation=request.allocation_id,
        priority=request.priority if request.HasField("priority") else None,
        request_id=request.request_id,
    )


async def _adjust(client: MessageClient, request: allocation_pb.AdjustAllocationRequest) -> Any:
    return await client.adjust_allocation(
        names.organization_of(request.name),
        request.name,
        delta_units=request.delta_units,
        request_id=request.request_id,
    )


async def _disable(client: MessageClient, request: allocation_pb.DisableAllocationRequest) -> Any:
    return await client.disable_allocation(
        names.organization_of(request.name), request.name, request_id=request.request_id
    )


async def _update_allocation(client: MessageClient, request: allocation_pb.UpdateAllocationRequest) -> Any:
    allocation = request.allocation
    return await client.update_allocation(
        names.organization_of(allocation.name),
        allocation.name,
        priority=allocation.priority,
        etag=allocation.etag,
        request_id=request.request_id,
    )


async def _apply(client: MessageClient, request: allocation_pb.ApplyOperationsRequest) -> Any:
    return await client.apply_operations(
        request.parent,
        [_step(operation) for operation in request.operations],
        allow_partial=request.allow_partial,
        request_id=request.request_id,
    )


def _step(operation: allocation_pb.Operation) -> Step:
    match operation.WhichOneof("operation"):
        case "enable":
            enable = operation.enable
            return Enable(
                offering=enable.offering,
                units=enable.units,
                allocation=enable.allocation_id,
                priority=enable.priority if enable.HasField("priority") else None,
                request_id=operation.request_id,
            )
        case "adjust":
            adjust = operation.adjust
            return Adjust(allocation=adjust.name, delta_units=adjust.delta_units, request_id=operation.request_id)
        case _:
            return Disable(allocation=operation.disable.name, request_id=operation.request_id)


async def _create_subscription(client: MessageClient, request: subscription_pb.CreateSubscriptionRequest) -> Any:
    sent = request.subscription
    return await client.create_subscription(
        request.parent,
        credits=sent.credits,
        start_time=_instant(sent, "start_time"),
        end_time=sent.end_time.ToDatetime(tzinfo=UTC),
        grace_period=sent.grace_period.ToTimedelta(),
        renews=sent.renews,
        subscription=request.subscription_id,
        request_id=request.request_id,
    )


async def _update_subscription(client: MessageClient, request: subscription_pb.UpdateSubscriptionRequest) -> Any:
    sent, mask = request.subscription, request.update_mask.paths
    return await client.update_subscription(
        names.organization_of(sent.name),
        sent.name,
        credits=sent.credits if "credits" in mask else None,
        end_time=_instant(sent, "end_time"),
        grace_period=sent.grace_period.ToTimedelta() if "grace_period" in mask else None,
        etag=sent.etag,
        force=request.force,
        request_id=request.request_id,
    )


def _instant(message: Any, field: str) -> Any:
    return getattr(message, field).ToDatetime(tzinfo=UTC) if message.HasField(field) else None


async def _cancel(client: MessageClient, request: subscription_pb.CancelSubscriptionRequest) -> Any:
    return await client.cancel_subscription(
        names.organization_of(request.name),
        request.name,
        etag=request.etag,
        force=request.force,
        request_id=request.request_id,
    )


async def _update_organization(client: MessageClient, request: organization_pb.UpdateOrganizationRequest) -> Any:
    return await client.update_organization(
        request.organization.name,
        overdraft_limit=request.organization.overdraft_limit,
        etag=request.organization.etag,
        force=request.force,
        request_id=request.request_id,
    )


async def _get_usage(client: MessageClient, request: usage_pb.GetUsageRequest) -> Any:
    return await client.get_usage(request.name)


async def _get_organization(client: MessageClient, request: organization_pb.GetOrganizationRequest) -> Any:
    return await client.get_organization(request.name)


async def _get_allocation(client: MessageClient, request: allocation_pb.GetAllocationRequest) -> Any:
    return await client.get_allocation(names.organization_of(request.name), request.name)


async def _check(client: MessageClient, request: allocation_pb.CheckEntitlementRequest) -> Any:
    return await client.check_entitlement(request.parent, offering=request.offering, allocation=request.allocation)


async def _check_many(client: MessageClient, request: allocation_pb.CheckEntitlementsRequest) -> Any:
    return await client.check_entitlements(request.parent, allocations=[each.allocation for each in request.targets])


async def _list_entries(client: MessageClient, request: usage_pb.ListEntriesRequest) -> Any:
    """As many as one page has."""
    answer = usage_pb.ListEntriesResponse()
    listed = client.list_entries(request.parent, newest_first=request.newest_first, page_size=request.page_size)
    async for entry in listed:
        answer.entries.append(entry)
        if len(answer.entries) == request.page_size:
            break
    await listed.aclose()
    return answer


CALLS: Final[dict[str, Callable[[MessageClient, Any], Awaitable[Any]]]] = {
    "EnableAllocation": _enable,
    "AdjustAllocation": _adjust,
    "DisableAllocation": _disable,
    "UpdateAllocation": _update_allocation,
    "ApplyOperations": _apply,
    "CreateSubscription": _create_subscription,
    "UpdateSubscription": _update_subscription,
    "CancelSubscription": _cancel,
    "UpdateOrganization": _update_organization,
    "GetUsage": _get_usage,
    "GetOrganization": _get_organization,
    "GetAllocation": _get_allocation,
    "CheckEntitlement": _check,
    "CheckEntitlements": _check_many,
    "ListEntries": _list_entries,
}
"""Of each method that callers use."""


class CoalescingSdk(Sdk):
    """One whose calls of allocations travel together, where they have the same actor and organization."""

    def __init__(self, client: earmark.Client) -> None:
        """client: one that was made with `coalesce`."""
        super().__init__(client)
        self._together = client

    async def send(self, method: str, request: Any, *, actor: str, seconds: float) -> Any:
        client = self._together.using(actor=actor, timeout_seconds=seconds)
        match request:
            case allocation_pb.EnableAllocationRequest():
                change = await client.enable(
                    request.parent,
                    offering=request.offering,
                    units=request.units,
                    allocation=request.allocation_id,
                    priority=request.priority if request.HasField("priority") else None,
                    request_id=request.request_id,
                )
                return allocation_pb.EnableAllocationResponse(**written(change))
            case allocation_pb.AdjustAllocationRequest():
                change = await client.adjust(
                    names.organization_of(request.name),
                    request.name,
                    delta_units=request.delta_units,
                    request_id=request.request_id,
                )
                return allocation_pb.AdjustAllocationResponse(**written(change))
            case allocation_pb.DisableAllocationRequest():
                change = await client.disable(
                    names.organization_of(request.name), request.name, request_id=request.request_id
                )
                return allocation_pb.DisableAllocationResponse(**written(change))
            case _:
                return await super().send(method, request, actor=actor, seconds=seconds)
