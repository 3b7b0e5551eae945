"""A race of many clients for credits that do not suffice for all, and the check of how it ended."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from earmark import EarmarkError
from earmark.messages import MessageClient
from earmark.v1.resources_pb2 import Balance
from services.admin.verify import verify
from services.ledger.store.database import Connection

ORGANIZATION: Final = "o-1"
OFFERING: Final = "seat"
DEADLINE_SECONDS: Final = 20.0
COUNTER: Final = "shared"
"""An allocation that everybody counts up."""

GATE: Final = 1
"""The number of an advisory lock that an unlocked allocator passes after it has read."""

Attempt = Callable[[MessageClient, str], Coroutine[Any, Any, Balance]]
"""One runner's call, given its client and its name; returns the balance of the answer."""


@dataclass(frozen=True)
class Race:
    """How it ended: for each runner the balance in its answer, or the error."""

    balances: dict[str, Balance]
    errors: dict[str, EarmarkError]


async def take_a_seat(client: MessageClient, runner: str) -> Balance:
    """Each has an allocation of its own."""
    answer = await client.enable_allocation(ORGANIZATION, offering=OFFERING, units=1, allocation=runner)
    return answer.balance


async def count_up(client: MessageClient, runner: str) -> Balance:
    """All have the same allocation."""
    answer = await client.adjust_allocation(ORGANIZATION, COUNTER, delta_units=1)
    return answer.balance


async def race(addresses: Sequence[str], runners: int, attempt: Attempt) -> Race:
    """Each runner has a client of its own, to one of the addresses in turn; all are connected before one starts."""
    result = Race({}, {})
    barrier = asyncio.Barrier(runners)

    async def run(name: str, client: MessageClient) -> None:
        await client.get_organization(ORGANIZATION)
        await barrier.wait()
        try:
            result.balances[name] = await attempt(client, name)
        except EarmarkError as error:
            result.errors[name] = error

    async with AsyncExitStack() as open_clients, asyncio.TaskGroup() as running:
        for number, address in zip(range(runners), itertools.cycle(addresses)):
            client = await open_clients.enter_async_context(MessageClient(address))
            running.create_task(run(f"runner-{number}", client))
    return result


async def pass_the_gate(connection: Connection) -> None:
    """To be awaited in a transaction; an unlocked allocator does so after it has read."""
    await connection.execute("SET LOCAL lock_timeout = 0")
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", GATE)


async def race_that_begins_together(
    connection: Connection, addresses: Sequence[str], runners: int, attempt: Attempt
) -> Race:
    """Of unlocked allocators: none goes on before each has read the same state."""
    await connection.execute("SELECT pg_advisory_lock($1)", GATE)
    running = asyncio.create_task(race(addresses, runners, attempt))
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await _waiting_at_the_gate(connection) < len(addresses):  # noqa: ASYNC110 - nobody else can tell us
            await asyncio.sleep(0.001)
    await connection.execute("SELECT pg_advisory_unlock($1)", GATE)
    return await running


async def _waiting_at_the_gate(connection: Connection) -> int:
    """How many allocators: each has one transaction of an organization at a time."""
    waiting: int = await connection.fetchval(
        """
        SELECT count(*) FROM pg_locks
        WHERE locktype = 'advisory' AND NOT granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """
    )
    return waiting


async def check_race(connection: Connection, result: Race, *, fitting: int, seat_credits: int) -> None:
    """Exactly as many won as fit, the others were told why, and the ledger says the same. AssertionError otherwise."""
    reasons = {error.reason for error in result.errors.values()}
    assert reasons <= {"INSUFFICIENT_CREDITS"}, f"refused for other reasons: {reasons}"
    assert len(result.balances) == fitting, f"{len(result.balances)} won, and {fitting} fit"
    revisions = [balance.revision for balance in result.balances.values()]
    assert len(set(revisions)) == fitting, "two answers have the same revision"

    entries = await connection.fetch(
        "SELECT revision, allocated_delta, allocated_credits FROM entry WHERE organization = $1 ORDER BY revision",
        ORGANIZATION,
    )
    assert [entry["revision"] for entry in entries] == list(range(1, len(entries) + 1)), "the ledger has gaps"
    sold = [entry["allocated_delta"] for entry in entries if entry["allocated_delta"]]
    assert sold == [seat_credits] * fitting, f"sold was {sold}"
    sums = itertools.accumulate(entry["allocated_delta"] for entry in entries)
    assert [entry["allocated_credits"] for entry in entries] == list(sums), "the ledger does not add up"
    held = await connection.fetchval("SELECT sum(credits) FROM allocation WHERE organization = $1", ORGANIZATION)
    assert held == fitting * seat_credits, f"{held} credits are held"
    assert (await verify(connection)).problems == []
