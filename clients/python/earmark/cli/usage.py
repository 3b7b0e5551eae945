"""`earmark usage`, `earmark check`"""

import click

from earmark.cli import entitlement_show, options, usage_show
from earmark.cli.failure import REFUSED
from earmark.cli.session import Session, pass_session
from earmark.v1.allocation_service_pb2 import Entitlement


@click.command()
@click.argument("organization")
@options.output
@pass_session
def usage(session: Session, organization: str) -> None:
    """Show what an organization has, what holds it, and what ends when."""
    session.answer(lambda client: client.get_usage(organization), usage_show.details)


@click.command()
@click.argument("organization")
@click.argument("offering", default="")
@click.option("--allocation", default="", metavar="ID", help="One allocation, instead of all of an offering.")
@options.output
@pass_session
def check(session: Session, organization: str, offering: str, allocation: str) -> None:
    """Say whether an offering may be used now, and until when.

    Ends with exit code 3 if it may not: suspended, or not switched on.
    """
    answer = session.answer(
        lambda client: client.check_entitlement(organization, offering=offering, allocation=allocation),
        lambda found: entitlement_show.found(offering or allocation, found),
    )
    if answer.state not in (Entitlement.ENTITLED, Entitlement.IN_GRACE):
        raise click.exceptions.Exit(REFUSED)
