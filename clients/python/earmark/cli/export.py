"""`earmark export`"""

import errno
import io
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import click
import grpc

from earmark import names
from earmark.cli import export_columns, files, options, parse
from earmark.cli.parse import Moment
from earmark.cli.session import Session, pass_session
from earmark.cli.term import Term
from earmark.errors import EarmarkError
from earmark.messages import MessageClient
from earmark.v1.resources_pb2 import Entry

PAGE_SIZE = 1000


@dataclass(frozen=True)
class Range:
    """The revisions above `after`, up to `through`, of what took effect from `start` on."""

    after: int
    through: int
    start: datetime | None


@click.command()
@click.argument("organization")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    default="-",
    help="Write to a file, whole or not at all.",
)
@click.option("--after", type=parse.number, default="0", metavar="REVISION", help="Only later ones.")
@click.option("--through", type=parse.number, metavar="REVISION", help="Up to this one. Default: the newest.")
@click.option("--from", "start", type=parse.instant, help="Only those in effect from then on.")
@click.option("--to", "end", type=parse.instant, help="Only those before then; not in the future.")
@options.output
@pass_session
def export(session: Session, /, organization: str, output: Path, **limits: Any) -> None:
    """Write the ledger of an organization as CSV.

    The columns never change but for new ones at the end; instants are UTC with microseconds. The same range of
    revisions gives the same bytes each time. A text that a spreadsheet could take for a formula has a ' before it.
    """
    with _opened(session, output) as file:
        found = session.run(lambda client: _export(session, client, organization, file, **limits))
    if session.err.is_terminal:
        session.aside(f"The same again: --after {found.after} --through {found.through}")


@contextmanager
def _opened(session: Session, output: Path) -> Iterator[BinaryIO]:
    opened = False
    try:
        with _stdout(session) if str(output) == "-" else files.replaced(output) as file:
            opened = True
            yield file
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        message = f"{'the standard output' if str(output) == '-' else repr(str(output))}: {error.strerror}."
        if opened:
            raise click.ClickException(message) from error
        raise click.BadParameter(message, param_hint="--output") from error


@contextmanager
def _stdout(session: Session) -> Iterator[BinaryIO]:
    session.progress.wanted &= not session.out_is_drawn  # Rows that are seen need no bar.
    yield sys.stdout.buffer


async def _export(session: Session, client: MessageClient, organization: str, file: BinaryIO, **limits: Any) -> Range:
    """What was written, as revisions."""
    wanted = await _range(client, organization, **limits)
    session.progress.begin(
        "Exporting the ledger", total=None if wanted.start else max(0, wanted.through - wanted.after)
    )
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        write = export_columns.writer(text)
        first = last = None
        async for entry in _entries(client, organization, wanted):
            write(entry)
            session.progress.step()
            first, last = first or entry.revision, entry.revision
        text.flush()
    finally:
        with suppress(OSError):  # Closing it would close what is not ours.
            text.detach()
    if first is None or last is None:
        return Range(wanted.through, wanted.through, None)
    return Range(first - 1, last, None)


async def _range(
    client: MessageClient,
    organization: str,
    *,
    after: int,
    through: int | None,
    start: Moment | None,
    end: Moment | None,
) -> Range:
    """Closed: nothing that is written from now on lies in it."""
    term = Term(client, organization)
    newest = (await term.balance()).revision
    if max(after, through or 0) > newest:
        raise click.UsageError(f"{organization} has come to revision {newest:,}, and not further.")
    last = newest if through is None else through
    if end is not None:
        before = await term.required(end)
        if before > await term.now():
            raise click.UsageError("--to is still to come; leave it out for all that there is.")
        last = min(last, await _last_before(client, organization, before))
    return Range(after, last, await term.absolute(start))


async def _last_before(client: MessageClient, organization: str, end: datetime) -> int:
    """The revision of the last entry that took effect before then; 0 if none did."""
    async for entry in client.list_entries(organization, end=end, newest_first=True, page_size=1):
        return entry.revision
    return 0


async def _entries(client: MessageClient, organization: str, wanted: Range) -> AsyncIterator[Entry]:
    """All of the range, in order. Raises EarmarkError where what comes has a gap, or ends too early."""
    if wanted.after >= wanted.through:
        return
    size = min(PAGE_SIZE, wanted.through - wanted.after)
    expected = None if wanted.start else wanted.after + 1
    async for entry in client.list_entries(
        organization, after_revision=wanted.after, start=wanted.start, page_size=size
    ):
        if entry.revision > wanted.through:
            break
        if expected not in (None, entry.revision):
            raise _missing(organization, expected)
        yield entry
        expected = entry.revision + 1
        if entry.revision == wanted.through:
            return
    if expected is not None and expected <= wanted.through:
        raise _missing(organization, expected)


def _missing(organization: str, revision: int | None) -> EarmarkError:
    message = f"The ledger came without revision {revision} of {names.id_of(organization)}."
    return EarmarkError.of("", grpc.StatusCode.DATA_LOSS, message)
