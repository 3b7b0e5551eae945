"""Loading a catalogue from a CSV file: what is new is created, what differs may be changed, nothing is removed."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from services.ledger.catalog import change_catalog
from services.ledger.rules.cataloguing import CreateOffering, Terms, UpdateOffering
from services.ledger.rules.limits import (
    CREDITS_MAX,
    ID_PATTERN,
    PRICE_MAX,
    PRICE_PATTERN,
    TEXT_CHARACTERS_MAX,
    UNITS_MAX,
    has_control_characters,
)
from services.ledger.store import catalog_tables
from services.ledger.store.database import Connection

SAMPLE_CATALOG: Final = Path(__file__).parent / "catalog" / "offerings.csv"

COLUMNS: Final = (
    "offering_id",
    "display_name",
    "solution",
    "unit",
    "credits_per_block",
    "block_units",
    "max_credits",
)
WHOLE: Final = re.compile(r"[0-9]{1,13}", re.ASCII)


class BadCatalog(Exception):
    """The file has bad rows, all of which are named by line; nothing of it was loaded."""


@dataclass(frozen=True, slots=True)
class Loaded:
    offerings: int
    """In the file."""
    changed: int
    """Created, or changed since it was last loaded."""


async def load_catalog(connection: Connection, file: Path, *, only_new: bool = False) -> Loaded:
    """All of the file or, with BadCatalog, nothing. Loading it again changes nothing.

    With `only_new` what is there already stays as it is, whatever was changed by calls since.
    """
    with file.open(newline="", encoding="utf-8") as lines:
        try:
            rows = read_catalog(lines)
        except UnicodeDecodeError as error:
            raise BadCatalog(f"the file is not UTF-8: {error}") from error
    changed = 0
    async with connection.transaction():
        await catalog_tables.lock_catalog(connection)
        present = await catalog_tables.read_offerings(connection, [row.offering for row in rows])
        for row in rows:
            before = present.get(row.offering)
            if before and only_new:
                continue
            command = row if before is None else _update(row)
            changed += (await change_catalog(connection, command)).after != before
    return Loaded(len(rows), changed)


def read_catalog(lines: Iterable[str]) -> list[CreateOffering]:
    """The offerings of a CSV file with a header. Raises BadCatalog."""
    reader = csv.DictReader(lines)
    try:
        return _read_rows(reader)
    except csv.Error as error:
        raise BadCatalog(f"line {reader.reader.line_num}: {error}") from error


def _read_rows(reader: "csv.DictReader[str]") -> list[CreateOffering]:
    if sorted(reader.fieldnames or ()) != sorted(COLUMNS):
        raise BadCatalog(f"line 1: the columns must be {', '.join(COLUMNS)}; they are {reader.fieldnames}")
    problems: list[str] = []
    rows: dict[str, CreateOffering] = {}
    for row in reader:
        wrong = _wrong(row)
        if not wrong and row["offering_id"] in rows:
            wrong = [f"offering_id {row['offering_id']!r} is there twice"]
        problems += [f"line {reader.line_num}: {each}" for each in wrong]
        if not wrong:
            rows[row["offering_id"]] = _offering(row)
    if problems:
        raise BadCatalog("\n".join(problems))
    return list(rows.values())


def _wrong(row: dict[str, str]) -> list[str]:
    """What is wrong with a row, column by column."""
    if None in row.values() or None in row:
        return [f"must have {len(COLUMNS)} columns"]
    checks = {
        "offering_id must be 1 to 128 ASCII letters, digits and -._~, beginning with a letter or a digit": bool(
            ID_PATTERN.match(row["offering_id"])
        ),
        "display_name, solution and unit must have at most 256 characters, none of them a control character": all(
            len(row[each]) <= TEXT_CHARACTERS_MAX and not has_control_characters(row[each])
            for each in ("display_name", "solution", "unit")
        ),
        "credits_per_block must be a plain decimal number up to 1000000000 with at most 6 places": bool(
            PRICE_PATTERN.match(row["credits_per_block"])
        )
        and Decimal(row["credits_per_block"]) <= PRICE_MAX,
        "block_units must be a whole number from 1 to 10^12": bool(WHOLE.fullmatch(row["block_units"]))
        and 1 <= int(row["block_units"]) <= UNITS_MAX,
        "max_credits must be empty or a whole number up to 10^12": not row["max_credits"]
        or (bool(WHOLE.fullmatch(row["max_credits"])) and int(row["max_credits"]) <= CREDITS_MAX),
    }
    return [text for text, holds in checks.items() if not holds]


def _offering(row: dict[str, str]) -> CreateOffering:
    return CreateOffering(
        offering=row["offering_id"],
        price=Terms(
            credits_per_block=Decimal(row["credits_per_block"]),
            block_units=int(row["block_units"]),
            max_credits=int(row["max_credits"]) if row["max_credits"] else None,
        ),
        display_name=row["display_name"],
        solution=row["solution"],
        unit=row["unit"],
    )


def _update(row: CreateOffering) -> UpdateOffering:
    return UpdateOffering(row.offering, row.price, row.display_name, row.solution, row.unit)
