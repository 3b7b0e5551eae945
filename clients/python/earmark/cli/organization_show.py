"""Organizations as text and tables."""

from collections.abc import Sequence

from rich.console import RenderableType

from earmark import names
from earmark.cli import show, words
from earmark.cli.table import Column, Rows, card
from earmark.v1.organization_service_pb2 import CreateOrganizationResponse, UpdateOrganizationResponse
from earmark.v1.resources_pb2 import Organization


def changed(answer: CreateOrganizationResponse | UpdateOrganizationResponse) -> list[RenderableType]:
    organization = answer.organization
    line = show.Line(organization.name, organization.display_name)
    followed = show.consequences(answer.consequences) if isinstance(answer, UpdateOrganizationResponse) else []
    return [line, *followed, show.balance(answer.balance)]


def details(organization: Organization) -> list[RenderableType]:
    balance = organization.balance
    as_of = balance.as_of
    spendable = words.number(balance.spendable_credits) if balance.HasField("spendable_credits") else ""
    coverage = words.number(balance.coverage_credits) if balance.HasField("coverage_credits") else ""
    about = card(
        ("organization", names.id_of(organization.name)),
        ("display name", organization.display_name),
        ("created", show.stamp(organization, "create_time", as_of)),
        ("updated", show.stamp(organization, "update_time", as_of)),
        ("etag", organization.etag),
        ("revision", words.number(balance.revision)),
        ("as of", words.rfc_3339(words.moment(as_of))),
        ("spendable", spendable or "without bound"),
        ("coverage", coverage or "without bound"),
    )
    return [about, show.balance(balance)]


_COLUMNS = (
    Column("ID", folds=True),
    Column("NAME", folds=True, optional=True),
    Column("VALID", number=True),
    Column("GRACE", number=True, optional=True),
    Column("ALLOCATED", number=True),
    Column("AVAILABLE", number=True),
    Column("SUSPENDED", number=True, optional=True),
    Column("OVERDRAFT", number=True, optional=True),
)


def rows(organizations: Sequence[Organization]) -> Rows:
    return Rows(_COLUMNS, [_row(one) for one in organizations])


def _row(organization: Organization) -> list[str]:
    balance = organization.balance
    return [
        names.id_of(organization.name),
        organization.display_name,
        words.number(balance.valid_credits),
        words.number(balance.grace_credits),
        words.number(balance.allocated_credits),
        words.number(balance.available_credits),
        words.number(balance.suspended_credits),
        show.overdraft(organization),
    ]
