"""How a story about the ledger begins: a catalogue, an organization with credits; and reading what was written."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

import asyncpg

from services.ledger.catalog import change_catalog
from services.ledger.ledger import Ledger
from services.ledger.rules.answers import Answer
from services.ledger.rules.cataloguing import CreateOffering, Terms
from services.ledger.rules.commands import (
    AdjustAllocation,
    Call,
    Command,
    CreateOrganization,
    CreateSubscription,
    EnableAllocation,
)
from services.ledger.rules.refusal import Reason, Refused
from services.ledger.store.database import Connection
from services.ledger.store.reads import read_now

SECONDS: Final = 20.0
"""For callers of whom the story says nothing: longer than any test waits."""
SENSOR: Final = "endpoint-sensor"
SENSOR_CREDITS: Final = 20
"""For each unit."""
DAY: Final = timedelta(days=1)
MICROSECOND: Final = timedelta(microseconds=1)

T = TypeVar("T")


async def offer_sensors(connection: Connection) -> None:
    """A catalogue of one offering."""
    terms = Terms(Decimal(SENSOR_CREDITS))
    await change_catalog(connection, CreateOffering(SENSOR, terms, "Endpoint sensor", unit="sensor"))


async def make_organization(ledger: Ledger, organization: str = "acme", **fields: Any) -> Answer:
    """Without credits; `fields` are those of CreateOrganization."""
    return await do(ledger, organization, CreateOrganization(**fields))


async def make_customer(
    ledger: Ledger,
    connection: Connection,
    organization: str = "acme",
    *,
    credits: int = 1_000_000,
    days: float = 365,
    grace: timedelta = timedelta(days=30),
) -> datetime:
    """An organization with one ACTIVE subscription, `first`; returns its end."""
    await make_organization(ledger, organization)
    end = await read_now(connection) + timedelta(days=days)
    await do(ledger, organization, CreateSubscription("first", credits, end, grace_period=grace))
    return end


async def do(
    ledger: Ledger, organization: str, command: Command, request_id: str = "", seconds: float = SECONDS
) -> Answer:
    """One call by `tester`."""
    return await ledger.change(organization, Call(command, request_id, "tester"), seconds)


def enable(allocation: str = SENSOR, units: int = 1, *, priority: int | None = None) -> EnableAllocation:
    return EnableAllocation(allocation, SENSOR, units, priority)


def adjust(delta: int, allocation: str = SENSOR) -> AdjustAllocation:
    return AdjustAllocation(allocation, delta)


async def verdict(call: Awaitable[T]) -> T | Reason:
    """The answer, or the reason for which it was refused."""
    try:
        return await call
    except Refused as refused:
        return refused.reason


async def refused(call: Awaitable[Any]) -> Refused:
    """How the call, which must be refused, was refused."""
    try:
        answer = await call
    except Refused as refusal:
        return refusal
    raise AssertionError(f"was not refused: {answer}")


async def together(calls: Sequence[Awaitable[T]]) -> list[T | Reason]:
    """The verdicts of all, none of which begins before every one is ready to."""
    barrier = asyncio.Barrier(len(calls))

    async def one(call: Awaitable[T]) -> T | Reason:
        await barrier.wait()
        return await verdict(call)

    return await asyncio.gather(*map(one, calls))


@asynccontextmanager
async def locked(url: str, organizations: Iterable[str]) -> AsyncIterator[None]:
    """Somebody outside holds the organizations' row locks while the block runs."""
    outside = await asyncpg.connect(url)
    try:
        async with outside.transaction():
            await outside.fetch(
                "SELECT organization FROM organization WHERE organization = ANY ($1::text[]) ORDER BY 1 FOR UPDATE",
                list(organizations),
            )
            yield
    finally:
        await outside.close()


async def comes_true(condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns as soon as the condition holds; TimeoutError if it still does not after ten seconds."""
    async with asyncio.timeout(10):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.005)


async def lock_is_wanted(connection: Connection, backends: int = 1) -> None:
    """Returns when so many backends of this database wait for a lock."""
    await _are_waiting(connection, "wait_event_type = 'Lock'", backends)


async def standby_is_awaited(connection: Connection) -> int:
    """Returns when a backend of this database waits in its COMMIT for a standby: its process id."""
    return await _are_waiting(connection, "wait_event = 'SyncRep'", 1)


async def _are_waiting(connection: Connection, what: str, backends: int) -> int:
    found: list[int] = []

    async def enough() -> bool:
        rows = await connection.fetch(
            f"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND {what} ORDER BY pid"
        )
        found[:] = [row["pid"] for row in rows]
        return len(found) >= backends

    await comes_true(enough)
    return found[0]


async def entries(connection: Connection, organization: str = "acme") -> list[asyncpg.Record]:
    """The organization's ledger, by revision."""
    return await connection.fetch(
        """
        SELECT revision, kind, resource, effective_time, recorded_time, actor, request_id, causes, cause_count,
               after, detail, valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits,
               grace_credits, allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last,
               digest, xmin::text AS transaction
        FROM entry WHERE organization = $1 ORDER BY revision
        """,
        organization,
    )


async def told(connection: Connection, organization: str = "acme", after: int = 0) -> list[str]:
    """The ledger after a revision in words: `ALLOCATION_ENABLED endpoint-sensor`."""
    found = await entries(connection, organization)
    return [f"{each['kind']} {each['resource']}".strip() for each in found if each["revision"] > after]


async def revision(connection: Connection, organization: str = "acme") -> int:
    found: int = await connection.fetchval("SELECT revision FROM organization WHERE organization = $1", organization)
    return found


async def units_of(connection: Connection, allocation: str = SENSOR, organization: str = "acme") -> int | None:
    """None if it was never enabled."""
    found: int | None = await connection.fetchval(
        "SELECT units FROM allocation WHERE organization = $1 AND allocation = $2", organization, allocation
    )
    return found


async def request_ids(connection: Connection, organization: str = "acme") -> list[str]:
    """Those that are remembered."""
    rows = await connection.fetch(
        "SELECT request_id FROM request WHERE organization = $1 ORDER BY request_id", organization
    )
    return [row["request_id"] for row in rows]


async def stop_clock(connection: Connection, at: datetime) -> None:
    """From now on the database's clock shows this one instant, to everybody, until it is set to another."""
    await connection.execute("CREATE TABLE IF NOT EXISTS stopped_clock (instant timestamptz)")
    await connection.execute("TRUNCATE stopped_clock")
    await connection.execute("INSERT INTO stopped_clock VALUES ($1)", at)
    await connection.execute(
        "CREATE OR REPLACE FUNCTION earmark_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
        "'SELECT instant FROM stopped_clock'"
    )


def in_days(days: float) -> datetime:
    """So many days from now, by this machine's clock."""
    return datetime.now(UTC) + timedelta(days=days)
