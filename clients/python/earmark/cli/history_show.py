"""A history and a forecast as a chart, and what is worth saying about them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial

from rich.console import RenderableType
from rich.text import Text

from earmark.cli import show, timeline, words
from earmark.cli.chart import Chart
from earmark.cli.table import Column, Rows
from earmark.v1.resources_pb2 import Balance
from earmark.v1.usage_service_pb2 import ForecastPoint, ForecastUsageResponse, QueryUsageHistoryResponse, UsageStep


def history(answer: QueryUsageHistoryResponse, step: timedelta, *, whole: bool) -> list[RenderableType]:
    """whole: also the steps before there was anything."""
    steps = list(answer.steps) if whole else _since_something(answer)
    if not steps:
        return ["Nothing was valid or allocated."]
    most = max(steps, key=lambda each: each.peak_allocated_credits)
    last = steps[-1]
    return [
        Chart(partial(timeline.of_history, steps, step)),
        "",
        f"most allocated {words.number(most.peak_allocated_credits)}, {_within(most, step)}",
        show.Line(
            f"{'now' if last.in_progress else 'at the end'} {words.number(last.valid_credits)} valid",
            f"{words.number(last.allocated_credits)} allocated",
        ),
    ]


def _since_something(answer: QueryUsageHistoryResponse) -> list[UsageStep]:
    kept = (
        index
        for index, each in enumerate(answer.steps)
        if each.valid_credits or each.allocated_credits or each.peak_allocated_credits
    )
    first = next(kept, len(answer.steps))
    return list(answer.steps[first:])


def _within(each: UsageStep, step: timedelta) -> str:
    if step < timedelta(days=1):
        return f"in the hour from {words.second(each.start_time)}"
    return f"on {words.date(each.start_time)}"


_COLUMNS = (
    Column("FROM"),
    Column("IN", folds=True),
    Column("VALID", number=True),
    Column("GRACE", number=True, optional=True),
    Column("ALLOCATED", number=True),
    Column("SUSPENDED", number=True, optional=True),
    Column("WHAT BEGINS", folds=True),
)


def forecast(answer: ForecastUsageResponse, until: datetime) -> list[RenderableType]:
    balance = answer.balance
    length = until - words.moment(balance.as_of)
    begins = _beginnings(answer)
    rows = [_row(each, balance, begins.get(words.moment(each.time), [])) for each in answer.points]
    parts: list[RenderableType] = [
        Chart(partial(timeline.of_forecast, answer, length)),
        "",
        Rows(_COLUMNS, [_now(balance), *rows]),
    ]
    if not rows:
        parts.append(f"Nothing changes by itself until {words.rfc_3339(until)}.")
    if answer.suspended.total_size:
        first = words.second(answer.coverage_end_times[0]) if answer.coverage_end_times else "then"
        parts += ["", show.listed(f"suspended on {first}:", answer.suspended, "red")]
    return parts


def _beginnings(answer: ForecastUsageResponse) -> Mapping[datetime, list[Text]]:
    begins: dict[datetime, list[Text]] = {}
    for time in answer.grace_start_times:
        begins.setdefault(words.moment(time), []).append(Text("grace carries the rest", style="yellow"))
    for time in answer.coverage_end_times:
        begins.setdefault(words.moment(time), []).append(Text("coverage ends", style="red"))
    return begins


def _now(balance: Balance) -> list[Text | str]:
    return [words.minute(balance.as_of), "now", *_figures(balance), ""]


def _row(point: ForecastPoint, balance: Balance, begins: list[Text]) -> list[Text | str]:
    when = words.relative(point.time, balance.as_of).removeprefix("in ")
    return [words.minute(point.time), when, *_figures(point), Text(", ").join(begins)]


def _figures(holder: Balance | ForecastPoint) -> list[Text | str]:
    return [
        words.number(holder.valid_credits),
        show.noticed(holder.grace_credits, "yellow"),
        words.number(holder.allocated_credits),
        show.noticed(holder.suspended_credits, "red"),
    ]
