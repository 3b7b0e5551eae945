"""What the database holds: of one organization in a moment, of all in full."""

from collections.abc import Iterable, Mapping
from typing import Final

from services.ledger.store.database import Connection, Pool

TABLES: Final = """
    SELECT relname AS name, coalesce((
        SELECT max(attname::text) FROM pg_attribute
        WHERE attrelid = pg_class.oid AND attname IN ('organization', 'offering') AND NOT attisdropped
    ), $$''$$) AS owner
    FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace ORDER BY 1
"""
BRIEF: Final = """
    SELECT concat_ws(' ', revision, digest,
        (SELECT count(*) FROM request WHERE request.organization = organization.organization))
    FROM organization WHERE organization = $1
"""

Whole = Mapping[tuple[str, str], str]
"""By table and organization, or else offering: how many rows, and their digest. Other tables have one in all."""


async def brief(pool: Pool, organization: str) -> str:
    """Changes with every entry of the organization, and with what is remembered of its calls."""
    found: str | None = await pool.fetchval(BRIEF, organization)
    return found or "none"


async def whole(connection: Connection) -> Whole:
    """Every row of every table."""
    found: dict[tuple[str, str], str] = {}
    for table in await connection.fetch(TABLES):
        rows = await connection.fetch(
            f"""
            SELECT {table["owner"]}::text AS owner,
                count(*) || ' rows ' || sum(('x' || left(md5(kept::text), 12))::bit(48)::bigint) AS digest
            FROM {table["name"]} AS kept GROUP BY 1
            """
        )
        found.update({(table["name"], row["owner"]): row["digest"] for row in rows})
    return found


def unexplained(before: Whole, after: Whole, accepted: Iterable[bytes]) -> list[str]:
    """What differs, though no request that was accepted names whose it is; what is nobody's may differ if any was."""
    requests = list(accepted)
    changed = sorted(each for each in before.keys() | after.keys() if before.get(each) != after.get(each))
    return [
        f"{table}{' of ' + owner if owner else ''}: {before.get((table, owner), 'nothing')}"
        f" became {after.get((table, owner), 'nothing')}"
        for table, owner in changed
        if not any(owner.encode() in request for request in requests)
    ]
