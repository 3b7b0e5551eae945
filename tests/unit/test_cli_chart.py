"""Charts and bars, cell by cell."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from earmark.cli import timeline
from earmark.cli.blocks import bar, fill
from earmark.cli.chart import Chart, Slice, scale_for
from earmark.v1.resources_pb2 import Balance
from earmark.v1.usage_service_pb2 import ForecastPoint, ForecastUsageResponse, UsageStep

START = datetime(2051, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def at(**distance: float) -> Timestamp:
    value = Timestamp()
    value.FromDatetime(START + timedelta(**distance))
    return value


def slices(*figures: tuple[int, int, int]) -> list[Slice]:
    """(valid, carried, allocated) each, a day apart."""
    return [Slice(START + DAY * index, *each) for index, each in enumerate(figures)]


def drawn(columns: Sequence[Slice], width: int = 80, *, encoding: str = "utf-8") -> list[str]:
    return rendered(Chart(lambda _: (columns, "a column is 1 day")), width, encoding=encoding)


def rendered(chart: Chart, width: int, *, encoding: str = "utf-8") -> list[str]:
    out = StringIO()
    console = Console(file=out, width=width, color_system=None, markup=False, highlight=False, legacy_windows=False)
    options = console.options.update(width=width)
    options.encoding = encoding
    for part in chart.__rich_console__(console, options):
        console.print(part)
    return out.getvalue().splitlines()


def test_a_purchase_an_allocation_and_the_end() -> None:
    columns = slices((0, 0, 0), (10, 10, 0), (10, 10, 4), (10, 10, 10), (5, 10, 10), (5, 10, 10), (5, 5, 5))
    assert drawn(columns) == [
        "10 ┤ ╭──╮╌",
        "   │ │ █│▓",
        " 8 ┤ │ █│▓",
        "   │ │ █│▓",
        " 6 ┤ │ █│▓",
        "   │ │ █╰──",
        " 4 ┤ │ ████",
        "   │ │█████",
        " 2 ┤ │█████",
        "   │ │█████",
        " 0 ┤─╯█████",
        "   └┬──────",
        "    2051-03-01",
        "── valid at the end of a column  ╌╌ with grace  ██ the most allocated in it",
        "▓▓ above what is valid  a column is 1 day",
    ]


def test_a_terminal_without_blocks_gets_letters() -> None:
    lines = drawn(slices((10, 10, 3), (10, 10, 10), (5, 10, 5), (5, 10, 10)), encoding="ascii")
    assert all(line.isascii() for line in lines)
    assert lines[0] == "10 |--+="
    assert lines[1] == "   | #|%"
    assert lines[10:13] == [" 0 |####", "   ++---", "    2051-03-01"]


def test_nothing_is_a_line_at_zero() -> None:
    lines = drawn(slices((0, 0, 0)))
    assert (lines[0], lines[12]) == ("1 ┤", "0 ┤─")
    assert set("".join(lines[1:12])) == {" ", "│"}


def test_scales_are_round_and_reach_over_everything() -> None:
    for most in [*range(300), 10**15 - 1, 10**15, 10**15 + 1, 2**63 - 1]:
        scale = scale_for(most)
        assert scale.tick * scale.ticks >= most
        assert 1 <= scale.ticks <= 5
        assert str(scale.tick).rstrip("0") in ("1", "2", "5")
        assert scale.row(most) < scale.height
        assert scale.eighths(most) <= 8 * scale.height


def test_what_is_little_is_seen_and_nothing_is_not() -> None:
    scale = scale_for(10**15)
    assert (scale.eighths(0), scale.eighths(1), scale.eighths(10**15)) == (0, 1, 8 * (scale.height - 1))


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (0, 100, ""),
        (5, 0, ""),
        (1, 10**15, "▏"),
        (10**15 - 1, 10**15, "███▉"),
        (10**15, 10**15, "████"),
        (50, 100, "██"),
        (50, 64, "███▏"),
        (3, 2, "████"),
    ],
)
def test_a_bar_of_four_cells(part: int, whole: int, expected: str) -> None:
    assert bar(part, whole, 4) == expected


@pytest.mark.parametrize(
    ("allocated", "valid", "expected"),
    [
        (0, 0, "░░░░"),
        (0, 10, "░░░░"),
        (5, 10, "██░░"),
        (10, 10, "████"),
        (20, 10, "██▓▓"),
        (5, 0, "▓▓▓▓"),
        (1, 10**15, "▏░░░"),
    ],
)
def test_what_is_allocated_beyond_what_is_valid_is_told_apart(allocated: int, valid: int, expected: str) -> None:
    assert fill(allocated, valid, 4).plain == expected


def steps(*figures: tuple[int, int, int]) -> list[UsageStep]:
    """(valid, allocated, peak) each, a day apart."""
    return [
        UsageStep(start_time=at(days=index), valid_credits=valid, allocated_credits=held, peak_allocated_credits=peak)
        for index, (valid, held, peak) in enumerate(figures)
    ]


def figures(columns: Sequence[Slice]) -> list[tuple[int, int, int]]:
    return [((each.start - START).days, each.valid, each.allocated) for each in columns]


def test_days_that_share_a_column_show_the_last_valid_and_the_highest_peak() -> None:
    week = steps((5, 1, 2), (10, 3, 9), (8, 2, 4), (8, 2, 3), (7, 1, 2))
    columns, meaning = timeline.of_history(week, DAY, 3)
    assert figures(columns) == [(0, 10, 9), (2, 8, 4), (4, 7, 2)]
    assert meaning == "a column is 2 days"


def test_days_are_widened_evenly_but_not_without_end() -> None:
    columns, meaning = timeline.of_history(steps((5, 1, 2), (6, 1, 3)), DAY, 5)
    assert figures(columns) == [(0, 5, 2), (0, 5, 2), (1, 6, 3), (1, 6, 3)]
    assert meaning == "2 columns are 1 day"
    assert len(timeline.of_history(steps((5, 1, 2)), DAY, 200)[0]) == 8


def forecast(*points: tuple[float, int, int, int]) -> ForecastUsageResponse:
    """(day, valid, grace, allocated) each; 10 valid and 4 allocated before."""
    return ForecastUsageResponse(
        balance=Balance(as_of=at(), valid_credits=10, allocated_credits=4),
        points=[
            ForecastPoint(time=at(days=day), valid_credits=valid, grace_credits=grace, allocated_credits=held)
            for day, valid, grace, held in points
        ],
    )


def foreseen(answer: ForecastUsageResponse, days: int, width: int) -> list[tuple[int, int, int]]:
    columns, _ = timeline.of_forecast(answer, DAY * days, width)
    return [(each.valid, each.carried, each.allocated) for each in columns]


def test_a_forecast_holds_until_its_next_point() -> None:
    answer = forecast((1.5, 6, 4, 4), (3, 6, 0, 2))
    assert foreseen(answer, 4, 4) == [(10, 10, 4), (6, 10, 4), (6, 10, 4), (6, 6, 2)]


def test_points_within_one_column_leave_its_highest_allocation_and_its_last_figures() -> None:
    answer = forecast((0.2, 10, 0, 9), (0.4, 3, 1, 2))
    assert foreseen(answer, 2, 2) == [(3, 4, 9), (3, 4, 2)]


def test_what_happens_at_the_very_end_is_in_the_last_column() -> None:
    assert foreseen(forecast((2, 5, 0, 5)), 2, 2) == [(10, 10, 4), (5, 5, 5)]
    assert foreseen(forecast((0, 5, 0, 5)), 0, 2)[-1] == (5, 5, 5)


def test_marks_of_time_are_dates_or_hours_and_none_overlap() -> None:
    days = [Slice(START + DAY * index, 1, 1, 0) for index in range(60)]
    hours = [Slice(START + timedelta(hours=index), 1, 1, 0) for index in range(30)]
    assert drawn(days, 70)[14].split() == ["2051-03-01", "2051-03-14", "2051-03-27", "2051-04-09", "2051-04-22"]
    assert drawn(hours, 70)[14].split() == ["03-01", "00:00", "03-01", "14:00", "03-02", "04:00"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_chart_of_huge_figures_is_exactly_as_wide_as_the_terminal(width: int) -> None:
    asked: list[int] = []

    def sample(columns: int) -> tuple[Sequence[Slice], str]:
        asked.append(columns)
        return [Slice(START + DAY * index, 10**15, 10**15, 1) for index in range(columns)], "a column is 1 day"

    lines = rendered(Chart(sample), width)
    margin = len("1,000,000,000,000,000 ┤")
    assert lines[0] == "1,000,000,000,000,000 ┤" + "─" * (width - margin)
    assert asked[-1] == width - margin
    assert all(len(line) <= width for line in lines)
