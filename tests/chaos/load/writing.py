"""Answers of the domain client as messages again, for the histories."""

from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from earmark import names, types
from earmark.v1 import resources_pb2 as pb


def written(change: types.AllocationChange) -> dict[str, Any]:
    """The fields of an answer that says what became of an allocation."""
    return {"allocation": _allocation(change.allocation), "balance": _balance(change.balance)}


def _allocation(allocation: types.Allocation) -> pb.Allocation:
    return pb.Allocation(
        name=names.allocation(allocation.organization, allocation.id),
        offering=names.offering(allocation.offering),
        state=pb.Allocation.State.Value(allocation.state),
        units=allocation.units,
        credits=allocation.credits,
        suspended_credits=allocation.suspended_credits,
        price_version=allocation.price_version,
        priority=allocation.priority,
        labels=allocation.labels,
        enabled_revision=allocation.enabled_revision,
        create_time=_timestamp(allocation.create_time),
        update_time=_timestamp(allocation.update_time),
        etag=allocation.etag,
        as_of=_timestamp(allocation.as_of),
    )


def _balance(balance: types.Balance) -> pb.Balance:
    return pb.Balance(
        organization=names.organization(balance.organization),
        revision=balance.revision,
        as_of=_timestamp(balance.as_of),
        valid_credits=balance.valid_credits,
        grace_credits=balance.grace_credits,
        allocated_credits=balance.allocated_credits,
        suspended_credits=balance.suspended_credits,
        available_credits=balance.available_credits,
        overdraft_limit=balance.overdraft_limit,
        overdraft_unlimited=balance.overdraft_unlimited,
        spendable_credits=balance.spendable_credits,
        coverage_credits=balance.coverage_credits,
    )


def _timestamp(instant: datetime | None) -> Timestamp | None:
    if instant is None:
        return None
    message = Timestamp()
    message.FromDatetime(instant)
    return message
