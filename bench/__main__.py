"""`python -m bench`: runs the rows in several rounds, prints one table and writes build/bench.json."""

import asyncio
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import monotonic
from typing import Final

import click
from rich.console import Console

from bench.bench import Bench, Row
from bench.capacity import SPREAD_ORGANIZATIONS
from bench.crew import BenchError
from bench.figures import Figures, rounded
from bench.large import LARGE, create_large_organization
from bench.once import ONCE
from bench.prepare import create_organizations, settle_down
from bench.report import facts, show, write
from bench.rows import OF_LARGE, ROUND
from bench.stage import stage

ROWS: Final = (*ROUND, *ONCE)
LARGE_ALLOCATIONS: Final = 100_000
LARGE_ENTRIES: Final = 1_000_000


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--rounds", type=click.IntRange(1, 20), default=3, help="Each row is measured so often, by turns.")
@click.option("--seconds", type=click.FloatRange(0.05, 60), default=2.5, help="And for so long each time.")
@click.option("--only", default="", help="Keys, or what they begin with (hot,noop); what they need is measured too.")
@click.option(
    "--scale", type=click.FloatRange(0.0001, 1), default=1.0, help="Less makes everything smaller, to try it."
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), default=Path("build/bench.json"), help="The file."
)
def bench(rounds: int, seconds: float, only: str, scale: float, output: Path) -> None:
    """How fast Earmark is here. Exits with 1 if something could not be measured, not if a target is missed."""
    names = frozenset(name.strip() for name in only.split(",") if name.strip())
    unknown = [name for name in names if not any(row.is_named(frozenset({name})) for row in ROWS)]
    if unknown:
        raise click.BadParameter(f"no key is called so: {', '.join(sorted(unknown))}", param_hint="--only")
    figures = asyncio.run(_run(chosen(names), rounds, seconds, scale, output))
    sys.exit(1 if figures.failures else 0)


def chosen(names: frozenset[str]) -> list[Row]:
    """The rows that are named, all if none is, and those that they need; in the order in which they are measured."""
    wanted = [row for row in ROWS if not names or row.is_named(names)]
    needed = {key for row in wanted for key in row.needs}
    return [row for row in ROWS if row in wanted or needed & set(row.keys)]


async def _run(rows: Sequence[Row], rounds: int, seconds: float, scale: float, output: Path) -> Figures:
    begun = monotonic()
    console = Console(width=None if sys.stdout.isatty() else 140)
    async with stage(output.parent) as running:
        measured = Bench(running, seconds, scale)
        await _prepare(measured, rows)
        _say(f"prepared after {monotonic() - begun:.0f} s")
        for number in range(rounds):
            await _measure(measured, [row for row in rows if not row.once], f"round {number + 1} of {rounds}")
        await _measure(measured, [row for row in rows if row.once], "once")
        version: str = await running.connection.fetchval("SHOW server_version")
    write(output, measured.figures, facts(version, rounds, seconds, scale))
    show(console, measured.figures, [key for row in rows for key in row.keys])
    _say(f"{monotonic() - begun:.0f} s on {os.cpu_count()} cores; the figures are in {output}")
    return measured.figures


async def _prepare(bench: Bench, rows: Iterable[Row]) -> None:
    await create_organizations(bench.stage.database_url, bench.scaled(SPREAD_ORGANIZATIONS))
    if any(OF_LARGE & set(row.keys) for row in rows):
        sizes = (bench.scaled(LARGE_ALLOCATIONS), bench.scaled(LARGE_ENTRIES))
        await create_large_organization(bench.stage.connection, LARGE, *sizes)
    await settle_down(bench.stage.connection)


async def _measure(bench: Bench, rows: Iterable[Row], when: str) -> None:
    """What fails, fails alone."""
    for row in rows:
        try:
            measured = await row.measure(bench)
        except Exception as error:
            keys = ", ".join(row.keys)
            if not isinstance(error, BenchError):
                traceback.print_exc()
            bench.figures.failures.append(f"{keys} ({when}): {str(error) or type(error).__name__}")
            _say(f"{when}: {keys} FAILED: {error}")
            continue
        bench.figures.add(measured)
        _say(f"{when}: " + ", ".join(f"{key} {rounded(value):,}" for key, value in measured.items()))


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    bench()
