"""What a service asks of Postgres, statement by statement, and how many rows each touches."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from asyncpg.connection import LoggedQuery

from services.ledger.store.database import Connection, Pool

SCANS: Final = frozenset({"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Tid Scan", "Sample Scan"})


@dataclass(frozen=True)
class Asked:
    """One statement as it was sent, with its arguments."""

    statement: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Touched:
    """What carrying a statement out touched."""

    rows: dict[str, int]
    """By table: every row that a scan read, whether or not it was wanted."""
    scanned_whole: frozenset[str]
    """The tables that were read from their beginning to their end."""
    blocks: int
    """Pages of 8 KiB that were looked at, indexes included."""

    @property
    def total(self) -> int:
        return sum(self.rows.values())


@asynccontextmanager
async def recorded(pool: Pool) -> AsyncIterator[list[Asked]]:
    """The SELECT statements that are sent over the pool, which has one connection, during the block."""
    asked: list[Asked] = []

    def note(query: LoggedQuery) -> None:
        if query.query.lstrip().startswith(("SELECT", "WITH")):
            asked.append(Asked(query.query.strip(), tuple(query.args or ())))

    assert pool.get_max_size() == 1
    connection = await pool.acquire()
    connection.add_query_logger(note)
    await pool.release(connection)
    try:
        yield asked
    finally:
        connection = await pool.acquire()
        connection.remove_query_logger(note)
        await pool.release(connection)


async def touched(connection: Connection, asked: Asked) -> Touched:
    """Carries the statement out again: prepared, so with the plan that the connection's settings give it."""
    await connection.execute(f"PREPARE asked_again AS {asked.statement}")
    try:
        values = ", ".join(map(_literal, asked.arguments))
        execute = f"EXECUTE asked_again({values})" if values else "EXECUTE asked_again"
        told = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {execute}")
    finally:
        await connection.execute("DEALLOCATE asked_again")
    plan = json.loads(told)[0]["Plan"]
    rows: dict[str, int] = {}
    for node in _nodes(plan):
        if node["Node Type"] in SCANS:
            removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
            read = round((node["Actual Rows"] + removed) * node["Actual Loops"])
            rows[node["Relation Name"]] = rows.get(node["Relation Name"], 0) + read
    whole = {node["Relation Name"] for node in _nodes(plan) if node["Node Type"] == "Seq Scan"}
    return Touched(rows, frozenset(whole), plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def rows_read(pool: Pool) -> dict[str, int]:
    """Of each table, since ever; the pool has one connection, whose own reading is counted up to here."""
    async with pool.acquire() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        rows = await connection.fetch(
            "SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) AS read FROM pg_stat_user_tables"
        )
    return {row["relname"]: row["read"] for row in rows}


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _literal(value: object) -> str:
    """Untyped, so that it takes the type of the parameter."""
    if value is None:
        return "NULL"
    if isinstance(value, list | tuple):
        return _quoted("{" + ",".join(f'"{each}"' for each in value) + "}")
    return _quoted(value.isoformat() if isinstance(value, datetime) else str(value))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
