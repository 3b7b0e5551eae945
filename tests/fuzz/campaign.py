"""Tries inputs in blocks: many at once, those of one organization one after the other."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import asyncpg
from grpc import aio

from services.admin.verify import verify
from services.ledger.store.database import Connection, Pool
from tests.fuzz import ledger_state
from tests.fuzz.calling import Caller, Outcome, calling
from tests.fuzz.inputs import READS, Input, Inputs, lane_organizations
from tests.fuzz.judge import judge
from tests.fuzz.memory import Memory
from tests.fuzz.report import Report, told
from tests.fuzz.right import WITNESS, prepare, prepare_catalog
from tests.support.reflected import ReflectedClient, Refusal

LANES: Final = 32
BLOCK: Final = 4_000
PARTS: Final = 16
"""A block that changed what it should not is looked for in so many parts, and each of those again."""
RIGHT_CALL_SECONDS: Final = 1.0

Progress = Callable[[str], None]


@dataclass
class Campaign:
    """Against one service and its database."""

    client: ReflectedClient
    caller: Caller
    pool: Pool
    connection: Connection
    report: Report
    progress: Progress
    _known: dict[str, str] = field(default_factory=dict)
    _accepted: list[bytes] = field(default_factory=list)
    """The requests of this block that may have changed something."""

    async def block(self, inputs: Sequence[Input]) -> None:
        """Tries all, judges each, and then looks at everything."""
        lanes: dict[str, list[Input]] = {}
        for each in inputs:
            lanes.setdefault(each.organization, []).append(each)
        await asyncio.gather(*(prepare(self.client, organization) for organization in lanes))
        before = await ledger_state.whole(self.connection)
        self._accepted.clear()
        await asyncio.gather(*(self._lane(lane) for lane in lanes.values()))
        after = await ledger_state.whole(self.connection)
        strange = ledger_state.unexplained(before, after, self._accepted)
        if strange:
            found = await self._find(list(inputs))
            self.report.violations.append(f"changed without being asked: {'; '.join(strange[:5])}\n{found}")
        await self._answers_rightly()
        self.report.memory.look()

    async def _lane(self, inputs: Sequence[Input]) -> None:
        organization = inputs[0].organization
        known = await ledger_state.brief(self.pool, organization)
        for each in inputs:
            outcome = await self.caller.make(each)
            self.report.count(each, outcome)
            after = await ledger_state.brief(self.pool, organization)
            problem = judge(each, outcome, self.caller.methods)
            if not problem and after != known and not _may_change(each, outcome):
                problem = f"{outcome.code} {outcome.reason}, but the organization changed: {known} became {after}"
            if problem:
                self.report.violations.append(f"{problem}\n{told(each, self.caller.methods)}")
            if _may_change(each, outcome):
                self._accepted.append(each.data)
            known = after

    async def _find(self, inputs: list[Input]) -> str:
        """Tries them again, one by one, and names the first that does it again; else the few that it was among."""
        while True:
            size = max(1, len(inputs) // PARTS)
            for start in range(0, len(inputs), size):
                part = inputs[start : start + size]
                if await self._changes_strangely(part):
                    break
            else:
                return f"none of the {len(inputs)} inputs from {inputs[0].number} on did it again, one by one"
            if len(part) == 1:
                return told(part[0], self.caller.methods)
            inputs = part

    async def _changes_strangely(self, inputs: Sequence[Input]) -> bool:
        before = await ledger_state.whole(self.connection)
        outcomes = [(each, await self.caller.make(each)) for each in inputs]
        accepted = [each.data for each, outcome in outcomes if _may_change(each, outcome)]
        return bool(ledger_state.unexplained(before, await ledger_state.whole(self.connection), accepted))

    async def _answers_rightly(self) -> None:
        begun = time.perf_counter()
        try:
            await self.client.call("GetOrganization", name=f"organizations/{WITNESS}")
        except (Refusal, aio.AioRpcError) as error:
            self.report.violations.append(f"after a block, a right call failed: {error}")
        seconds = time.perf_counter() - begun
        self.report.slowest = max(self.report.slowest, seconds)
        if seconds > RIGHT_CALL_SECONDS:
            self.report.violations.append(f"after a block, a right call took {seconds:.1f} s")


async def campaign(
    address: str, database_url: str, count: int, seed: int, pid: int | None = None, progress: Progress = lambda _: None
) -> Report:
    """Tries so many inputs against the service at the address, whose database, which must be empty, is at the URL.

    The memory of the process `pid` is watched.
    """
    begun = time.perf_counter()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(ReflectedClient(address, packages=("grpc.",)))
        caller = await stack.enter_async_context(calling(address, client.methods))
        pool = await stack.enter_async_context(asyncpg.create_pool(database_url, min_size=1, max_size=8))
        connection = await asyncpg.connect(database_url)
        stack.push_async_callback(connection.close)
        inputs = Inputs(client.methods, seed, lane_organizations(seed, LANES, BLOCK))
        report = Report(seed, len({each.name for each in inputs.places}), Memory(pid))
        running = Campaign(client, caller, pool, connection, report, progress)
        await prepare_catalog(client)
        witness = {each for each in (await ledger_state.whole(connection)).items() if each[0][1] == WITNESS}
        source = iter(inputs)
        while report.inputs < count:
            await running.block(list(islice(source, min(BLOCK, count - report.inputs))))
            progress(f"{report.inputs} inputs, {len(report.violations)} violations, memory {report.memory.last} MiB")
        if not witness <= set((await ledger_state.whole(connection)).items()):
            report.violations.append("the witness, that no input was about, has changed")
        await _verify(connection, report)
    report.violations += report.memory.problems()
    report.seconds = time.perf_counter() - begun
    return report


async def _verify(connection: Connection, report: Report) -> None:
    verified = await verify(connection)
    report.entries = verified.entries
    report.violations += [f"the ledger does not verify: {each}" for each in verified.problems]
    missing = report.fields - len(report.covered)
    if missing and report.inputs >= report.fields:
        report.violations.append(f"{missing} fields were never wrong")


def _may_change(each: Input, outcome: Outcome) -> bool:
    return outcome.code == "OK" and not each.method.startswith(READS)
