"""The allocator with the row lock taken out: what the test of the race must notice.

Whoever reads the organization to change it reads it as always, but nobody waits for anybody. So that nothing is left to
luck, each call is a transaction of its own, and one that has read goes on only past a gate, which the test holds shut
until both processes have read.
"""

from collections.abc import Sequence

from services.allocator.__main__ import main
from services.ledger import lane, opening, transaction
from services.ledger.rules.commands import Call
from services.ledger.store import reads
from services.ledger.store.book_rows import BookRows
from services.ledger.store.database import Connection
from tests.support.race import pass_the_gate


async def exists(connection: Connection, organization: str) -> bool:
    return (await opening.read_rows_of(connection, organization, ())).state is not None


async def read_and_pass_the_gate(connection: Connection, organization: str, calls: Sequence[Call]) -> BookRows:
    rows = await opening.read_rows_of(connection, organization, calls)
    await pass_the_gate(connection)
    return rows


if __name__ == "__main__":
    reads.lock_organization = exists
    setattr(transaction, "read_rows_of", read_and_pass_the_gate)  # noqa: B010 - it is imported there
    setattr(lane, "TOGETHER_OPERATIONS_MAX", 0)  # noqa: B010 - it is final to everybody else
    setattr(lane, "BATCH_CALLS_MAX", 1)  # noqa: B010
    main()
