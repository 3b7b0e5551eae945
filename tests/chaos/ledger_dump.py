"""The final ledger, as the table has it: nothing of the service reads it for the checks."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg

from tests.chaos.history import LEDGER, Book, Entry

COLUMNS: Final = tuple(Entry.__dataclass_fields__)
ROWS_AT_ONCE: Final = 1_000


async def dump_ledger(url: str, folder: Path) -> int:
    """Writes every entry down, by organization and revision; returns how many there are."""
    connection = await asyncpg.connect(url)
    written = 0
    try:
        with Book(folder, LEDGER, "final") as book:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                question = f"SELECT {', '.join(COLUMNS)} FROM entry ORDER BY organization, revision"
                async for row in connection.cursor(question, prefetch=ROWS_AT_ONCE):
                    book.write(Entry(**{column: _plain(column, row[column]) for column in COLUMNS}))
                    written += 1
    finally:
        await connection.close()
    return written


def _plain(column: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return json.loads(value) if column == "after" else value
