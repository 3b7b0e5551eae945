"""`earmark offering load`"""

import json
from collections.abc import Sequence
from typing import IO

import click

from earmark.cli import offering_changes, offering_file, options, words
from earmark.cli.failure import UNAVAILABLE, exit_code
from earmark.cli.offering_changes import CREATED, UPDATED, Change
from earmark.cli.session import Session, pass_session
from earmark.errors import EarmarkError
from earmark.messages import MessageClient

PAGE_SIZE = 1000


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--validate-only", is_flag=True, help="Say what would happen; change nothing.")
@options.output
@pass_session
def load(session: Session, file: IO[bytes], validate_only: bool) -> None:
    """Make the catalogue say what FILE says, or the standard input: `-`.

    \b
    CSV in UTF-8 with a header of these columns, in any order:
      offering_id,display_name,solution,unit,credits_per_block,block_units,max_credits
    Only max_credits may be empty: no maximum.

    What is new is created; of what is there already the texts and the price are changed where they differ, the price
    by a new version from now on. What the file does not name stays as it is. Every bad row is named by its line
    before anything is written. A file may be loaded again at any time: what it says already is not done again.
    """
    found = offering_file.read(file.read())
    if found.problems:
        raise click.UsageError("Nothing was sent.\n" + "\n".join(found.problems))
    session.repeatable = False
    changes = session.run(lambda client: _load(session, client, found.rows, validate_only=validate_only))
    created, updated = (offering_changes.ids(changes, verb) for verb in (CREATED, UPDATED))
    unchanged = len(found.rows) - len(changes)
    if session.as_json:
        click.echo(json.dumps({"created": created, "updated": updated, "unchanged": unchanged}))
        return
    session.out.print(
        f"created {words.number(len(created))}, updated {words.number(len(updated))},"
        f" unchanged {words.number(unchanged)}"
    )


async def _load(
    session: Session, client: MessageClient, rows: Sequence[offering_file.Row], *, validate_only: bool
) -> Sequence[Change]:
    """The changes that were made, or would be."""
    session.progress.begin("Reading the catalogue")
    present = offering_changes.by_id([each async for each in client.list_offerings(page_size=PAGE_SIZE)])
    changes = offering_changes.find(rows, present)
    if problems := list(offering_changes.problems(changes, present)):
        raise click.UsageError("Nothing was written.\n" + "\n".join(problems))
    await _try(session, client, changes)
    if not validate_only:
        await _write(session, client, changes)
    elif not session.as_json:
        session.tell_of_validation()
        for change in changes:
            session.line(change.line())
    return changes


async def _try(session: Session, client: MessageClient, changes: Sequence[Change]) -> None:
    """Whatever the allocator would refuse is told before anything is written."""
    session.progress.begin("Checking the changes", total=len(changes))
    refused: list[EarmarkError] = []
    for change in changes:
        try:
            await change.make(client, validate_only=True)
        except EarmarkError as error:
            if exit_code(error) >= UNAVAILABLE:
                raise
            refused.append(error)
            session.aside(f"Line {change.row.line}, {change.row.offering}:")
            session.report(error)
        session.progress.step()
    if refused:
        session.aside("Nothing was written.")
        raise click.exceptions.Exit(exit_code(refused[0]))


async def _write(session: Session, client: MessageClient, changes: Sequence[Change]) -> None:
    session.progress.begin("Writing the changes", total=len(changes))
    for done, change in enumerate(changes):
        try:
            await change.make(client)
        except EarmarkError:
            session.aside(
                f"Line {change.row.line}, {change.row.offering}: stopped here, after {done} of {len(changes)} changes."
                " Load the file again: what is done is not done again."
            )
            raise
        session.progress.step()
        if not session.as_json:
            session.line(change.line())
