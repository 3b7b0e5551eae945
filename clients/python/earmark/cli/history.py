"""`earmark history`, `earmark forecast`"""

from datetime import UTC, datetime, timedelta

import click
from rich.console import RenderableType

from earmark.cli import history_show, options, parse
from earmark.cli.parse import Moment
from earmark.cli.session import Session, pass_session
from earmark.cli.term import Term
from earmark.messages.client import MessageClient
from earmark.v1.usage_service_pb2 import ForecastUsageResponse, QueryUsageHistoryRequest, QueryUsageHistoryResponse

_STEPS = {
    # what is said: the step, its length, how far back unless said
    "day": (QueryUsageHistoryRequest.DAY, timedelta(days=1), timedelta(days=365)),
    "hour": (QueryUsageHistoryRequest.HOUR, timedelta(hours=1), timedelta(days=7)),
}


@click.command()
@click.argument("organization")
@click.option("--from", "start", type=parse.instant, help="Default: a year ago; by hours a week ago.")
@click.option("--to", "end", type=parse.instant, default="now", help="Default: now.")
@click.option("--by", type=click.Choice(list(_STEPS)), default="day", show_default=True, help="Of UTC.")
@options.output
@pass_session
def history(session: Session, organization: str, start: Moment | None, end: Moment, by: str) -> None:
    """Draw what was valid and what was allocated.

    The first and the last step are whole ones. Where they do not all fit, each column is several: valid is then
    that at its end, and allocated the most at any time in it.
    """
    step, length, default = _STEPS[by]

    async def work(client: MessageClient) -> QueryUsageHistoryResponse:
        term = Term(client, organization)
        until = _up(await term.required(end), length)
        since = until - default if start is None else _down(await term.required(start), length)
        if since >= until:
            raise click.UsageError("--from must be before --to.")
        return await client.query_usage_history(organization, start=since, end=until, step=step)

    def render(answer: QueryUsageHistoryResponse) -> list[RenderableType]:
        return history_show.history(answer, length, whole=start is not None)

    session.answer(work, render)


def _down(instant: datetime, length: timedelta) -> datetime:
    """The start of the step that it lies in."""
    return instant - (instant - datetime(1970, 1, 1, tzinfo=UTC)) % length


def _up(instant: datetime, length: timedelta) -> datetime:
    """The end of the last step that begins before it."""
    floor = _down(instant, length)
    return floor if floor == instant else floor + length


@click.command()
@click.argument("organization")
@click.option("--until", type=parse.instant, default="+365d", show_default=True)
@options.output
@pass_session
def forecast(session: Session, organization: str, until: Moment) -> None:
    """Draw what time alone will do, and list its dates."""
    reached: list[datetime] = []

    async def work(client: MessageClient) -> ForecastUsageResponse:
        reached.append(await Term(client, organization).required(until))
        return await client.forecast_usage(organization, until=reached[0])

    session.answer(work, lambda answer: history_show.forecast(answer, reached[0]))
