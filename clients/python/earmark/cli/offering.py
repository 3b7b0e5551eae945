"""`earmark offering ...`"""

from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any

import click

from earmark.cli import offering_show, options, parse
from earmark.cli.parse import Moment
from earmark.cli.session import Session, pass_session
from earmark.messages.client import MessageClient
from earmark.messages.wire import price as make_price
from earmark.v1.resources_pb2 import Offering, Price


@click.group()
def offering() -> None:
    """The catalogue: what can be switched on, and its prices."""


_display_name = click.option("--display-name", help="For people.")
_solution = click.option("--solution", help="The product family it belongs to.")
_unit = click.option("--unit", help="What one unit is, such as GB.")
_block_units = click.option("--block-units", type=parse.number, help="Units of one block. Default: 1.")
_max_credits = click.option(
    "--max-credits", type=parse.number, help="The most that one allocation costs. Default: no maximum."
)


@offering.command()
@click.argument("offering")
@click.option("--price", type=parse.decimal, required=True, help="Credits of one block, such as 20 or 0.05.")
@_block_units
@_max_credits
@_display_name
@_solution
@_unit
@click.option("--retired", is_flag=True, help="Nothing of it may be switched on yet.")
@options.mutation
@pass_session
def create(
    session: Session, /, offering: str, price: Decimal, block_units: int, max_credits: int, **fields: Any
) -> None:
    """Add an offering."""
    first = make_price(price, block_units=block_units, max_credits=max_credits)
    given = {key: value for key, value in fields.items() if value is not None}
    session.answer(
        lambda client: client.create_offering(offering, price=first, **given),
        offering_show.details,
        validate_only=fields["validate_only"],
    )


@offering.command()
@click.argument("offering")
@click.option("--price", type=parse.decimal, help="A new version of the price: credits of one block.")
@_block_units
@_max_credits
@click.option("--from", "moment", type=parse.instant, help="When the new price takes effect. Default: now.")
@_display_name
@_solution
@_unit
@click.option("--retire/--unretire", "retired", default=None, help="Whether nothing of it may be switched on.")
@options.etag
@options.mutation
@pass_session
def update(
    session: Session, /, offering: str, block_units: int, max_credits: int, moment: Moment, **fields: Any
) -> None:
    """Change texts, retire, or add a version of the price.

    A price is replaced as a whole, with its block and its maximum. What is enabled keeps its version.
    """
    amount: Decimal | None = fields.pop("price")
    if amount is None and any(value is not None for value in (block_units, max_credits, moment)):
        raise click.UsageError("--block-units, --max-credits and --from belong to a --price.")

    async def work(client: MessageClient) -> Offering:
        price = None
        if amount is not None:
            price = make_price(amount, block_units=block_units, max_credits=max_credits)
            await _take_effect(client, offering, price, moment)
        return await client.update_offering(offering, price=price, **fields)

    session.answer(work, offering_show.details, validate_only=fields["validate_only"])


async def _take_effect(client: MessageClient, offering: str, price: Price, moment: Moment | None) -> None:
    """Relative times are reckoned by the server's clock; no time at all means the instant of the call."""
    if isinstance(moment, timedelta):
        if not moment:
            return
        moment = (await client.get_offering(offering)).as_of.ToDatetime(tzinfo=UTC) + moment
    if moment is not None:
        price.effective_time.FromDatetime(moment)


@offering.command("show")
@click.argument("offering")
@options.output
@pass_session
def show_one(session: Session, offering: str) -> None:
    """Show an offering and every version of its price."""
    session.answer(lambda client: client.get_offering(offering), offering_show.details)


@offering.command("list")
@options.listing
@pass_session
def list_all(session: Session, /, limit: int | None) -> None:
    """List the catalogue."""
    session.each(lambda client: client.list_offerings(page_size=1000), offering_show.rows, noun="offering", limit=limit)
