"""`python -m tests.chaos.check FOLDER`: judges what a campaign left behind once more."""

import sys
from pathlib import Path

import click

from tests.chaos.checks import check_folder


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seed", type=int, default=0, help="The campaign's, to be named in the last line.")
@click.option("--cases-min", type=int, default=100, help="A check that judged fewer cases fails.")
def main(folder: Path, seed: int, cases_min: int) -> None:
    """One named check for each promise, over the histories and the ledger in FOLDER."""
    report = check_folder(folder, seed=seed, cases_min=cases_min)
    for line in report.lines():
        print(line)
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
