"""`python -m tests.chaos.mutants`: breaks Earmark in one way after the other, and shows which check found it.

Exits with 1 if a mutant survives. One that does not start, or that is found by nothing but errors that tell of a bug,
survives: it is no proof of any check.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

import click
import uvloop

from services.admin.embedded import EmbeddedError
from tests.chaos.campaign import Order, commit_id, run_campaign
from tests.chaos.checks import check_folder
from tests.chaos.faults import KINDS
from tests.chaos.mutants.catalogue import MUTANTS, Mutant
from tests.chaos.progress import Progress
from tests.chaos.server import WorldError
from tests.chaos.world import Plan

TRIES: Final = 3
"""What shows only where things meet may need another seed."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--seed", type=int, default=1, help="Of the calls and the faults; another try takes the next one.")
@click.option("--seconds", type=click.FloatRange(1, 3600), default=15.0, help="So long there are faults for each.")
@click.option("--only", default="", help="Names of mutants: no_row_lock,settling_skipped.")
def main(seed: int, seconds: float, only: str) -> None:
    """Proof that the checker can fail."""
    chosen = _chosen(only)
    print(f"chaos-mutants: {len(chosen)} mutants, seed {seed}, {seconds:.0f} s each, commit {commit_id()}", flush=True)
    survived = [mutant.name for mutant in chosen if not _is_caught(mutant, seed, seconds)]
    print(f"chaos-mutants: seed {seed}, {len(chosen)} mutants, {len(chosen) - len(survived)} caught", end="")
    print(f", survived: {', '.join(survived)}" if survived else ", none survived")
    sys.exit(1 if survived else 0)


def _chosen(only: str) -> list[Mutant]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = {mutant.name: mutant for mutant in MUTANTS}
    if not set(names) <= set(known):
        raise click.BadParameter(f"there are {', '.join(known)}", param_hint="--only")
    return [known[name] for name in names] if names else list(MUTANTS)


def _is_caught(mutant: Mutant, seed: int, seconds: float) -> bool:
    """Tells what became of it."""
    for attempt in range(TRIES):
        found, calls = _found(mutant, seed + attempt, seconds)
        expected = [name for name in mutant.caught_by if name in found]
        if expected:
            others = [f"{name} {count}" for name, count in found.items() if name not in expected]
            by = ", ".join(f"{name} ({found[name]} violations)" for name in expected)
            print(f"  caught    {mutant.name}: {mutant.what}")
            print(f"            seed {seed + attempt}, {calls} calls: by {by}", end="")
            print(f"; besides: {', '.join(others)}" if others else "", flush=True)
            return True
    print(f"  SURVIVED  {mutant.name}: {mutant.what}; expected of {', '.join(mutant.caught_by)}", flush=True)
    return False


def _found(mutant: Mutant, seed: int, seconds: float) -> tuple[dict[str, int], int]:
    """The checks that found something, each with the number of violations; and how many calls were made."""
    os.environ["CHAOS_MUTANT"] = mutant.name
    with tempfile.TemporaryDirectory(prefix="earmark-mutant-") as folder:
        kinds = tuple(kind for kind in KINDS if kind.name in mutant.faults)
        order = Order(seed, seconds, Path(folder), kinds, _plan(mutant))
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                ended = runner.run(run_campaign(order, Progress(seconds, quiet=True)))
        except (EmbeddedError, WorldError) as error:
            print(f"            {mutant.name}: {error}")
            return {}, 0
        report = check_folder(order.folder, cases_min=0, seed=seed)
        return {each.name: each.violations for each in report.verdicts if each.violations}, ended.counts["calls"]


def _plan(mutant: Mutant) -> Plan:
    if mutant.clients:
        return Plan(callers_module="tests.chaos.mutants.load")
    allocator = "tests.chaos.mutants.allocator"
    if mutant.worker_too:
        return Plan(allocator, "tests.chaos.mutants.expiry", before=mutant.before)
    return Plan(allocator, before=mutant.before)


if __name__ == "__main__":
    main()
