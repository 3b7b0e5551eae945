"""`earmark entries`"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import click

from earmark import names
from earmark.cli import entry_show, options, parse
from earmark.cli.parse import Moment
from earmark.cli.session import Session, pass_session
from earmark.cli.term import Term
from earmark.messages.client import MessageClient
from earmark.v1.resources_pb2 import Entry

PAGE_SIZE_MAX = 1000


@click.command()
@click.argument("organization")
@options.kinds(Entry.Kind)
@click.option("--resource", default="", help="Only of this one: allocations/ID or subscriptions/ID.")
@click.option("--from", "start", type=parse.instant, help="Only those in effect from then on.")
@click.option("--to", "end", type=parse.instant, help="Only those before then.")
@click.option("--after", "after_revision", type=parse.number, default="0", metavar="REVISION", help="Only later ones.")
@click.option("--newest", "newest_first", is_flag=True, help="The newest first.")
@options.listing
@pass_session
def entries(
    session: Session,
    /,
    organization: str,
    start: Moment | None,
    end: Moment | None,
    limit: int | None,
    **filters: Any,
) -> None:
    """Read the ledger of an organization, or of all (`-`), line by line."""
    everywhere = organization == names.EVERY
    if everywhere and any(isinstance(each, timedelta) for each in (start, end)):
        raise click.UsageError("What is relative needs one organization, whose time it is relative to.")

    async def items(client: MessageClient) -> AsyncIterator[Entry]:
        term = Term(client, organization)
        return client.list_entries(
            organization,
            start=await term.absolute(start),
            end=await term.absolute(end),
            page_size=min(PAGE_SIZE_MAX, (limit or PAGE_SIZE_MAX) + 1),
            **filters,
        )

    session.each_line(items, lambda entry: entry_show.line(entry, everywhere=everywhere), noun="entries", limit=limit)
