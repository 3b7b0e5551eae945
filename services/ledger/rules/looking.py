"""What is shown of usage: credits that end soon, and a history by steps. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from services.ledger.rules.limits import ENDING_WITHIN_DAYS
from services.ledger.rules.model import Subscription, SubscriptionState


class Step(Enum):
    """The length of a step of a history, in UTC; its name is Postgres's for it."""

    HOUR = timedelta(hours=1)
    DAY = timedelta(days=1)

    @property
    def length(self) -> timedelta:
        return self.value

    def start_of(self, instant: datetime) -> datetime:
        """Of the step that the instant lies in."""
        hour = instant.replace(minute=0, second=0, microsecond=0)
        return hour if self is Step.HOUR else hour.replace(hour=0)


@dataclass(frozen=True, slots=True)
class Interval:
    """Half-open, from the start of a step to the start of another."""

    start: datetime
    end: datetime
    step: Step

    @property
    def steps(self) -> int:
        return (self.end - self.start) // self.step.length

    def over_by(self, now: datetime) -> datetime:
        """The end of its last step that is over; its start if none is."""
        return max(self.start, min(self.end, self.step.start_of(now)))


@dataclass(frozen=True, slots=True)
class StepChange:
    """A step in which something took effect."""

    valid: int
    """After its last entry; so `allocated`."""
    allocated: int
    peak_allocated: int
    """The greatest of allocated after each call or settled instant in it."""
    begins_at_start: bool
    """Whether something took effect at its very start."""


@dataclass(frozen=True, slots=True)
class UsageStep:
    start: datetime
    valid: int
    allocated: int
    peak_allocated: int
    in_progress: bool


def history(
    interval: Interval, before: tuple[int, int], changes: Mapping[datetime, StepChange], now: datetime
) -> list[UsageStep]:
    """Every step that begins no later than now. `before` is (valid, allocated) as the interval begins."""
    valid, allocated = before
    steps: list[UsageStep] = []
    start = interval.start
    while start < interval.end and start <= now:
        change = changes.get(start)
        peak = allocated
        if change is not None:
            peak = change.peak_allocated if change.begins_at_start else max(allocated, change.peak_allocated)
            valid, allocated = change.valid, change.allocated
        end = start + interval.step.length
        steps.append(UsageStep(start, valid, allocated, peak, in_progress=now < end))
        start = end
    return steps


@dataclass(frozen=True, slots=True)
class EndingCredits:
    within_days: int
    credits: int
    renewed: int
    """Of these, those whose subscription has a renewal that is not over."""


def ending_credits(live: Sequence[Subscription], now: datetime) -> list[EndingCredits]:
    """Of ACTIVE subscriptions; each step includes those before it. Given are those that are not over."""
    renewed = renewals(live)
    found = []
    for days in ENDING_WITHIN_DAYS:
        ending = [each for each in live if _ends_by(each, now + timedelta(days=days))]
        total = sum(each.credits for each in ending)
        found.append(EndingCredits(days, total, sum(each.credits for each in ending if each.subscription in renewed)))
    return found


def renewals(live: Iterable[Subscription]) -> dict[str, str]:
    """The renewal of each subscription that has one, by ids; given are those that are not over."""
    return {each.renews: each.subscription for each in live if each.renews}


def _ends_by(subscription: Subscription, instant: datetime) -> bool:
    return subscription.state is SubscriptionState.ACTIVE and subscription.end_time <= instant
