"""A campaign: a world, callers, and faults for so many seconds; then everything is mended and the histories judged."""

import asyncio
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

import asyncpg

from services.admin.verify import verify
from tests.chaos.crew import Crew
from tests.chaos.faults import KINDS, Kind
from tests.chaos.history import FAULTS, Book, Fault
from tests.chaos.ledger_dump import dump_ledger
from tests.chaos.progress import Progress
from tests.chaos.schedule import Step, schedule
from tests.chaos.server import Service, WorldError
from tests.chaos.world import NOTICE_PREFIX, Plan, World, world

TRIES: Final = 3
"""A fault that hits nothing is done again."""
QUIET_SECONDS: Final = 2.0
"""Before the first fault and after the last."""
FAULT_SECONDS_MAX: Final = 120.0
FULL_SECONDS: Final = 240.0
"""A campaign that lasts so long has every fault at least once."""


@dataclass(frozen=True, slots=True)
class Order:
    """What campaign is wanted."""

    seed: int
    seconds: float
    folder: Path
    """For the histories and the logs; it exists."""
    kinds: Sequence[Kind] = KINDS
    """None: nothing is done to the system."""
    plan: Plan = field(default_factory=Plan)
    organizations: int = 24
    callers: int = 12


@dataclass
class Ended:
    """What came of it, apart from the histories."""

    faults: list[Fault] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Of the campaign, and of what `earmark-admin verify` would say of the ledger."""
    entries: int = 0
    counts: dict[str, int] = field(default_factory=dict)


async def run_campaign(order: Order, progress: Progress) -> Ended:
    """To its end, within some minutes more than it was to last. Raises WorldError or EmbeddedError.

    Afterwards the folder holds everything that the checks read.
    """
    ended = Ended()
    async with world(order.folder, order.plan, progress.tell) as built:
        crew = await Crew.start(
            order.folder,
            order.plan.callers_module,
            {
                "addresses": built.doors,
                "redis_url": built.redis.url,
                "notice_prefix": NOTICE_PREFIX,
                "seed": order.seed,
                "organizations": order.organizations,
                "callers": order.callers,
            },
        )
        try:
            await _run_with(order, built, crew, progress, ended)
        finally:
            await crew.close()
        await _stop(built, built.services)
        ended.problems += [*built.problems, *_never_hit(order, ended.faults)]
        await _take_down(order.folder, built, progress, ended)
    return ended


async def _stop(built: World, services: Sequence[Service]) -> None:
    """Each is asked to leave, which all of them are to do by themselves."""
    running = [each for each in services if each.runs]
    for each, code in zip(running, await asyncio.gather(*(each.stop() for each in running)), strict=True):
        if code != 0:
            built.problems.append(f"{each.name} was asked to leave, and ended with {code}")


def _never_hit(order: Order, faults: Sequence[Fault]) -> list[str]:
    """Kinds of faults that a campaign of full length must have had."""
    if order.seconds < FULL_SECONDS:
        return []
    hits = {fault.kind for fault in faults}
    return [f"{kind.name} never hit anything" for kind in order.kinds if kind.name not in hits]


async def _run_with(order: Order, built: World, crew: Crew, progress: Progress, ended: Ended) -> None:
    built.calls_in_flight = lambda: crew.counts.get("in_flight", 0)
    reporting = asyncio.create_task(progress.follow(crew, ended.faults))
    try:
        await asyncio.sleep(QUIET_SECONDS)
        await _do_faults(order, built, crew, progress, ended)
        progress.tell("mending everything")
        await built.mend()
        await asyncio.sleep(QUIET_SECONDS)
        progress.tell("the callers come to an end")
        # What time does after the last call would be after the last that the watchers wait for.
        await _stop(built, built.workers)
        status = await crew.drain()
        ended.counts = crew.counts
        if status != 0:
            what = "came to no end" if status is None else f"ended with {status}"
            ended.problems.append(f"the callers {what}: {order.folder / 'load.log'} says why")
    finally:
        reporting.cancel()
        await asyncio.wait([reporting])


async def _do_faults(order: Order, built: World, crew: Crew, progress: Progress, ended: Ended) -> None:
    """Until the time is over, and there was one of each group, which a slow machine may take longer for."""
    until = monotonic() + order.seconds
    groups = len({kind.group for kind in order.kinds})
    with Book(order.folder, FAULTS, "campaign") as book:
        for number, step in enumerate(schedule(order.seed, order.kinds)):
            await asyncio.sleep(step.pause_seconds)
            if (monotonic() >= until and number >= groups) or not crew.runs:
                break
            tasks = [_until_it_hits(each, built, progress, book, ended) for each in (step, step.beside) if each]
            try:
                async with asyncio.timeout(FAULT_SECONDS_MAX):
                    await asyncio.gather(*tasks)
            except TimeoutError as error:
                raise WorldError(f"{step.kind.name} came to no end within {FAULT_SECONDS_MAX:.0f} s") from error
    if crew.runs:
        await asyncio.sleep(max(0.0, until - monotonic()))


async def _until_it_hits(step: Step, built: World, progress: Progress, book: Book, ended: Ended) -> None:
    for _ in range(TRIES):
        progress.now_doing(step.kind.name)
        fault = await step.kind.do(built, step.chances)
        book.write(fault)
        progress.tell_fault(fault)
        if fault.hits:
            ended.faults.append(fault)
            return


async def _take_down(folder: Path, built: World, progress: Progress, ended: Ended) -> None:
    progress.tell("reading the ledger")
    ended.entries = await dump_ledger(built.pair.primary.url, folder)
    connection = await asyncpg.connect(built.pair.primary.url)
    try:
        report = await verify(connection)
    finally:
        await connection.close()
    progress.tell(
        f"verify: {report.organizations} organizations, {report.entries} entries, {len(report.problems)} problems"
    )
    ended.problems += [f"verify: {problem}" for problem in report.problems]


def summary_of(faults: Sequence[Fault], kinds: Sequence[Kind]) -> list[str]:
    """How often each kind hit something, and what hit nothing."""
    hits = Counter(fault.kind for fault in faults)
    lines = [f"{name}: {hits[name]}" for name in sorted(hits)]
    missing = [kind.name for kind in kinds if kind.name not in hits]
    return [f"faults: {', '.join(lines)}", *([f"not in this campaign: {', '.join(missing)}"] if missing else [])]


def commit_id() -> str:
    """The commit that is tried, with `+` if files differ from it; `unknown` outside a repository."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
