"""One statement that writes rows of several tables of one organization: one round trip, one start of the executor.

It has a part for each table that gets rows, and no others. A single row travels as scalars, which cost Postgres and the
driver about a third less than arrays of one; more travel as one array for each column. The organization is `$1`.

Many rows of a table that rows are only added to go by COPY, before the statement.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

from services.ledger.store.database import Connection

Row: TypeAlias = tuple[Any, ...]

COPIED_ROWS_MIN: Final = 64
"""With fewer the two round trips of a COPY cost more than it saves."""
STATEMENTS_KEPT: Final = 256
"""There is one for each set of tables, and for each of these with one row or with several."""

GUARD: Final = """
    locked AS MATERIALIZED (
        SELECT organization FROM organization WHERE organization = $1 AND revision = $2 FOR UPDATE SKIP LOCKED),
    guard AS MATERIALIZED (SELECT organization FROM locked WHERE earmark_now() <= $3::timestamptz)"""
"""The clock is read once the row is locked."""
GUARD_PARAMETERS: Final = 3


@dataclass(frozen=True, slots=True)
class Copied:
    """How many rows are added at once: by COPY, for which Postgres and the driver do less for each of them."""

    table: str
    record: Callable[[Row], Row] = tuple
    """The values as their columns have them, of those that are written."""


@dataclass(frozen=True, eq=False)
class Table:
    """Where rows go, and how."""

    columns: Mapping[str, str]
    """The type of each, in the order of a row's values; without the organization."""
    write: str
    """SQL with `{columns}`, `{values}`, and `{rows}`, which are called `new`; with `{only}`, a condition."""
    values: Mapping[str, str] = field(default_factory=dict)
    """What is written instead of `new.column`, where that is not it."""
    copied: Copied | None = None
    """Of a table that rows are only ever added to."""


Parts: TypeAlias = Iterable[tuple[Table, Sequence[Row]]]
Shape: TypeAlias = tuple[tuple[Table, bool], ...]
"""The tables that get rows, and whether each gets one."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """What is to be written if the organization is still at the revision."""

    organization: str
    revision: int
    parts: Parts


async def write_rows(connection: Connection, organization: str, parts: Parts) -> None:
    """Writes all of it, in no particular order. Tables without rows are left out."""
    filled = []
    for table, rows in _filled(parts):
        if table.copied and len(rows) >= COPIED_ROWS_MIN:
            await _copy(connection, organization, table, table.copied, rows)
        else:
            filled.append((table, rows))
    if filled:
        await connection.execute(_statement(_shape(filled)), organization, *_arguments(filled))


async def _copy(connection: Connection, organization: str, table: Table, copied: Copied, rows: Sequence[Row]) -> None:
    records = [(organization, *copied.record(row)) for row in rows]
    await connection.copy_records_to_table(copied.table, records=records, columns=["organization", *table.columns])


def of_one_shape(guarded: Iterable[Guarded]) -> dict[Shape, list[Guarded]]:
    """What `write_rows_if` can write at once."""
    shapes: dict[Shape, list[Guarded]] = {}
    for each in guarded:
        filled = _filled(each.parts)
        shapes.setdefault(_shape(filled), []).append(Guarded(each.organization, each.revision, filled))
    return shapes


async def write_rows_if(
    connection: Connection, shape: Shape, guarded: Sequence[Guarded], until: datetime
) -> frozenset[str]:
    """Locks each organization that nobody else has and that is still at its revision, and writes what is its own.

    A statement for each, all in one round trip and one transaction. Returns which were written; none that is locked
    later than `until`. It waits for nobody.
    """
    arguments = [(each.organization, each.revision, until, *_arguments(each.parts)) for each in guarded]
    found = await connection.fetchmany(_guarded_statement(shape), arguments)
    return frozenset(row["organization"] for row in found)


def _filled(parts: Parts) -> list[tuple[Table, Sequence[Row]]]:
    return [(table, rows) for table, rows in parts if rows]


def _shape(parts: Parts) -> Shape:
    return tuple((table, len(rows) == 1) for table, rows in parts)


def _arguments(parts: Parts) -> list[Any]:
    arguments: list[Any] = []
    for _, rows in parts:
        arguments.extend(rows[0] if len(rows) == 1 else map(list, zip(*rows, strict=True)))
    return arguments


@lru_cache(maxsize=STATEMENTS_KEPT)
def _statement(shape: Shape) -> str:
    written = _written(shape, 2, only="")
    others = ", ".join(f"part_{number} AS ({each})" for number, each in enumerate(written[:-1]))
    return f"WITH {others} {written[-1]}" if others else written[-1]


@lru_cache(maxsize=STATEMENTS_KEPT)
def _guarded_statement(shape: Shape) -> str:
    written = _written(shape, 1 + GUARD_PARAMETERS, only="EXISTS (SELECT FROM guard)")
    numbered = (f"part_{number} AS ({each})" for number, each in enumerate(written))
    return f"WITH {', '.join((GUARD, *numbered))} SELECT organization FROM guard"


def _written(shape: Shape, first: int, *, only: str) -> list[str]:
    written: list[str] = []
    for table, one in shape:
        written.append(
            table.write.format(
                columns=", ".join(table.columns),
                values=", ".join(table.values.get(each, f"new.{each}") for each in table.columns),
                rows=_rows(table, first, one=one),
                only=only or "true",
            )
        )
        first += len(table.columns)
    return written


def _rows(table: Table, first: int, *, one: bool) -> str:
    """A row source called `new`, of the parameters from the `first` on."""
    array = "" if one else "[]"
    parameters = ", ".join(f"${number}::{kind}{array}" for number, kind in enumerate(table.columns.values(), first))
    source = f"(VALUES ({parameters}))" if one else f"unnest({parameters})"
    return f"{source} AS new ({', '.join(table.columns)})"
