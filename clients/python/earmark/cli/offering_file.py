"""The offerings of a CSV file, and whatever is wrong with them."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

COLUMNS: Final = (
    "offering_id",
    "display_name",
    "solution",
    "unit",
    "credits_per_block",
    "block_units",
    "max_credits",
)
TEXTS: Final = ("display_name", "solution", "unit")

# The bounds of the contract.
TEXT_CHARACTERS_MAX: Final = 256
PRICE_MAX: Final = 10**9
WHOLE_MAX: Final = 10**12
OFFERINGS_MAX: Final = 10_000

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,127}", re.ASCII)
_PRICE: Final = re.compile(r"[0-9]{1,16}(\.[0-9]{1,6})?", re.ASCII)
_WHOLE: Final = re.compile(r"[0-9]{1,13}", re.ASCII)
# A byte that is not UTF-8, as `surrogateescape` has it; no character of a text.
_NOT_UTF_8: Final = re.compile("[\udc80-\udcff]")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_SHOWN_CHARACTERS: Final = 40


@dataclass(frozen=True, kw_only=True)
class Row:
    """A good one. line: in the file, from 1."""

    line: int
    offering: str
    display_name: str
    solution: str
    unit: str
    credits_per_block: Decimal
    block_units: int
    max_credits: int | None


@dataclass(frozen=True)
class Read:
    """What a file says. problems: a sentence for each, with its line, in the order of the lines."""

    rows: Sequence[Row]
    problems: Sequence[str]


def read(content: bytes) -> Read:
    """All of a file, whatever is wrong with it."""
    problems: list[str] = []
    records = _records(content.decode("utf-8", "surrogateescape").removeprefix("\ufeff"), problems)
    first, header = next(records, (1, []))
    problems += [f"Line {first}: {each}." for each in _wrong_columns(header)]
    rows: list[Row] = []
    first_lines: dict[str, int] = {}
    for line, cells in records:
        row, wrong = _row(line, header, cells)
        offering = dict(zip(header, cells, strict=False)).get("offering_id", "")
        if (there := first_lines.setdefault(offering, line)) != line and _ID.fullmatch(offering):
            wrong.append(f"offering_id {offering!r} is that of line {there} as well")
        problems += [f"Line {line}: {each}." for each in wrong]
        rows += [row] if row else []
    if not rows and not problems:
        problems.append("There are no offerings in it.")
    if len(rows) > OFFERINGS_MAX:
        problems.append(f"There are {len(rows):,} offerings in it; a catalogue holds {OFFERINGS_MAX:,}.")
    return Read(rows, problems)


def _records(text: str, problems: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not empty, with the number of its first line. What is no CSV becomes a problem."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            problems.append(f"Line {line}: it is not CSV: {error}.")
            continue
        if cells is None:
            return
        if cells:
            yield line, cells


def _wrong_columns(header: Sequence[str]) -> list[str]:
    missing = [f"the column {each} is missing" for each in COLUMNS if each not in header]
    unknown = [f"the column {_shown(each)} is unknown" for each in header if each not in COLUMNS]
    twice = [f"the column {each} is there more than once" for each in COLUMNS if header.count(each) > 1]
    return [*missing, *unknown, *twice]


def _row(line: int, header: Sequence[str], cells: Sequence[str]) -> tuple[Row | None, list[str]]:
    """What is wrong, column by column; no row if anything is."""
    if len(cells) != len(header):
        return None, [f"it has {len(cells)} cells, and the header {len(header)}"]
    values = dict(zip(header, cells, strict=True))
    wrong = [f"{column} {rule}" for column in COLUMNS if column in values for rule in _broken(column, values[column])]
    if wrong or not values.keys() >= set(COLUMNS):
        return None, wrong
    return _made(line, values), []


def _made(line: int, values: Mapping[str, str]) -> Row:
    return Row(
        line=line,
        offering=values["offering_id"],
        display_name=values["display_name"],
        solution=values["solution"],
        unit=values["unit"],
        credits_per_block=Decimal(values["credits_per_block"]),
        block_units=int(values["block_units"]),
        max_credits=int(values["max_credits"]) if values["max_credits"] else None,
    )


def _broken(column: str, value: str) -> Iterator[str]:
    """The rules that the value of a column does not keep."""
    if _NOT_UTF_8.search(value):
        yield "is not UTF-8"
    elif column in TEXTS:
        if len(value) > TEXT_CHARACTERS_MAX:
            yield f"has {len(value):,} characters, more than {TEXT_CHARACTERS_MAX}"
        if _CONTROL.search(value):
            yield "holds a control character, such as a line break"
    elif rule := _broken_form(column, value):
        yield f"{rule}, not {_shown(value)}"


def _broken_form(column: str, value: str) -> str:
    if column == "offering_id" and not _ID.fullmatch(value):
        return "must be 1 to 128 ASCII letters, digits and -._~, beginning with a letter or a digit"
    if column == "credits_per_block" and not (_PRICE.fullmatch(value) and Decimal(value) <= PRICE_MAX):
        return f"must be a plain decimal number up to {PRICE_MAX:,} with at most 6 places"
    if column == "block_units" and not (_WHOLE.fullmatch(value) and 1 <= int(value) <= WHOLE_MAX):
        return "must be a whole number from 1 to 10^12"
    if column == "max_credits" and value and not (_WHOLE.fullmatch(value) and int(value) <= WHOLE_MAX):
        return "must be empty or a whole number up to 10^12"
    return ""


def _shown(value: str) -> str:
    """Between quotes, without what could steer a terminal, and not endlessly."""
    return repr(value) if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]!r} ..."
