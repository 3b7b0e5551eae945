"""`earmark subscription ...`"""

from typing import Any

import click

from earmark import names
from earmark.cli import options, parse, subscription_show
from earmark.cli.parse import Moment
from earmark.cli.session import Session, pass_session
from earmark.cli.term import Term
from earmark.messages.client import MessageClient
from earmark.v1.resources_pb2 import Subscription
from earmark.v1.subscription_service_pb2 import CreateSubscriptionResponse, UpdateSubscriptionResponse


@click.group()
def subscription() -> None:
    """Purchases of credits for a term."""


_start = click.option("--start", type=parse.instant, help="When the credits become valid.")
_end = click.option("--end", type=parse.instant, help="When they stop being valid; grace begins.")
_grace = click.option("--grace", "grace_period", type=parse.duration, help="How long grace lasts.")
_order = click.option("--order", "order_reference", help="An order or contract number.")


@subscription.command()
@click.argument("organization")
@click.argument("credits", type=parse.number)
@click.option("--for", "length", type=parse.duration, help="The length of the term, instead of --end.")
@_end
@_start
@_grace
@click.option("--renews", default="", metavar="SUBSCRIPTION", help="Begins as that one ends, unless --start.")
@_order
@click.option("--id", "subscription", default="", metavar="ID", help="Default: made by the server.")
@options.labels
@options.mutation
@pass_session
def buy(session: Session, /, organization: str, length: Any, start: Any, end: Any, **fields: Any) -> None:
    """Buy CREDITS for a term: --for 365d, or --end 2027-01-31.

    Relative times and --for are reckoned by the server's clock at the call: to repeat a purchase with the
    same --request-id, give --end as an instant.
    """
    if (length is None) == (end is None):
        raise click.UsageError("Give the term as either --for or --end.")
    fields["order_reference"] = fields["order_reference"] or ""

    async def work(client: MessageClient) -> CreateSubscriptionResponse:
        term = Term(client, organization)
        begin = await term.absolute(start)
        if length is not None:
            until = await term.end_after(length, begin, fields["renews"])
        else:
            until = await term.required(end)
        session.repeat_with += term.as_options(begin, until)
        return await client.create_subscription(organization, start_time=begin, end_time=until, **fields)

    session.answer(work, subscription_show.changed, validate_only=fields["validate_only"])


@subscription.command()
@click.argument("organization")
@click.argument("subscription")
@click.option("--credits", type=parse.number, help="So many in all.")
@_end
@_start
@_grace
@_order
@options.new_labels
@options.etag
@options.force
@options.mutation
@pass_session
def update(session: Session, /, organization: str, subscription: str, **fields: Any) -> None:
    """Change the term, the grace, the credits, the order or the labels."""
    start: Moment | None = fields.pop("start")
    end: Moment | None = fields.pop("end")
    fields["labels"] = options.chosen_labels(fields["labels"], fields.pop("clear_labels"))

    async def work(client: MessageClient) -> UpdateSubscriptionResponse:
        term = Term(client, organization)
        begin, until = await term.absolute(start), await term.absolute(end)
        session.repeat_with += term.as_options(begin, until)
        return await client.update_subscription(organization, subscription, start_time=begin, end_time=until, **fields)

    session.answer(work, subscription_show.changed, validate_only=fields["validate_only"])


@subscription.command()
@click.argument("organization")
@click.argument("subscription")
@options.etag
@options.force
@options.mutation
@pass_session
def cancel(session: Session, /, organization: str, subscription: str, **fields: Any) -> None:
    """End a subscription at once, without grace."""
    session.answer(
        lambda client: client.cancel_subscription(organization, subscription, **fields),
        subscription_show.changed,
        validate_only=fields["validate_only"],
    )


@subscription.command("show")
@click.argument("organization")
@click.argument("subscription")
@options.output
@pass_session
def show_one(session: Session, organization: str, subscription: str) -> None:
    """Show a subscription."""
    session.answer(lambda client: client.get_subscription(organization, subscription), subscription_show.details)


@subscription.command("list")
@click.argument("organization", default=names.EVERY)
@options.state(Subscription.State)
@options.listing
@pass_session
def list_all(session: Session, /, organization: str, state: Any, limit: int | None) -> None:
    """List the subscriptions of an organization, or of all."""
    everywhere = organization == names.EVERY
    session.each(
        lambda client: client.list_subscriptions(organization, state=state, page_size=1000),
        lambda found: subscription_show.rows(found, everywhere=everywhere),
        noun="subscription",
        limit=limit,
    )
