"""`earmark organization ...`"""

from typing import Any

import click

from earmark.cli import options, organization_show, parse
from earmark.cli.session import Session, pass_session


@click.group()
def organization() -> None:
    """Customers and their overdrafts."""


_display_name = click.option("--display-name", help="For people.")
_overdraft = click.option(
    "--overdraft",
    "overdraft_limit",
    type=parse.number,
    metavar="CREDITS",
    help="Credits that may be allocated beyond the valid ones.",
)


@organization.command()
@click.argument("organization")
@_display_name
@_overdraft
@click.option("--overdraft-unlimited", is_flag=True, help="No upper bound.")
@options.mutation
@pass_session
def create(session: Session, /, organization: str, **fields: Any) -> None:
    """Create an organization, with nothing in it."""
    given = {key: value for key, value in fields.items() if value is not None}
    session.answer(
        lambda client: client.create_organization(organization, **given),
        organization_show.changed,
        validate_only=fields["validate_only"],
    )


@organization.command()
@click.argument("organization")
@_display_name
@_overdraft
@click.option("--overdraft-unlimited/--overdraft-limited", default=None, help="Without an upper bound, or with.")
@options.etag
@options.force
@options.mutation
@pass_session
def update(session: Session, /, organization: str, **fields: Any) -> None:
    """Change the display name or the overdraft."""
    session.answer(
        lambda client: client.update_organization(organization, **fields),
        organization_show.changed,
        validate_only=fields["validate_only"],
    )


@organization.command("show")
@click.argument("organization")
@options.output
@pass_session
def show_one(session: Session, organization: str) -> None:
    """Show an organization and its figures."""
    session.answer(lambda client: client.get_organization(organization), organization_show.details)


@organization.command("list")
@options.listing
@pass_session
def list_all(session: Session, /, limit: int | None) -> None:
    """List all organizations."""
    session.each(
        lambda client: client.list_organizations(page_size=1000),
        organization_show.rows,
        noun="organization",
        limit=limit,
    )
