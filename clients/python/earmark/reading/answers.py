"""What calls answer."""

from typing import Any

from earmark import names
from earmark.errors import EarmarkError
from earmark.reading import resources as read
from earmark.reading.values import instant, instant_if_set, word
from earmark.types import (
    AllocationChange,
    AllocationNames,
    Applied,
    Consequences,
    Entitlement,
    EntitlementResult,
    EntitlementState,
    Estimate,
    EstimatedLine,
    EstimatedPurchase,
    OperationResult,
    OrganizationChange,
    SubscriptionChange,
)
from earmark.v1 import allocation_service_pb2, resources_pb2, usage_service_pb2


def allocation_names(message: resources_pb2.AllocationNames) -> AllocationNames:
    return AllocationNames(ids=tuple(map(names.id_of, message.names)), total=message.total_size)


def consequences(message: resources_pb2.Consequences) -> Consequences:
    return Consequences(
        resumed=allocation_names(message.resumed),
        suspended=allocation_names(message.suspended),
        waiting=allocation_names(message.waiting),
    )


def organization_change(message: Any) -> OrganizationChange:
    """A creation has no consequences: nothing was there before."""
    of_it = getattr(message, "consequences", resources_pb2.Consequences())
    return OrganizationChange(
        organization=read.organization(message.organization),
        balance=read.balance(message.balance),
        consequences=consequences(of_it),
    )


def subscription_change(message: Any) -> SubscriptionChange:
    return SubscriptionChange(
        subscription=read.subscription(message.subscription),
        balance=read.balance(message.balance),
        consequences=consequences(message.consequences),
    )


def allocation_change(message: Any) -> AllocationChange:
    return AllocationChange(allocation=read.allocation(message.allocation), balance=read.balance(message.balance))


def applied(message: allocation_service_pb2.ApplyOperationsResponse, request_ids: list[str]) -> Applied:
    """`request_ids`: of each operation where each stands for itself, otherwise that of all."""
    return Applied(
        results=tuple(
            operation_result(each, request_id) for each, request_id in zip(message.results, request_ids, strict=True)
        ),
        balance=read.balance(message.balance) if message.HasField("balance") else None,
    )


def operation_result(message: allocation_service_pb2.OperationResult, request_id: str) -> OperationResult:
    return OperationResult(
        allocation=read.allocation(message.allocation, with_labels=False) if message.HasField("allocation") else None,
        balance=read.balance(message.balance) if message.HasField("balance") else None,
        error=EarmarkError.from_status(message.status, request_id) if message.status.code else None,
    )


def entitlement(message: allocation_service_pb2.Entitlement) -> Entitlement:
    return Entitlement(
        state=word(EntitlementState, allocation_service_pb2.Entitlement.State, message.state),
        units=message.units,
        as_of=instant(message.as_of),
        covered_until=instant_if_set(message, "covered_until"),
    )


def entitlement_result(
    message: allocation_service_pb2.EntitlementResult, *, offering: str = "", allocation: str = ""
) -> EntitlementResult:
    return EntitlementResult(
        offering=offering,
        allocation=allocation,
        entitlement=entitlement(message.entitlement) if message.HasField("entitlement") else None,
        error=EarmarkError.from_status(message.status) if message.status.code else None,
    )


def estimate(message: usage_service_pb2.EstimateCreditsResponse) -> Estimate:
    return Estimate(
        lines=tuple(
            EstimatedLine(
                offering=names.id_of(each.offering),
                units=each.units,
                credits=each.credits,
                price_version=each.price_version,
                retired=each.retired,
            )
            for each in message.lines
        ),
        required_credits=message.required_credits,
        purchase=_purchase(message.purchase) if message.HasField("purchase") else None,
        as_of=instant(message.as_of),
    )


def _purchase(message: usage_service_pb2.EstimatedPurchase) -> EstimatedPurchase:
    return EstimatedPurchase(
        balance=read.balance(message.balance),
        remaining_credits=message.remaining_credits,
        recommended_credits=message.recommended_credits,
    )
