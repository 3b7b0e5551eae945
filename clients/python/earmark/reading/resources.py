"""The nouns."""

from decimal import Decimal

from earmark import names
from earmark.reading.values import instant, instant_if_set, number_if_set, word
from earmark.types import (
    Allocation,
    AllocationState,
    Balance,
    Offering,
    Organization,
    Price,
    Subscription,
    SubscriptionState,
)
from earmark.v1 import resources_pb2 as pb


def balance(message: pb.Balance) -> Balance:
    return Balance(
        organization=names.id_of(message.organization),
        revision=message.revision,
        as_of=instant(message.as_of),
        valid_credits=message.valid_credits,
        grace_credits=message.grace_credits,
        allocated_credits=message.allocated_credits,
        suspended_credits=message.suspended_credits,
        available_credits=message.available_credits,
        overdraft_limit=message.overdraft_limit,
        overdraft_unlimited=message.overdraft_unlimited,
        spendable_credits=number_if_set(message, "spendable_credits"),
        coverage_credits=number_if_set(message, "coverage_credits"),
    )


def organization(message: pb.Organization, figures: pb.Balance | None = None) -> Organization:
    """`figures`: its balance, where the message has none of its own."""
    return Organization(
        id=names.id_of(message.name),
        display_name=message.display_name,
        overdraft_limit=message.overdraft_limit,
        overdraft_unlimited=message.overdraft_unlimited,
        balance=balance(figures or message.balance),
        create_time=instant_if_set(message, "create_time"),
        update_time=instant_if_set(message, "update_time"),
        etag=message.etag,
    )


def subscription(message: pb.Subscription) -> Subscription:
    return Subscription(
        organization=names.organization_of(message.name),
        id=names.id_of(message.name),
        state=word(SubscriptionState, pb.Subscription.State, message.state),
        credits=message.credits,
        start_time=instant(message.start_time),
        end_time=instant(message.end_time),
        grace_period=message.grace_period.ToTimedelta(),
        grace_end_time=instant(message.grace_end_time),
        renews=names.id_of(message.renews),
        order_reference=message.order_reference,
        labels=dict(message.labels),
        create_time=instant_if_set(message, "create_time"),
        update_time=instant_if_set(message, "update_time"),
        cancel_time=instant_if_set(message, "cancel_time"),
        etag=message.etag,
        as_of=instant_if_set(message, "as_of"),
    )


def price(message: pb.Price) -> Price:
    return Price(
        credits_per_block=Decimal(message.credits_per_block),
        block_units=message.block_units if message.HasField("block_units") else 1,
        max_credits=number_if_set(message, "max_credits"),
        effective_time=instant_if_set(message, "effective_time"),
        version=message.version,
    )


def offering(message: pb.Offering) -> Offering:
    return Offering(
        id=names.id_of(message.name),
        display_name=message.display_name,
        solution=message.solution,
        unit=message.unit,
        price=price(message.price),
        prices=tuple(price(each) for each in message.prices),
        retired=message.retired,
        create_time=instant(message.create_time),
        update_time=instant(message.update_time),
        etag=message.etag,
        as_of=instant(message.as_of),
    )


def allocation(message: pb.Allocation, *, with_labels: bool = True) -> Allocation:
    """`with_labels`: whether they are in the message, or were left out."""
    return Allocation(
        organization=names.organization_of(message.name),
        id=names.id_of(message.name),
        offering=names.id_of(message.offering),
        state=word(AllocationState, pb.Allocation.State, message.state),
        units=message.units,
        credits=message.credits,
        suspended_credits=message.suspended_credits,
        price_version=message.price_version,
        priority=message.priority,
        labels=dict(message.labels) if with_labels else None,
        enabled_revision=message.enabled_revision,
        create_time=instant_if_set(message, "create_time"),
        update_time=instant_if_set(message, "update_time"),
        etag=message.etag,
        as_of=instant_if_set(message, "as_of"),
    )
