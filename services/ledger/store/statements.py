"""One statement that writes rows of several tables: one round trip, and one start of the executor.

It has a part for each table that gets rows, and no others. A single row travels as scalars, which cost Postgres and the
driver about a third less than arrays of one; more travel as one array for each column.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from services.ledger.store.database import Connection

Row = tuple[Any, ...]

STATEMENTS_KEPT: Final = 256
"""There is one for each set of tables, and for each of these with one row or with several."""

GUARD_COLUMNS: Final = 3
GUARD: Final = """
    locked AS MATERIALIZED (
        SELECT found.organization FROM unnest($1::text[], $2::bigint[]) AS expected (organization, revision)
            CROSS JOIN LATERAL (
                SELECT organization FROM organization
                WHERE organization = expected.organization AND revision = expected.revision
                FOR UPDATE SKIP LOCKED) AS found),
    guard AS MATERIALIZED (SELECT organization FROM locked WHERE earmark_now() <= $3::timestamptz)"""
"""The clock is read once the rows are locked."""


@dataclass(frozen=True, eq=False)
class Table:
    """Where rows go, and how. The first column is the organization."""

    columns: Mapping[str, str]
    """The type of each, in the order of a row's values."""
    write: str
    """SQL with `{columns}`, `{values}`, and `{rows}`, which are called `new`; with `{only}`, a condition on these; and
    with `{these}`, an array of the organizations that are written to."""
    values: Mapping[str, str] = field(default_factory=dict)
    """What is written instead of `new.column`, where that is not it."""


Rows = Iterable[tuple[Table, Sequence[Row]]]


async def write_rows(connection: Connection, rows: Rows) -> None:
    """Writes all of it, in no particular order. Tables without rows are left out."""
    parts = [(table, each) for table, each in rows if each]
    if parts:
        await connection.execute(_statement(_shape(parts)), *_arguments(parts))


async def write_rows_if(
    connection: Connection, revisions: Mapping[str, int], until: datetime, rows: Rows
) -> frozenset[str]:
    """Locks the organizations that nobody else has and that are still at these revisions, and writes what is theirs.

    Returns which they are; none once it is later than `until`. It waits for nobody.
    """
    parts = [(table, each) for table, each in rows if each]
    guard = (list(revisions), list(revisions.values()), until)
    found = await connection.fetch(_guarded_statement(_shape(parts)), *guard, *_arguments(parts))
    return frozenset(row["organization"] for row in found)


def _shape(parts: Iterable[tuple[Table, Sequence[Row]]]) -> tuple[tuple[Table, bool], ...]:
    """For each table, whether it gets one row."""
    return tuple((table, len(rows) == 1) for table, rows in parts)


def _arguments(parts: Iterable[tuple[Table, Sequence[Row]]]) -> list[Any]:
    arguments: list[Any] = []
    for _, rows in parts:
        arguments.extend(rows[0] if len(rows) == 1 else map(list, zip(*rows, strict=True)))
    return arguments


@lru_cache(maxsize=STATEMENTS_KEPT)
def _statement(shape: tuple[tuple[Table, bool], ...]) -> str:
    parts = _parts(shape, 1, guarded=False)
    others = ", ".join(f"part_{number} AS ({each})" for number, each in enumerate(parts[:-1]))
    return f"WITH {others} {parts[-1]}" if others else parts[-1]


@lru_cache(maxsize=STATEMENTS_KEPT)
def _guarded_statement(shape: tuple[tuple[Table, bool], ...]) -> str:
    parts = _parts(shape, 1 + GUARD_COLUMNS, guarded=True)
    numbered = (f"part_{number} AS ({each})" for number, each in enumerate(parts))
    return f"WITH {', '.join((GUARD, *numbered))} SELECT organization FROM guard"


def _parts(shape: tuple[tuple[Table, bool], ...], first: int, *, guarded: bool) -> list[str]:
    parts: list[str] = []
    for table, one in shape:
        keys = f"ARRAY[${first}]" if one else f"${first}"
        these = "ARRAY(SELECT organization FROM guard)" if guarded else keys
        parts.append(
            table.write.format(
                columns=", ".join(table.columns),
                values=", ".join(table.values.get(each, f"new.{each}") for each in table.columns),
                rows=_rows(table, first, one=one),
                only=f"WHERE new.organization = ANY ({these})" if guarded else "",
                these=these,
            )
        )
        first += len(table.columns)
    return parts


def _rows(table: Table, first: int, *, one: bool) -> str:
    """A row source called `new`, of the parameters from the `first` on."""
    array = "" if one else "[]"
    parameters = ", ".join(f"${number}::{kind}{array}" for number, kind in enumerate(table.columns.values(), first))
    source = f"(VALUES ({parameters}))" if one else f"unnest({parameters})"
    return f"{source} AS new ({', '.join(table.columns)})"
