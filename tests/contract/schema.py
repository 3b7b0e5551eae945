"""What in a database's own catalogue would keep the tables from being distributed by organization."""

from typing import Final

from services.ledger.store.database import Connection

APART: Final = frozenset(
    {
        "catalog",
        "catalog_request",
        "clock",
        "offering",
        "offering_price",
        "schema_info",
        "schema_migration",
    }
)
"""The tables that belong to no organization: the catalogue, the clock, and the schema's own."""

CHANGING: Final = frozenset({"UPDATE", "DELETE", "TRUNCATE"})


async def tables(connection: Connection) -> set[str]:
    rows = await connection.fetch(
        """
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'f', 'm', 'v')
        """
    )
    return {row["relname"] for row in rows}


async def unique_keys(connection: Connection) -> dict[str, list[list[str]]]:
    """The columns of each table's unique indexes, the primary key first; an expression is an empty name."""
    rows = await connection.fetch(
        """
        SELECT t.relname AS name, i.indisprimary, array(
            SELECT coalesce(a.attname, '')
            FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, place)
            LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum AND k.attnum > 0
            ORDER BY k.place) AS columns
        FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
        WHERE t.relnamespace = 'public'::regnamespace AND i.indisunique
        ORDER BY t.relname, i.indisprimary DESC
        """
    )
    found: dict[str, list[list[str]]] = {}
    for row in rows:
        found.setdefault(row["name"], []).append(row["columns"])
    return found


async def primary_keys(connection: Connection) -> dict[str, list[str]]:
    rows = await connection.fetch(
        """
        SELECT t.relname AS name, array(
            SELECT a.attname FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, place)
            JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum ORDER BY k.place) AS columns
        FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
        WHERE t.relnamespace = 'public'::regnamespace AND c.contype = 'p'
        """
    )
    return {row["name"]: row["columns"] for row in rows}


async def spanning(connection: Connection) -> set[str]:
    """Everything that spans organizations, each with the table that it belongs to; empty when all is well."""
    keys = await unique_keys(connection)
    found = {
        f"unique index of {table} on {', '.join(columns)}"
        for table, indexes in keys.items()
        for columns in indexes
        if table not in APART and columns[:1] != ["organization"]
    }
    primary = await primary_keys(connection)
    found |= {f"{table} without a primary key" for table in await tables(connection) if table not in primary}
    rows = await connection.fetch(
        """
        SELECT 'sequence ' || relname AS what FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'
        UNION ALL
        SELECT CASE contype WHEN 'f' THEN 'foreign key' WHEN 'x' THEN 'exclusion' ELSE 'constraint trigger' END
            || ' of ' || conrelid::regclass::text
        FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype IN ('f', 'x', 't')
        """
    )
    return found | {row["what"] for row in rows}


async def granted(connection: Connection, table: str) -> set[str]:
    """The privileges on a table that anybody holds, its owner included."""
    rows = await connection.fetch(
        """
        SELECT privilege_type FROM pg_class, aclexplode(coalesce(relacl, acldefault('r', relowner)))
        WHERE oid = $1::text::regclass
        """,
        table,
    )
    return {row["privilege_type"] for row in rows}


async def key_columns_that_do_not_compare_by_bytes(connection: Connection) -> set[str]:
    rows = await connection.fetch(
        """
        SELECT t.relname || '.' || a.attname AS name
        FROM pg_index i
        JOIN pg_class t ON t.oid = i.indrelid
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (i.indkey)
        JOIN pg_collation c ON c.oid = a.attcollation
        WHERE t.relnamespace = 'public'::regnamespace AND c.collname <> 'C'
        """
    )
    return {row["name"] for row in rows}
