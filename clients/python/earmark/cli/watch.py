"""`earmark watch`"""

from contextlib import aclosing

import click

from earmark.cli import options, parse, watch_show
from earmark.cli.failure import to_json
from earmark.cli.session import Session, pass_session
from earmark.messages.client import MessageClient
from earmark.v1.usage_service_pb2 import WatchUsageResponse


@click.command()
@click.argument("organization")
@click.option("--after", "after_revision", type=parse.number, metavar="REVISION", help="Begin after this one.")
@click.option("--from-beginning", is_flag=True, help="Begin with the first entry.")
@click.option("--resume", "resume_token", default="", metavar="TOKEN", help="Begin where another watch ended.")
@options.output
@pass_session
def watch(
    session: Session, organization: str, after_revision: int | None, from_beginning: bool, resume_token: str
) -> None:
    """Print each change of an organization as it happens, until Ctrl-C.

    Begins with how things are now, unless told where to begin. Takes itself up again where a connection is lost,
    and misses nothing. With --json each line is a message, heartbeats included.
    """
    if (after_revision is not None) + from_beginning + bool(resume_token) > 1:
        raise click.UsageError("Give one of --after, --from-beginning and --resume.")
    seen = WatchUsageResponse()

    async def work(client: MessageClient) -> None:
        messages = client.watch_usage(
            organization,
            after_revision=0 if from_beginning else after_revision,
            resume_token=resume_token,
            on_disconnect=session.lost,
        )
        async with aclosing(messages):
            async for message in messages:
                session.heard()
                show(message)
                seen.resume_token = message.resume_token

    def show(message: WatchUsageResponse) -> None:
        if session.as_json:
            click.echo(to_json(message))
            return
        for line in watch_show.lines(message):
            session.line(line)

    session.until_interrupted(work)
    if seen.resume_token:
        session.aside(f"To go on from here: --resume {seen.resume_token}")
