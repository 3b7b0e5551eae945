"""Tables that lose nothing: what does not fit a terminal's width folds, and at worst becomes a card for each row."""

from collections.abc import Iterator, Sequence
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
        cells = [[_text(cell) for cell in row] for row in rows]
        shown = [
            index
            for index, column in enumerate(columns)
            if not column.optional or any(row[index].plain not in ("", "0") for row in cells)
        ]
        self.columns = [columns[index] for index in shown]
        self.rows = [[row[index] for index in shown] for row in cells]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        widths = self._widths(options.max_width)
        if widths is None:
            yield from self._cards()
        else:
            yield self._table(widths)

    def _widths(self, width_max: int) -> list[int] | None:
        """What folds gets evenly of what the others leave; None where even the least is too much."""
        natural = [
            max([len(column.header), *(row[index].cell_len for row in self.rows)])
            for index, column in enumerate(self.columns)
        ]
        widths = [
            max(len(column.header), min(width, FOLDED_WIDTH_MIN)) if column.folds else width
            for column, width in zip(self.columns, natural, strict=True)
        ]
        spare = width_max - sum(widths) - GAP * (len(widths) - 1)
        if spare < 0:
            return None
        for _ in range(spare):
            growing = [index for index, width in enumerate(widths) if width < natural[index]]
            if not growing:
                break
            widths[min(growing, key=lambda index: widths[index])] += 1
        return widths

    def _table(self, widths: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        for column, width in zip(self.columns, widths, strict=True):
            justify: Any = "right" if column.number else "left"
            table.add_column(column.header, justify=justify, overflow="fold", width=width)
        for row in self.rows:
            table.add_row(*row)
        return table

    def _cards(self) -> Iterator[RenderableType]:
        for number, row in enumerate(self.rows):
            if number:
                yield ""
            labels = (column.header.lower() for column in self.columns)
            yield card(*zip(labels, row, strict=True))


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
