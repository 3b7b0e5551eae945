"""Tables that lose nothing: what does not fit a terminal's width folds, and at worst becomes a card for each row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from earmark.cli import words

GAP = 2
FOLDED_WIDTH_MIN = 8


@dataclass(frozen=True)
class Column:
    """folds: may be broken into lines. optional: left out where no row has more than a zero in it."""

    header: str
    number: bool = False
    folds: bool = False
    optional: bool = False


class Rows:
    """Rows of cells under columns."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[Text | str]]) -> None:
        self._columns = columns
        self._cells = [[_text(cell) for cell in row] for row in rows]
        self._natural = [
            max([len(column.header), *(row[index].cell_len for row in self._cells)])
            for index, column in enumerate(columns)
        ]
        self._filled = [any(row[index].plain not in ("", "0") for row in self._cells) for index in range(len(columns))]
        self._widths: dict[int, int] | None = None
        self._above: Rows | None = None

    def after(self, above: "Rows | None") -> "Rows":
        """Goes on with a table of the same columns that is on the screen already.

        It gets a header of its own only where something is wider than before, or a column is no longer empty.
        """
        self._above = above
        if above:
            self._natural = [max(pair) for pair in zip(self._natural, above._natural, strict=True)]
            self._filled = [any(pair) for pair in zip(self._filled, above._filled, strict=True)]
        return self

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        shown = [index for index, column in enumerate(self._columns) if self._filled[index] or not column.optional]
        self._widths = self._fit(shown, options.max_width)
        if self._widths is None:
            yield from self._cards(shown)
        else:
            yield self._table(self._widths, headed=not self._above or self._above._widths != self._widths)

    def _fit(self, shown: Sequence[int], width_max: int) -> dict[int, int] | None:
        """The width of each column. What folds gets evenly of what the others leave; None where even the least is
        too much."""
        widths = {
            index: max(len(self._columns[index].header), min(self._natural[index], FOLDED_WIDTH_MIN))
            if self._columns[index].folds
            else self._natural[index]
            for index in shown
        }
        spare = width_max - sum(widths.values()) - GAP * (len(widths) - 1)
        if spare < 0:
            return None
        for _ in range(spare):
            growing = [index for index, width in widths.items() if width < self._natural[index]]
            if not growing:
                break
            widths[min(growing, key=lambda index: widths[index])] += 1
        return widths

    def _table(self, widths: Mapping[int, int], *, headed: bool) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold", show_header=headed)
        for index, width in widths.items():
            column = self._columns[index]
            justify: Any = "right" if column.number else "left"
            table.add_column(column.header, justify=justify, overflow="fold", width=width)
        for row in self._cells:
            table.add_row(*(row[index] for index in widths))
        return table

    def _cards(self, shown: Sequence[int]) -> Iterator[RenderableType]:
        for number, row in enumerate(self._cells):
            if number or self._above:
                yield ""
            yield card(*((self._columns[index].header.lower(), row[index]) for index in shown))


def card(*rows: tuple[str, Text | str]) -> Table:
    """One thing: a row for each of its fields that is not empty."""
    made = Table.grid(padding=(0, GAP, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for label, value in rows:
        if value:
            made.add_row(label, _text(value))
    return made


def _text(cell: Text | str) -> Text:
    return cell if isinstance(cell, Text) else Text(words.clean(cell))
