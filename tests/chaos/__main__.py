"""`python -m tests.chaos`: a campaign, judged. Exits with 1 if a promise was broken, or if too little was judged."""

import asyncio
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import uvloop

from services.admin.embedded import EmbeddedError
from tests.chaos.campaign import Ended, Order, commit_id, run_campaign, summary_of
from tests.chaos.checks import check_folder
from tests.chaos.faults import KINDS, Kind
from tests.chaos.progress import Progress
from tests.chaos.server import WorldError

INTERRUPTED = 130


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--seed", type=int, default=None, help="Of the calls and the faults; a random one if it is not given.")
@click.option("--seconds", type=click.FloatRange(1, 86_400), default=240.0, help="So long there are faults.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="For histories and logs; it is kept.")
@click.option("--keep", is_flag=True, help="Keep the histories and logs even if all went well.")
@click.option("--only", default="", help="Kinds of faults, or what their names begin with: redis,cut_callers.")
@click.option("--cases-min", type=int, default=100, help="A check that judged fewer cases fails.")
@click.option("--organizations", type=click.IntRange(1, 1_000), default=24)
@click.option("--callers", type=click.IntRange(1, 1_000), default=12)
def main(
    seed: int | None,
    seconds: float,
    folder: Path | None,
    keep: bool,
    only: str,
    cases_min: int,
    organizations: int,
    callers: int,
) -> None:
    """Two allocators, two workers, Postgres with a standby and Redis, under faults, and what became of each call."""
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    with _folder(folder) as place:
        order = Order(seed, seconds, place.path, _kinds(only), organizations=organizations, callers=callers)
        print(f"chaos: seed {seed}, {seconds:.0f} s, commit {commit_id()}, histories in {place.path}", flush=True)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                ended = runner.run(run_campaign(order, Progress(seconds)))
        except (EmbeddedError, WorldError) as error:
            sys.exit(f"chaos: {error}")
        except KeyboardInterrupt:
            print("\nchaos: interrupted; nothing was judged")
            sys.exit(INTERRUPTED)
        failed = _judge(order, ended, cases_min)
        place.keeps = keep or failed or folder is not None
        if place.keeps:
            print(f"histories and logs are in {place.path}")
    sys.exit(1 if failed else 0)


def _judge(order: Order, ended: Ended, cases_min: int) -> bool:
    """Prints the verdict; whether it is a bad one."""
    for line in (*summary_of(ended.faults, order.kinds), *ended.problems):
        print(line)
    report = check_folder(order.folder, cases_min=cases_min, seed=order.seed)
    for line in report.lines():
        print(line)
    if ended.problems:
        print(f"chaos: besides, {len(ended.problems)} problems, named above")
    return report.failed or bool(ended.problems)


def _kinds(only: str) -> tuple[Kind, ...]:
    names = tuple(name.strip() for name in only.split(",") if name.strip())
    chosen = tuple(kind for kind in KINDS if not names or kind.name.startswith(names))
    if not chosen:
        raise click.BadParameter(f"there are {', '.join(kind.name for kind in KINDS)}", param_hint="--only")
    return chosen


class Place:
    """The folder of a campaign."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keeps = True


@contextmanager
def _folder(named: Path | None) -> Iterator[Place]:
    """One that is empty at first, and goes unless it is to be kept."""
    if named is not None:
        named.mkdir(parents=True, exist_ok=True)
        if any(named.iterdir()):
            raise click.BadParameter(f"{named} is not empty", param_hint="--folder")
    place = Place(named or Path(tempfile.mkdtemp(prefix="earmark-chaos-")))
    yield place
    if not place.keeps:
        shutil.rmtree(place.path, ignore_errors=True)


if __name__ == "__main__":
    main()
