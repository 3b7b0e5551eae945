"""Usage and entries as messages of the contract."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from earmark.v1 import allocation_service_pb2, resources_pb2
from earmark.v1 import usage_service_pb2 as pb
from services.ledger.rules import names
from services.ledger.rules.answers import Balance
from services.ledger.rules.encoding import (
    allocation_from,
    deltas_json,
    instant_from,
    subscription_from,
)
from services.ledger.rules.entitling import Entitlement
from services.ledger.rules.estimating import EstimatedLine
from services.ledger.rules.forecasting import Forecast
from services.ledger.rules.looking import EndingCredits, UsageStep
from services.ledger.rules.model import Entry, Figures, OrganizationFields, Subscription
from services.ledger.rules.summing import OfferingUsage
from services.wire import (
    allocation_message,
    allocation_names_message,
    balance_message,
    organization_message,
    subscription_message,
    timestamp,
)


def offering_usage_message(usage: OfferingUsage) -> pb.OfferingUsage:
    return pb.OfferingUsage(
        offering=names.offering_name(usage.offering),
        enabled_allocations=usage.enabled_allocations,
        enabled_units=usage.enabled_units,
        enabled_credits=usage.enabled_credits,
        suspended_allocations=usage.suspended_allocations,
        suspended_units=usage.suspended_units,
        suspended_credits=usage.suspended_credits,
    )


def ending_message(ending: EndingCredits) -> pb.EndingCredits:
    return pb.EndingCredits(within_days=ending.within_days, credits=ending.credits, renewed_credits=ending.renewed)


def subscription_usage_message(subscription: Subscription, renewal: str | None) -> pb.SubscriptionUsage:
    """`renewal` is the id of its live renewal."""
    return pb.SubscriptionUsage(
        name=subscription.name,
        state=resources_pb2.Subscription.State.Value(subscription.state),
        credits=subscription.credits,
        start_time=timestamp(subscription.start_time),
        end_time=timestamp(subscription.end_time),
        grace_end_time=timestamp(subscription.grace_end_time),
        renewal=names.subscription_name(subscription.organization, renewal) if renewal else "",
    )


def history_message(steps: Sequence[UsageStep], as_of: datetime) -> pb.QueryUsageHistoryResponse:
    return pb.QueryUsageHistoryResponse(
        steps=[
            pb.UsageStep(
                start_time=timestamp(each.start),
                valid_credits=each.valid,
                allocated_credits=each.allocated,
                peak_allocated_credits=each.peak_allocated,
                in_progress=each.in_progress,
            )
            for each in steps
        ],
        as_of=timestamp(as_of),
    )


def forecast_message(balance: Balance, forecast: Forecast) -> pb.ForecastUsageResponse:
    return pb.ForecastUsageResponse(
        balance=balance_message(balance),
        points=[_point(instant, figures) for instant, figures in forecast.points],
        grace_start_times=_timestamps(forecast.grace_starts),
        coverage_end_times=_timestamps(forecast.coverage_ends),
        suspended=allocation_names_message(balance.organization, forecast.suspended),
    )


def estimated_line_message(estimated: EstimatedLine) -> pb.EstimatedLine:
    return pb.EstimatedLine(
        offering=names.offering_name(estimated.line.offering),
        units=estimated.line.units,
        credits=estimated.credits,
        price_version=estimated.price_version,
        retired=estimated.retired,
    )


def entitlement_message(entitlement: Entitlement, as_of: datetime) -> allocation_service_pb2.Entitlement:
    return allocation_service_pb2.Entitlement(
        state=allocation_service_pb2.Entitlement.State.Value(entitlement.state),
        units=entitlement.units,
        as_of=timestamp(as_of),
        covered_until=timestamp(entitlement.covered_until),
    )


def entry_message(entry: Entry) -> resources_pb2.Entry:
    deltas = deltas_json(entry)
    balance = Balance(entry.organization, entry.revision, entry.effective_time, entry.figures)
    return resources_pb2.Entry(
        name=names.entry_name(entry.organization, entry.revision),
        revision=entry.revision,
        kind=resources_pb2.Entry.Kind.Value(entry.kind),
        effective_time=timestamp(entry.effective_time),
        recorded_time=timestamp(entry.recorded_time),
        actor=entry.actor,
        request_id=entry.request_id,
        causes=entry.causes,
        cause_count=entry.cause_count,
        valid_delta=deltas["valid"],
        grace_delta=deltas["grace"],
        allocated_delta=deltas["allocated"],
        suspended_delta=deltas["suspended"],
        balance=balance_message(balance),
        last=entry.last,
        digest=entry.digest,
        **_after(entry, balance),
        **_detail(entry),
    )


def _after(entry: Entry, balance: Balance) -> dict[str, Any]:
    """The resource as it is after the entry, and its name."""
    collection = entry.kind.partition("_")[0]
    if collection == "ALLOCATION":
        allocation = allocation_from(entry.organization, entry.resource, entry.after)
        message = allocation_message(allocation, entry.effective_time)
        message.price_version = allocation.price_version
        return {"resource": allocation.name, "allocation": message}
    if collection == "SUBSCRIPTION":
        subscription = subscription_from(entry.organization, entry.resource, entry.after)
        return {
            "resource": subscription.name,
            "subscription": subscription_message(subscription, entry.effective_time),
        }
    fields = OrganizationFields(
        entry.organization,
        entry.after["display_name"],
        entry.after["changed_revision"],
        instant_from(entry.after["create_time"]),
        instant_from(entry.after["update_time"]),
    )
    organization = organization_message(fields, balance)
    organization.ClearField("balance")
    return {"resource": organization.name, "organization": organization}


def _detail(entry: Entry) -> dict[str, Any]:
    detail = entry.detail
    if "percent" in detail:
        return {"threshold_percent": detail["percent"]}
    if "ending" in detail:
        ending = resources_pb2.EndingSoon.Ending.Value(detail["ending"])
        return {"ending_soon": resources_pb2.EndingSoon(ending=ending, days=detail["days"], renewed=detail["renewed"])}
    return {}


def _point(instant: datetime, figures: Figures) -> pb.ForecastPoint:
    return pb.ForecastPoint(
        time=timestamp(instant),
        valid_credits=figures.valid,
        grace_credits=figures.grace,
        allocated_credits=figures.allocated,
        suspended_credits=figures.suspended,
    )


def _timestamps(instants: Sequence[datetime]) -> list[Timestamp]:
    return [each for each in map(timestamp, instants) if each is not None]
