"""Ledger values as messages of the contract, for calls and notices alike."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from earmark.v1 import resources_pb2 as pb
from services.ledger.rules import names
from services.ledger.rules.answers import AllocationNames, Balance, Consequences
from services.ledger.rules.encoding import MICROSECOND
from services.ledger.rules.model import Allocation, AllocationState, Organization, OrganizationFields, Subscription
from services.ledger.rules.price import Offering, Price

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_ALLOCATION_STATES: Final = {each: pb.Allocation.State.Value(each) for each in AllocationState}


@lru_cache(maxsize=1024)
def timestamp(instant: datetime | None) -> Timestamp | None:
    """To be put into a message, which copies it, and never to be changed: one call shows the same instant often."""
    if instant is None:
        return None
    seconds, microseconds = divmod((instant - EPOCH) // MICROSECOND, 1_000_000)
    return Timestamp(seconds=seconds, nanos=microseconds * 1000)


def duration(length: timedelta) -> Duration:
    """Of a length that is not negative."""
    seconds, microseconds = divmod(length // MICROSECOND, 1_000_000)
    return Duration(seconds=seconds, nanos=microseconds * 1000)


def balance_message(balance: Balance) -> pb.Balance:
    figures = balance.figures
    return pb.Balance(
        organization=names.organization_name(balance.organization),
        revision=balance.revision,
        as_of=timestamp(balance.as_of),
        valid_credits=figures.valid,
        grace_credits=figures.grace,
        allocated_credits=figures.allocated,
        suspended_credits=figures.suspended,
        available_credits=figures.available,
        overdraft_limit=figures.overdraft_limit,
        overdraft_unlimited=figures.overdraft_unlimited,
        spendable_credits=figures.spendable,
        coverage_credits=figures.coverage,
    )


def organization_message(organization: OrganizationFields, balance: Balance) -> pb.Organization:
    return pb.Organization(
        name=names.organization_name(organization.organization),
        display_name=organization.display_name,
        overdraft_limit=balance.figures.overdraft_limit,
        overdraft_unlimited=balance.figures.overdraft_unlimited,
        balance=balance_message(balance),
        create_time=timestamp(organization.create_time),
        update_time=timestamp(organization.update_time),
        etag=str(organization.changed_revision),
    )


def organization_state_message(state: Organization, as_of: datetime) -> pb.Organization:
    balance = Balance(state.organization, state.revision, as_of, state.figures)
    return organization_message(state.fields, balance)


def subscription_message(subscription: Subscription, as_of: datetime) -> pb.Subscription:
    renews = subscription.renews and names.subscription_name(subscription.organization, subscription.renews)
    return pb.Subscription(
        name=subscription.name,
        state=pb.Subscription.State.Value(subscription.state),
        credits=subscription.credits,
        start_time=timestamp(subscription.start_time),
        end_time=timestamp(subscription.end_time),
        grace_period=duration(subscription.grace_period),
        grace_end_time=timestamp(subscription.grace_end_time),
        renews=renews or "",
        order_reference=subscription.order_reference,
        labels=subscription.labels,
        create_time=timestamp(subscription.create_time),
        update_time=timestamp(subscription.update_time),
        cancel_time=timestamp(subscription.cancel_time),
        etag=subscription.etag,
        as_of=timestamp(as_of),
    )


def allocation_message(allocation: Allocation, as_of: datetime) -> pb.Allocation:
    return pb.Allocation(
        name=allocation.name,
        offering=names.offering_name(allocation.offering),
        state=_ALLOCATION_STATES[allocation.state],
        units=allocation.units,
        credits=allocation.credits,
        suspended_credits=allocation.suspended_credits,
        price_version=0 if allocation.state is AllocationState.DISABLED else allocation.price_version,
        priority=allocation.priority,
        labels=allocation.labels,
        enabled_revision=allocation.enabled_revision,
        create_time=timestamp(allocation.create_time),
        update_time=timestamp(allocation.update_time),
        etag=allocation.etag,
        as_of=timestamp(as_of),
    )


def offering_message(offering: Offering, as_of: datetime) -> pb.Offering:
    return pb.Offering(
        name=names.offering_name(offering.offering),
        display_name=offering.display_name,
        solution=offering.solution,
        unit=offering.unit,
        price=price_message(offering.price_at(as_of)),
        prices=[price_message(each) for each in offering.prices],
        retired=offering.retired,
        create_time=timestamp(offering.create_time),
        update_time=timestamp(offering.update_time),
        etag=offering.etag,
        as_of=timestamp(as_of),
    )


def price_message(price: Price) -> pb.Price:
    return pb.Price(
        version=price.version,
        effective_time=timestamp(price.effective_time),
        credits_per_block=plain(price.credits_per_block),
        block_units=price.block_units,
        max_credits=price.max_credits,
    )


def consequences_message(organization: str, consequences: Consequences) -> pb.Consequences:
    return pb.Consequences(
        resumed=allocation_names_message(organization, consequences.resumed),
        suspended=allocation_names_message(organization, consequences.suspended),
        waiting=allocation_names_message(organization, consequences.waiting),
    )


def plain(number: Decimal) -> str:
    """Without an exponent and without zeros at the end: 20, 0.05."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def labels_of(labels: Mapping[str, str]) -> dict[str, str] | None:
    """None where none were sent: they are kept."""
    return dict(labels) or None


def allocation_names_message(organization: str, listed: AllocationNames) -> pb.AllocationNames:
    return pb.AllocationNames(
        names=[names.allocation_name(organization, each) for each in listed.first], total_size=listed.total
    )
