"""`earmark monitor`"""

from contextlib import aclosing

import click
from rich.live import Live

from earmark.cli import options, watch_show
from earmark.cli.board import Board
from earmark.cli.failure import to_json
from earmark.cli.session import Session, pass_session
from earmark.errors import EarmarkError
from earmark.messages.client import MessageClient
from earmark.v1.resources_pb2 import Balance

REFRESHES_PER_SECOND = 4


@click.command()
@click.argument("organizations", metavar="[ORGANIZATION]...", nargs=-1)
@click.option("--plain", is_flag=True, help="A line for each change, also on a terminal.")
@options.output
@pass_session
def monitor(session: Session, organizations: tuple[str, ...], plain: bool) -> None:
    """Show the balances of these organizations, or of all, as they change, until Ctrl-C.

    On a terminal as a table, with those on top that need attention; elsewhere, and with --plain, a line for each
    change. With --json each line is a balance. Of changes in quick succession only the last may be shown.
    """
    if plain or session.as_json or not session.out.is_interactive:
        session.until_interrupted(lambda client: _lines(session, client, organizations))
        return
    board = Board()
    session.until_interrupted(lambda client: _table(session, board, client, organizations))
    session.out.print(board)


async def _lines(session: Session, client: MessageClient, organizations: tuple[str, ...]) -> None:
    """What comes again after a reconnect is not said again."""
    revisions: dict[str, int] = {}

    def show(balance: Balance) -> None:
        if revisions.get(balance.organization) == balance.revision:
            return
        revisions[balance.organization] = balance.revision
        if session.as_json:
            click.echo(to_json(balance))
        else:
            session.line(watch_show.balance(balance))

    async with aclosing(client.watch_balances(*organizations, on_disconnect=session.lost)) as messages:
        async for message in messages:
            session.heard()
            for balance in message.balances:
                show(balance)


async def _table(session: Session, board: Board, client: MessageClient, organizations: tuple[str, ...]) -> None:
    def lost(error: EarmarkError) -> None:
        if session.beginning.lost(error):
            board.disconnected(error)

    shown = Live(
        console=session.out, get_renderable=lambda: board, screen=True, refresh_per_second=REFRESHES_PER_SECOND
    )
    with shown:
        async with aclosing(client.watch_balances(*organizations, on_disconnect=lost)) as messages:
            async for message in messages:
                session.beginning.heard()
                board.take(message)
