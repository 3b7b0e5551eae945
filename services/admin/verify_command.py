"""`earmark-admin verify`: the command line of verifying."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from services.admin.connected import with_connection
from services.admin.verify import Anchor, verify_each
from services.ledger.store.database import Connection
from services.ledger.store.migrate import check_schema

ANCHOR: Final = re.compile(r"([1-9][0-9]{0,18}):([0-9A-Fa-f]{16,64})", re.ASCII)
BAR_AFTER_SECONDS: Final = 1.0
SESSION: Final = {
    "application_name": "earmark-admin verify",
    "timezone": "UTC",
    "default_transaction_read_only": "on",
    "jit": "off",
}


def _anchors(_: click.Context, __: click.Parameter, values: Sequence[str]) -> list[Anchor]:
    anchors = []
    for value in values:
        found = ANCHOR.fullmatch(value)
        if found is None:
            form = "a revision, a colon and the 64 hexadecimal digits of its digest, or at least the first 16"
            raise click.BadParameter(f"{value!r} is not {form}")
        anchors.append(Anchor(int(found[1]), found[2].lower()))
    return anchors


@click.command("verify")
@click.argument("organizations", metavar="[ORGANIZATION]...", nargs=-1)
@click.option(
    "--expect",
    "anchors",
    metavar="REVISION:DIGEST",
    multiple=True,
    callback=_anchors,
    help="An entry as it is known from elsewhere, such as a resume token. For exactly one ORGANIZATION.",
)
def verify_command(organizations: Sequence[str], anchors: Sequence[Anchor]) -> None:
    """Derive everything again from the entries, and compare: each ORGANIZATION, or all.

    Only reads; calls may go on meanwhile. Exits with 1 if anything is wrong.
    """
    named = list(dict.fromkeys(each.removeprefix("organizations/") for each in organizations))
    if anchors and len(named) != 1:
        raise click.UsageError("--expect is about one organization: name exactly one")

    async def work(connection: Connection) -> int:
        await check_schema(connection)
        return await _verify(connection, named, anchors)

    sys.exit(1 if with_connection(work, **SESSION) else 0)


async def _verify(connection: Connection, named: Sequence[str], anchors: Sequence[Anchor]) -> int:
    """Says what is found; returns how many problems."""
    organizations = entries = problems = 0
    bar = Bar(Console(stderr=True))
    async for each in verify_each(connection, named or None, anchors=anchors, progress=bar.show):
        organizations += 1
        entries += each.entries
        problems += each.problem_count
        if named and each.newest:
            told = (
                f"organizations/{each.organization}: {_count(each.entries, 'entry', 'entries')}, newest {each.newest}"
            )
            each.problems.append(told)
        if each.problems:
            bar.clear()
            click.echo("\n".join(each.problems))
    bar.clear()
    verdict = _count(problems, "problem", "problems") if problems else "ok"
    counted = f"{_count(organizations, 'organization', 'organizations')}, {_count(entries, 'entry', 'entries')}"
    click.echo(f"verify: {verdict}, {counted}")
    return problems


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


@dataclass
class Bar:
    """A progress bar, where somebody looks on and it takes longer than about a second."""

    console: Console
    since: float = field(default_factory=monotonic)
    shown: tuple[Progress, TaskID] | None = None

    def show(self, done: int, total: int) -> None:
        if not self.console.is_terminal or monotonic() - self.since < BAR_AFTER_SECONDS:
            return
        if self.shown is None:
            columns = TextColumn("verifying"), BarColumn(), TextColumn("{task.completed:,} of {task.total:,} entries")
            progress = Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True)
            self.shown = progress, progress.add_task("verifying", completed=done, total=max(done, total))
            progress.start()
        progress, task = self.shown
        progress.update(task, completed=done, total=max(done, total))

    def clear(self) -> None:
        """So that something else can be written; the bar comes back."""
        if self.shown is not None:
            self.shown[0].stop()
            self.shown = None
