"""`earmark estimate`"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import click

from earmark.cli import estimate_show, options, parse, steps
from earmark.cli.session import Session, pass_session

LINES_MAX = 1000
UNITS_MAX = 10**12

Line = tuple[str, int]


@click.command()
@click.argument("lines", metavar="OFFERING=UNITS...", nargs=-1)
@click.option("--file", type=click.File(encoding="utf-8"), help="CSV with the columns offering,units; - reads stdin.")
@click.option("--organization", default="", help="Say also what it would have to buy.")
@options.output
@pass_session
def estimate(session: Session, lines: tuple[str, ...], file: IO[str] | None, organization: str) -> None:
    """Say what switching offerings on would take, at the prices in force.

    \b
      earmark estimate endpoint-sensor=100 email-sensor=2,000 --organization o-1

    Each line is an allocation of its own. Allocates nothing.
    """
    problems: list[str] = []
    wanted = list(_lines(_typed(lines), problems))
    if file:
        wanted += _lines(_filed(file), problems)
    if problems:
        raise click.UsageError("Nothing was sent.\n" + "\n".join(problems))
    if not 1 <= len(wanted) <= LINES_MAX:
        raise click.UsageError(f"Give from 1 to {LINES_MAX:,} lines, not {len(wanted):,}.")
    session.answer(
        lambda client: client.estimate_credits(wanted, organization=organization),
        estimate_show.details,
    )


Raw = tuple[str, str, str]
"""What it is called in a message, the offering, the units."""


def _typed(lines: Sequence[str]) -> Iterator[Raw]:
    for number, line in enumerate(lines, start=1):
        offering, _, units = line.rpartition("=")
        yield f"Argument {number}", offering, units


def _filed(file: IO[str]) -> Iterator[Raw]:
    records: Iterable[tuple[int, Mapping[str, Any]]] = steps.csv_records(steps.read_text(file), "offering", "units")
    for number, record in records:
        yield f"Line {number}", record.get("offering", ""), record.get("units", "")


def _lines(raw: Iterable[Raw], problems: list[str]) -> Iterator[Line]:
    """Those that are good; what is wrong with the others is added to the problems."""
    for label, offering, units in raw:
        try:
            if not offering:
                raise click.BadParameter("it needs an offering, as in endpoint-sensor=100.")
            count = parse.count(units)
            if count > UNITS_MAX:
                raise click.BadParameter(f"{units} is more than {UNITS_MAX:,} units.")
        except click.BadParameter as error:
            problems.append(f"{label}: {error.message}")
        else:
            yield offering, count
