"""What is valid and what is allocated over time, drawn in text: lines over an area, as wide as the terminal."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import groupby

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from earmark.cli import words
from earmark.cli.blocks import as_ascii
from earmark.cli.show import Line

ROWS = 12
TICKS_MAX = 5
LABEL_GAP = 3
VALID_STYLE = "bold cyan"
GRACE_STYLE = "yellow"
ALLOCATED_STYLE = "green"
BEYOND_STYLE = "red"
_EIGHTHS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Slice:
    """A column: what was valid, and that with grace, at its end; the most that was allocated in it."""

    start: datetime
    valid: int
    carried: int
    allocated: int


# At most so many columns, and what they stand for, such as "a column is 6 days".
Sample = Callable[[int], tuple[Sequence[Slice], str]]


@dataclass(frozen=True)
class Scale:
    """`ticks` marks upwards from zero, `tick` credits apart, `rows` rows apart, and a row above the last."""

    tick: int
    ticks: int
    rows: int

    @property
    def height(self) -> int:
        return self.ticks * self.rows + 1

    def row(self, credits: int) -> int:
        """The row in which a line at so many credits runs; the lowest is 0."""
        return credits * self.rows // self.tick

    def eighths(self, credits: int) -> int:
        """The height of an area, in eighths of a row; a few credits are still seen."""
        return max(min(credits, 1), (credits * self.rows * 16 + self.tick) // (self.tick * 2))


def scale_for(credits_max: int) -> Scale:
    """Round marks, a few of them, up to so many credits."""
    tick = next(each for each in _round_numbers() if credits_max <= each * TICKS_MAX)
    ticks = max(1, -(-credits_max // tick))
    return Scale(tick, ticks, max(1, ROWS // ticks))


def _round_numbers() -> Iterator[int]:
    power = 1
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10


class Chart:
    """Valid credits as a line, what grace adds as a broken one, allocated credits as the area below."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        # The width of the marks depends on the highest figure, not on how many columns there are.
        whole, _ = self.sample(options.max_width)
        scale = scale_for(max(max(each.carried, each.allocated) for each in whole))
        margin = len(words.number(scale.tick * scale.ticks)) + 2
        slices, meaning = self.sample(max(1, options.max_width - margin))
        for line in [*_rows(slices, scale, margin), *_axis(slices, margin, options.max_width)]:
            yield as_ascii(line) if options.ascii_only else line
        legend = Line(*_legend(slices, meaning))
        yield Line(*map(as_ascii, legend.pieces)) if options.ascii_only else legend


def _rows(slices: Sequence[Slice], scale: Scale, margin: int) -> Iterator[Text]:
    columns = list(_columns(slices, scale))
    for row in reversed(range(scale.height)):
        marked = row % scale.rows == 0
        label = words.number(row // scale.rows * scale.tick) if marked else ""
        line = Text(label.rjust(margin - 2) + (" ┤" if marked else " │"), style="dim")
        cells = [column[row] for column in columns]
        for style, run in groupby(cells, key=lambda cell: cell[1]):
            line.append("".join(letter for letter, _ in run), style or None)
        yield _line(line)


Cell = tuple[str, str]
"""A letter and its style."""


def _columns(slices: Sequence[Slice], scale: Scale) -> Iterator[list[Cell]]:
    """From the lowest row upwards."""
    before = scale.row(slices[0].valid)
    for each in slices:
        top, level = scale.eighths(each.allocated), scale.row(each.valid)
        cells = [_area(top - 8 * row, beyond=row > level) for row in range(scale.height)]
        if each.carried > each.valid:
            cells[scale.row(each.carried)] = ("╌", GRACE_STYLE)
        for row, letter in _step(before, level):
            cells[row] = (letter, VALID_STYLE)
        before = level
        yield cells


def _area(eighths: int, *, beyond: bool) -> Cell:
    """beyond: above the line."""
    letter = _EIGHTHS[max(0, min(8, eighths))]
    return (letter.replace("█", "▓"), BEYOND_STYLE) if beyond else (letter, ALLOCATED_STYLE)


def _step(before: int, level: int) -> Iterator[tuple[int, str]]:
    """A line that was in one row, and is in another from here on."""
    if before == level:
        yield level, "─"
        return
    yield before, "╯" if level > before else "╮"
    for row in range(min(before, level) + 1, max(before, level)):
        yield row, "│"
    yield level, "╭" if level > before else "╰"


def _axis(slices: Sequence[Slice], margin: int, width_max: int) -> Iterator[Text]:
    """The marks of time below the chart, each with its instant, as many as fit."""
    form = _form(slices)
    marks, labels = "", ""
    for index, each in enumerate(slices):
        begins = index == 0 or each.start != slices[index - 1].start
        label = each.start.strftime(form)
        fits = len(labels) <= index and margin + index + len(label) <= width_max
        if begins and fits:
            labels = labels.ljust(index) + label + " " * LABEL_GAP
        marks += "┬" if begins and fits else "─"
    yield _line(Text(" " * (margin - 1) + "└" + marks, style="dim"))
    yield _line(Text(" " * margin + labels.rstrip(), style="dim"))


def _form(slices: Sequence[Slice]) -> str:
    """Dates, or hours where days do not tell the marks apart."""
    if all(each.start.time() == time(0) for each in slices):
        return "%Y-%m-%d"
    span = slices[-1].start - slices[0].start
    marks = max(1, len(slices) // (len("2027-01-31") + LABEL_GAP))
    return "%Y-%m-%d" if span / marks >= timedelta(days=1) else "%m-%d %H:%M"


def _legend(slices: Sequence[Slice], meaning: str) -> Iterator[Text]:
    yield Text.assemble(("── ", VALID_STYLE), "valid at the end of a column")
    if any(each.carried > each.valid for each in slices):
        yield Text.assemble(("╌╌ ", GRACE_STYLE), "with grace")
    yield Text.assemble(("██ ", ALLOCATED_STYLE), "the most allocated in it")
    if any(each.allocated > each.valid for each in slices):
        yield Text.assemble(("▓▓ ", BEYOND_STYLE), "above what is valid")
    yield Text(meaning, style="dim")


def _line(text: Text) -> Text:
    text.rstrip()
    text.no_wrap, text.overflow = True, "crop"
    return text
