"""What an organization has, had and will have."""

from earmark import names
from earmark.reading import resources as read
from earmark.reading.answers import allocation_names
from earmark.reading.values import instant, word
from earmark.types import (
    Allocation,
    BalancesEvent,
    Ending,
    EndingCredits,
    EndingSoon,
    Entry,
    EntryKind,
    Forecast,
    ForecastPoint,
    OfferingUsage,
    Organization,
    Subscription,
    SubscriptionState,
    SubscriptionUsage,
    Usage,
    UsageEvent,
    UsageHistory,
    UsageSnapshot,
    UsageStep,
)
from earmark.v1 import resources_pb2
from earmark.v1 import usage_service_pb2 as pb


def usage(message: pb.Usage) -> Usage:
    return Usage(
        balance=read.balance(message.balance),
        offerings=tuple(map(offering_usage, message.offerings)),
        ending=tuple(
            EndingCredits(within_days=each.within_days, credits=each.credits, renewed_credits=each.renewed_credits)
            for each in message.ending
        ),
        subscriptions=tuple(map(_subscription_usage, message.subscriptions)),
    )


def offering_usage(message: pb.OfferingUsage) -> OfferingUsage:
    return OfferingUsage(
        offering=names.id_of(message.offering),
        enabled_allocations=message.enabled_allocations,
        enabled_units=message.enabled_units,
        enabled_credits=message.enabled_credits,
        suspended_allocations=message.suspended_allocations,
        suspended_units=message.suspended_units,
        suspended_credits=message.suspended_credits,
    )


def _subscription_usage(message: pb.SubscriptionUsage) -> SubscriptionUsage:
    return SubscriptionUsage(
        id=names.id_of(message.name),
        state=word(SubscriptionState, resources_pb2.Subscription.State, message.state),
        credits=message.credits,
        start_time=instant(message.start_time),
        end_time=instant(message.end_time),
        grace_end_time=instant(message.grace_end_time),
        renewal=names.id_of(message.renewal),
    )


def usage_history(message: pb.QueryUsageHistoryResponse) -> UsageHistory:
    return UsageHistory(
        steps=tuple(
            UsageStep(
                start_time=instant(each.start_time),
                valid_credits=each.valid_credits,
                allocated_credits=each.allocated_credits,
                peak_allocated_credits=each.peak_allocated_credits,
                in_progress=each.in_progress,
            )
            for each in message.steps
        ),
        as_of=instant(message.as_of),
    )


def forecast(message: pb.ForecastUsageResponse) -> Forecast:
    return Forecast(
        balance=read.balance(message.balance),
        points=tuple(
            ForecastPoint(
                time=instant(each.time),
                valid_credits=each.valid_credits,
                grace_credits=each.grace_credits,
                allocated_credits=each.allocated_credits,
                suspended_credits=each.suspended_credits,
            )
            for each in message.points
        ),
        grace_start_times=tuple(map(instant, message.grace_start_times)),
        coverage_end_times=tuple(map(instant, message.coverage_end_times)),
        suspended=allocation_names(message.suspended),
    )


def entry(message: resources_pb2.Entry) -> Entry:
    return Entry(
        organization=names.organization_of(message.name),
        revision=message.revision,
        kind=word(EntryKind, resources_pb2.Entry.Kind, message.kind),
        resource=message.resource,
        effective_time=instant(message.effective_time),
        recorded_time=instant(message.recorded_time),
        actor=message.actor,
        request_id=message.request_id,
        causes=tuple(message.causes),
        cause_count=message.cause_count,
        after=_after(message),
        threshold_percent=message.threshold_percent,
        ending_soon=_ending_soon(message.ending_soon) if message.HasField("ending_soon") else None,
        valid_delta=message.valid_delta,
        grace_delta=message.grace_delta,
        allocated_delta=message.allocated_delta,
        suspended_delta=message.suspended_delta,
        balance=read.balance(message.balance),
        last=message.last,
        digest=message.digest,
    )


def _after(message: resources_pb2.Entry) -> Organization | Subscription | Allocation | None:
    match message.WhichOneof("after"):
        case "organization":
            return read.organization(message.organization, message.balance)
        case "subscription":
            return read.subscription(message.subscription)
        case "allocation":
            return read.allocation(message.allocation)
    return None


def _ending_soon(message: resources_pb2.EndingSoon) -> EndingSoon:
    return EndingSoon(
        ending=word(Ending, resources_pb2.EndingSoon.Ending, message.ending),
        days=message.days,
        renewed=message.renewed,
    )


def usage_event(message: pb.WatchUsageResponse) -> UsageEvent:
    return UsageEvent(
        revision=message.revision,
        resume_token=message.resume_token,
        snapshot=_snapshot(message.snapshot) if message.HasField("snapshot") else None,
        entries=tuple(map(entry, message.entries.entries)),
    )


def _snapshot(message: pb.UsageSnapshot) -> UsageSnapshot:
    return UsageSnapshot(balance=read.balance(message.balance), offerings=tuple(map(offering_usage, message.offerings)))


def balances_event(message: pb.WatchBalancesResponse) -> BalancesEvent:
    return BalancesEvent(balances=tuple(map(read.balance, message.balances)), caught_up=message.caught_up)
