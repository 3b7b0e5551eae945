"""One organization that stands still, and what the others notice of it.

Its row is locked from outside, and calls to it are under way all the time; each waits in vain until its deadline. The
others are called at a quarter of what they can take: once without such a neighbour, once with it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import cycle, islice
from time import monotonic
from typing import Any, Final

import asyncpg
from grpc import aio

from bench.bench import Bench, latency
from bench.capacity import SPREAD_ORGANIZATIONS
from bench.crew import BenchError
from bench.jobs import Load
from bench.load import OK, calls_of
from bench.prepare import NEIGHBOUR, SPREAD
from bench.requests import METHODS, requests
from services.ledger.store.database import Connection

CALLERS: Final = 20
DEADLINE_SECONDS: Final = 2.0
RELEASED_SECONDS: Final = 20.0
OF_CAPACITY: Final = 0.25
CALLS_MIN: Final = 4
"""However short the time is."""
POLL_SECONDS: Final = 0.02


async def slow_neighbour(bench: Bench) -> Mapping[str, float]:
    per_second = max(OF_CAPACITY * bench.known("spread_rps"), CALLS_MIN / bench.seconds)
    job = bench.job("enable", SPREAD, organizations=bench.scaled(SPREAD_ORGANIZATIONS), rate=per_second)
    undisturbed = await bench.run(job)
    async with _called_in_vain(bench) as codes:
        disturbed = await bench.run(job)
    bench.figures.details["slow_neighbour_p99_ms"] |= {"rate": round(per_second), "neighbour": dict(codes)}
    return {
        "slow_neighbour_p99_ms": latency(disturbed, 99),
        "no_slow_neighbour_p99_ms": latency(undisturbed, 99),
    }


@asynccontextmanager
async def _called_in_vain(bench: Bench) -> AsyncIterator[Counter[str]]:
    """Calls wait for the neighbour while the block runs; how those ended that did. Afterwards it is itself again.

    Raises BenchError if one of them was carried out meanwhile.
    """
    one = replace(bench.job("replay", NEIGHBOUR), salt="waits")
    codes: Counter[str] = Counter()
    async with calls_of(one.address, METHODS[one.call], one.channels) as calls:
        async with _locked(bench.stage.database_url):
            callers = [asyncio.create_task(_call_on(each, one, codes)) for each in islice(cycle(calls), CALLERS)]
            try:
                await _lock_is_wanted(bench.stage.connection)
                yield codes
            finally:
                for caller in callers:
                    caller.cancel()
                await asyncio.wait(callers)
        if codes[OK]:
            raise BenchError("the neighbour was to be locked, and was not")
        await calls[0](next(requests(one)), timeout=RELEASED_SECONDS)


async def _call_on(call: Any, job: Load, codes: Counter[str]) -> None:
    """Again as soon as it has ended, until it is cancelled."""
    request = next(requests(job))
    while True:
        try:
            await call(request, timeout=DEADLINE_SECONDS)
        except aio.AioRpcError as error:
            codes[error.code().name] += 1
        else:
            codes[OK] += 1


@asynccontextmanager
async def _locked(database_url: str) -> AsyncIterator[None]:
    """Another connection of the bench's holds the row while the block runs."""
    outside = await asyncpg.connect(database_url)
    try:
        async with outside.transaction():
            await outside.execute("SELECT FROM organization WHERE organization = $1 FOR UPDATE", NEIGHBOUR)
            yield
    finally:
        await outside.close()


async def _lock_is_wanted(connection: Connection) -> None:
    """Returns once a call waits for it. Raises BenchError if none comes to."""
    until = monotonic() + DEADLINE_SECONDS
    while not await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
        if monotonic() > until:
            raise BenchError("nobody waits for the neighbour's lock")
        await asyncio.sleep(POLL_SECONDS)
