"""What the ledger's rules show of the rows in memory, and the model beside it, in the same terms."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from services.ledger.rules.entitling import NOTHING, Entitlement, Grounds
from services.ledger.rules.estimating import Line, estimate, recommended_purchase
from services.ledger.rules.forecasting import Forecast
from services.ledger.rules.looking import Interval, Step, StepChange, ending_credits, history, renewals
from services.ledger.rules.model import Figures
from services.ledger.rules.refusal import Refused
from services.ledger.rules.summing import OfferingUsage, UsageHour
from tests.model import looking, words
from tests.model.honest import HonestOrganization
from tests.model.lives import OFFERINGS
from tests.model.reading import Entitlement as ModelEntitlement
from tests.model.state import State, instants
from tests.support.memory_store import Tables, instant, microseconds, read_offerings, run

MODEL_STEPS: Final = {Step.HOUR: looking.HOUR, Step.DAY: words.DAY}


# Usage.


def offering_usage(tables: Tables) -> dict[str, OfferingUsage]:
    """The changes of every write, summed up."""
    sums: dict[str, OfferingUsage] = {}
    for change in tables.usage:
        known = sums.get(change.offering, OfferingUsage(change.offering))
        counts = [name for name in OfferingUsage.__dataclass_fields__ if name != "offering"]
        added = {name: getattr(known, name) + getattr(change, name) for name in counts}
        sums[change.offering] = replace(known, **added)
    return sums


def usage_shown(tables: Tables, now: int) -> looking.Usage:
    live = sorted((each for each in tables.subscriptions.values() if not each.state.over), key=lambda s: s.subscription)
    renewed = renewals(live)
    return looking.Usage(
        offerings={
            each.offering: (
                looking.Held(each.enabled_allocations, each.enabled_units, each.enabled_credits),
                looking.Held(each.suspended_allocations, each.suspended_units, each.suspended_credits),
            )
            for each in sorted(offering_usage(tables).values(), key=lambda usage: usage.offering)
            if each.enabled_allocations or each.suspended_allocations
        },
        ending={each.within_days: (each.credits, each.renewed) for each in ending_credits(live, instant(now))},
        subscriptions={s.subscription: (str(s.state), renewed.get(s.subscription)) for s in live},
    )


# Entitlements.


def entitlement_shown(tables: Tables, now: int, kind: str, key: str) -> ModelEntitlement:
    """Of an `offering` or an `allocation`."""
    assert tables.organization is not None
    live = [each for each in tables.subscriptions.values() if not each.state.over]
    grounds = Grounds(instant(now), tables.organization.figures, live)
    if kind == "offering":
        return _entitlement(grounds.of_offering(offering_usage(tables).get(key, OfferingUsage(key))))
    found = tables.allocations.get(key)
    return _entitlement(grounds.of_allocation(found.state, found.units, found.credits) if found else NOTHING)


def _entitlement(found: Entitlement) -> ModelEntitlement:
    until = found.covered_until
    return ModelEntitlement(str(found.state), found.units, microseconds(until) if until else None)


# History.


def history_shown(tables: Tables, start: int, end: int, step: Step, now: int) -> list[looking.Step]:
    hours = _hours(tables)
    interval = Interval(instant(start), instant(end), step)
    before = [hour for hour in hours.values() if hour.hour < interval.start]
    figures = (before[-1].valid, before[-1].allocated) if before else (0, 0)
    steps = history(interval, figures, _changes(hours.values(), interval), instant(now))
    return [
        looking.Step(microseconds(each.start), each.valid, each.allocated, each.peak_allocated, each.in_progress)
        for each in steps
    ]


def _hours(tables: Tables) -> dict[datetime, UsageHour]:
    """Those of every write, as the database adds them up; they come in order."""
    hours: dict[datetime, UsageHour] = {}
    for new in tables.hours:
        known = hours.get(new.hour)
        hours[new.hour] = new if known is None else replace(
            known,
            valid=new.valid,
            allocated=new.allocated,
            peak_allocated=max(known.peak_allocated, new.peak_allocated),
            last_revision=new.last_revision,
        )  # fmt: skip
    return hours


def _changes(hours: Iterable[UsageHour], interval: Interval) -> dict[datetime, StepChange]:
    changes: dict[datetime, StepChange] = {}
    for hour in hours:
        start = interval.step.start_of(hour.hour)
        if interval.start <= start < interval.end:
            known = changes.get(start)
            changes[start] = StepChange(
                hour.valid,
                hour.allocated,
                max(hour.peak_allocated, known.peak_allocated if known else 0),
                known.begins_at_start if known else hour.begins_at_start and hour.hour == start,
            )
    return changes


# Forecasts.


def forecast_shown(found: Forecast) -> looking.Forecast:
    return looking.Forecast(
        points=[(microseconds(at), sums(figures)) for at, figures in found.points],
        grace_starts=[microseconds(each) for each in found.grace_starts],
        coverage_ends=[microseconds(each) for each in found.coverage_ends],
        suspended=list(found.suspended.first),
    )


def sums(figures: Figures) -> looking.Sums:
    return figures.valid, figures.grace, figures.allocated, figures.suspended


def horizons(state: State, dice: random.Random) -> list[int]:
    """Instants to forecast until: now, transitions and beside them, and beyond everything."""
    ahead = sorted({t for s in state.subscriptions.values() for t in instants(s) if t > state.time})
    found = [state.time]
    if ahead:
        found += [dice.choice(ahead), dice.choice(ahead) + dice.choice((-1, 1)), ahead[-1] + dice.choice((0, 1))]
    return [max(each, state.time) for each in found]


# Estimates.


def estimate_shown(tables: Tables, lines: Sequence[tuple[str, int]], now: int) -> looking.Estimate | tuple[str, int]:
    """Or (reason, line) of the refusal."""
    assert tables.organization is not None
    offerings = run(read_offerings(tables, [offering for offering, _ in lines]))
    try:
        found = estimate([Line(*each) for each in lines], offerings, instant(now))
    except Refused as refused:
        return str(refused.reason), int(refused.figures["lineIndex"])
    required = sum(each.credits for each in found)
    figures = tables.organization.figures
    return looking.Estimate(
        lines=[(each.credits, each.price_version, each.retired) for each in found],
        required=required,
        remaining=figures.available - required,
        recommended=recommended_purchase(required, figures),
    )


def model_estimate(
    model: HonestOrganization, lines: Sequence[tuple[str, int]], now: int
) -> looking.Estimate | tuple[str, int]:
    try:
        return looking.estimate(model.state, model.catalogue, lines, now)
    except words.Refused as refused:
        return refused.reason, refused.index or 0


def some_lines(dice: random.Random) -> list[tuple[str, int]]:
    offerings = (*OFFERINGS, *OFFERINGS, "nothing") if dice.random() < 0.1 else OFFERINGS
    units = (1, 2, 7, 51, 1_000) if dice.random() < 0.9 else (10**12,)
    return [(dice.choice(offerings), dice.choice(units)) for _ in range(dice.choice((1, 2, 5)))]


def window(entries: Sequence[words.Entry], step: Step, steps: int, dice: random.Random) -> tuple[int, int]:
    """Some steps about an entry; sometimes from before the first one, or into the future."""
    length = MODEL_STEPS[step]
    middle = dice.choice(entries).effective // length
    start = (middle - dice.randrange(steps)) * length
    return start, start + steps * length
