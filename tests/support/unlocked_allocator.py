"""The allocator with the row lock taken out: what the test of the race must notice.

Whoever reads the organization to change it reads it as always, but nobody waits for anybody. So that nothing is left to
luck, each call is a transaction of its own, and one that has read goes on only past a gate, which the test holds shut
until both processes have read.
"""

from services.allocator.__main__ import main
from services.ledger import lane
from services.ledger.rules.model import Organization
from services.ledger.store import reads
from services.ledger.store.database import Connection
from tests.support.race import GATE


async def read_without_lock(connection: Connection, organization: str) -> Organization | None:
    state = await reads.read_organization(connection, organization)
    await connection.execute("SET LOCAL lock_timeout = 0")
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", GATE)
    return state


if __name__ == "__main__":
    reads.lock_organization = read_without_lock
    setattr(lane, "BATCH_CALLS_MAX", 1)  # noqa: B010 - it is final to everybody else
    main()
