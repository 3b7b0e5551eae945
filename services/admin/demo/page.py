"""How the story is printed: what happened on the left, the figures after it on the right."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from datetime import datetime
from typing import Final

from rich.console import Console, RenderableType
from rich.text import Text

from earmark.cli import entry_show, show
from earmark.v1.resources_pb2 import Entry
from services.admin.demo.check import Figures

WIDTH_MIN: Final = 80
WIDTH_MAX: Final = 120
WIDE: Final = 100
INDENT: Final = "    "
HEADINGS: Final = tuple(each.name for each in fields(Figures))
FIGURE_WIDTHS: Final = tuple(max(len(heading), len("-40,000")) for heading in HEADINGS)


class Page:
    """Writes line after line, as things happen. Plain text where nobody looks on: without a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = max(WIDTH_MIN, min(console.width, WIDTH_MAX))
        self._gap = " " * (3 if self._width >= WIDE else 1)
        self._left = self._width - sum(FIGURE_WIDTHS) - len(self._gap) * len(FIGURE_WIDTHS)
        self._chapters = 0
        self.steps = 0

    def title(self, text: str, paragraph: str) -> None:
        self._print(Text(text, "bold"))
        self._print(Text("=" * len(text), "bold"))
        for line in textwrap.wrap(paragraph, self._width):
            self._print(Text(line))

    def chapter(self, title: str, *, steps: bool = True) -> None:
        """A numbered heading; where steps follow, with the names of the figures over their columns."""
        self._chapters += 1
        heading = f"{self._chapters}. {title}".ljust(self._left)
        self._print(Text())
        columns = self._columns(HEADINGS) if steps else ()
        self._print(Text.assemble((heading, "bold"), *((each, "dim") for each in columns)))

    def step(self, text: str, figures: Figures) -> None:
        """A numbered line, or a few, with the figures on the first."""
        self.steps += 1
        first, *rest = textwrap.wrap(text, self._left - len(INDENT), break_on_hyphens=False)
        line = Text(f"{self.steps:>2}  {first}".ljust(self._left))
        values = astuple(figures)
        for heading, value, cell in zip(HEADINGS, values, self._columns(f"{each:,}" for each in values), strict=True):
            line.append(cell, _style(heading, value))
        self._print(line)
        for more in rest:
            self._print(Text(INDENT + more))

    def jump(self, now: datetime, day: int) -> None:
        """Time was moved to this instant."""
        self._print(Text(f">>  {now:%Y-%m-%d}, day {day}", "cyan"))

    def aside(self, label: str, text: str, style: str = "dim") -> None:
        """Below a step, across the page: what belongs to it and has no figures of its own."""
        indent = f"{INDENT}{label}: "
        lines = textwrap.wrap(text, self._width, initial_indent=indent, subsequent_indent=INDENT + "  ")
        for line in lines:
            self._print(Text(line, style))

    def change(self, entry: Entry) -> None:
        """What the watcher beside the story sees, as `earmark watch` shows it."""
        pieces = entry_show.line(entry).pieces
        self._show(show.Line(Text(" " * (len(INDENT) - 2)), *pieces, indent=len(INDENT) + entry_show.INDENT))

    def screen(self, command: str, parts: Iterable[RenderableType]) -> None:
        """What a command of the command line shows."""
        self._print(Text())
        for line in textwrap.wrap(f"$ {command}", self._width, subsequent_indent=INDENT, break_on_hyphens=False):
            self._print(Text(line, "cyan"))
        for part in parts:
            self._show(part)
        self._print(Text())

    def _show(self, part: RenderableType) -> None:
        self._console.print(part, width=self._width)
        self._console.file.flush()

    def end(self, text: str) -> None:
        self._print(Text())
        self._print(Text(text, "bold green"))

    def _columns(self, cells: Iterable[str]) -> Sequence[str]:
        return [self._gap + cell.rjust(width) for cell, width in zip(cells, FIGURE_WIDTHS, strict=True)]

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)
        self._console.file.flush()


def _style(heading: str, value: int) -> str:
    """What a person should notice: an overdraft, something suspended, credits in grace."""
    if value < 0:
        return "bold red"
    if value and heading in ("grace", "suspended"):
        return "yellow"
    return "" if value else "dim"
