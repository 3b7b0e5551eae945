"""The catalogue's tables: one function is one SQL statement."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import asyncpg

from services.ledger.rules.price import Offering, Price
from services.ledger.store.database import Connection


async def wait_longer_for_lock(connection: Connection) -> None:
    """Changes of the catalogue are rare, and in one process one after the other."""
    await connection.execute("SET LOCAL lock_timeout = '5s'")


async def lock_catalog(connection: Connection) -> None:
    await connection.execute("SELECT FROM catalog FOR UPDATE")


async def read_offerings(connection: Connection, offerings: Sequence[str]) -> dict[str, Offering]:
    """Those of the given ids that exist, with every version of their prices."""
    rows = await connection.fetch(
        """
        SELECT offering, display_name, solution, unit, retired, changes, create_time, update_time,
               version, effective_time, credits_per_block, block_units, max_credits
        FROM offering JOIN offering_price USING (offering)
        WHERE offering = ANY ($1::text[])
        ORDER BY offering, version
        """,
        offerings,
    )
    return offerings_from(rows)


async def list_offerings(connection: Connection, after: str, limit: int) -> list[Offering]:
    """The next `limit` offerings by id after the given id."""
    rows = await connection.fetch(
        """
        SELECT offering, display_name, solution, unit, retired, changes, create_time, update_time,
               version, effective_time, credits_per_block, block_units, max_credits
        FROM (SELECT * FROM offering WHERE offering > $1 ORDER BY offering LIMIT $2) AS page
        JOIN offering_price USING (offering)
        ORDER BY offering, version
        """,
        after,
        limit,
    )
    return list(offerings_from(rows).values())


async def count_offerings(connection: Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM offering")
    return count


async def upsert_offering(connection: Connection, offering: Offering) -> None:
    await connection.execute(
        """
        INSERT INTO offering (offering, display_name, solution, unit, retired, changes, create_time, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (offering) DO UPDATE SET
            display_name = excluded.display_name, solution = excluded.solution, unit = excluded.unit,
            retired = excluded.retired, changes = excluded.changes, update_time = excluded.update_time
        """,
        offering.offering,
        offering.display_name,
        offering.solution,
        offering.unit,
        offering.retired,
        offering.changes,
        offering.create_time,
        offering.update_time,
    )


async def insert_prices(connection: Connection, offering: str, prices: Sequence[Price]) -> None:
    await connection.executemany(
        """
        INSERT INTO offering_price
            (offering, version, effective_time, credits_per_block, block_units, max_credits)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        [
            (
                offering,
                each.version,
                each.effective_time,
                each.credits_per_block,
                each.block_units,
                each.max_credits,
            )
            for each in prices
        ],
    )


async def read_catalog_request(connection: Connection, request_id: str) -> tuple[bytes, str] | None:
    """(meaning, answer as JSON) of a request id that was used."""
    row = await connection.fetchrow("SELECT meaning, answer FROM catalog_request WHERE request_id = $1", request_id)
    return (row["meaning"], row["answer"]) if row else None


async def insert_catalog_request(
    connection: Connection, request_id: str, meaning: bytes, answer: str, now: datetime
) -> None:
    await connection.execute(
        "INSERT INTO catalog_request (request_id, meaning, answer, recorded_time) VALUES ($1, $2, $3, $4)",
        request_id,
        meaning,
        answer,
        now,
    )


def offerings_from(rows: "Iterable[asyncpg.Record | tuple[Any, ...]]") -> dict[str, Offering]:
    """Of rows of an offering's columns and then a price's, ordered by offering and version."""
    offerings: dict[str, Offering] = {}
    for key, versions in groupby(rows, key=lambda row: row[0]):
        found = list(versions)
        display_name, solution, unit, retired, changes, create_time, update_time = found[0][1:8]
        offerings[key] = Offering(
            offering=key,
            display_name=display_name,
            solution=solution,
            unit=unit,
            retired=retired,
            prices=tuple(Price(*row[8:]) for row in found),
            changes=changes,
            create_time=create_time,
            update_time=update_time,
        )
    return offerings
