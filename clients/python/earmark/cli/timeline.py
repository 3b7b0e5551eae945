"""A history and a forecast cut into the columns of a chart."""

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from earmark.cli import words
from earmark.cli.chart import Slice
from earmark.v1.resources_pb2 import Balance
from earmark.v1.usage_service_pb2 import ForecastPoint, ForecastUsageResponse, UsageStep

CELLS_OF_STEP_MAX = 8


def of_history(steps: Sequence[UsageStep], step: timedelta, width: int) -> tuple[Sequence[Slice], str]:
    """Columns of equally many steps, or steps of equally many columns."""
    taken = -(-len(steps) // width)
    groups = [steps[index : index + taken] for index in range(0, len(steps), taken)]
    cells = max(1, min(CELLS_OF_STEP_MAX, width // len(groups)))
    slices = [_of_steps(group) for group in groups for _ in range(cells)]
    return slices, f"{cells} columns are {words.span(step)}" if cells > 1 else f"a column is {words.span(step * taken)}"


def _of_steps(steps: Sequence[UsageStep]) -> Slice:
    last = steps[-1]
    return Slice(
        start=words.moment(steps[0].start_time),
        valid=last.valid_credits,
        carried=last.valid_credits,
        allocated=max(each.peak_allocated_credits for each in steps),
    )


Figures = Balance | ForecastPoint


def of_forecast(forecast: ForecastUsageResponse, length: timedelta, width: int) -> tuple[Sequence[Slice], str]:
    """Columns of equal length from the balance's instant on. What happens at the very end belongs to the last."""
    start = words.moment(forecast.balance.as_of)
    edges = [start + length * column / width for column in range(width + 1)]
    figures: Figures = forecast.balance
    points = deque(forecast.points)
    slices = []
    for begins, ends in pairwise(edges):
        held = [] if points and words.moment(points[0].time) <= begins else [figures]
        while points and (words.moment(points[0].time) < ends or ends == edges[-1]):
            held.append(points.popleft())
        figures = held[-1]
        slices.append(_of_figures(begins, held))
    return slices, f"a column is {words.span(length / width)}"


def _of_figures(start: datetime, held: Sequence[Figures]) -> Slice:
    last = held[-1]
    return Slice(
        start=start,
        valid=last.valid_credits,
        carried=last.valid_credits + last.grace_credits,
        allocated=max(each.allocated_credits for each in held),
    )
