"""The allocator with the guard taken out, by which what was decided without a lock is written only if it still holds.

As with the unlocked one, whoever has read goes on only past a gate.
"""

from collections.abc import Mapping, Sequence

from services.allocator.__main__ import main
from services.ledger import lane, opening, together
from services.ledger.rules.commands import Call
from services.ledger.store import statements
from services.ledger.store.book_rows import BookRows
from services.ledger.store.database import Connection
from tests.support.race import pass_the_gate

NO_GUARD = """
    guard AS MATERIALIZED (
        SELECT $1::text AS organization WHERE $2::bigint IS NOT NULL AND $3::timestamptz IS NOT NULL)"""


async def read_and_pass_the_gate(connection: Connection, calls: Mapping[str, Sequence[Call]]) -> dict[str, BookRows]:
    rows = await opening.read_rows(connection, calls)
    async with connection.transaction():
        await pass_the_gate(connection)
    return rows


if __name__ == "__main__":
    setattr(statements, "GUARD", NO_GUARD)  # noqa: B010 - it is final to everybody else
    setattr(together, "read_rows", read_and_pass_the_gate)  # noqa: B010
    setattr(lane, "BATCH_CALLS_MAX", 1)  # noqa: B010
    main()
