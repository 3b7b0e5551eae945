"""Organizations: creating them, and changing their names and overdrafts."""

from typing import TypeVar

from msgspec.structs import replace

from services.ledger.rules import names
from services.ledger.rules.answers import Consequences
from services.ledger.rules.book import Book, Moment
from services.ledger.rules.commands import CreateOrganization, UpdateOrganization
from services.ledger.rules.covering import change_coverage, unchanged_coverage
from services.ledger.rules.encoding import organization_json
from services.ledger.rules.model import EntryKind, Figures, Organization
from services.ledger.rules.refusal import Reason, Refused, check_etag

T = TypeVar("T")


def create_organization(book: Book, organization: str, command: CreateOrganization, moment: Moment) -> None:
    name = names.organization_name(organization)
    if book.organization is not None:
        raise Refused(Reason.ORGANIZATION_ALREADY_EXISTS, f"{name} exists already; choose another id", {}, name)
    book.organization = Organization(
        organization=organization,
        display_name=command.display_name,
        figures=Figures(),
        revision=0,
        digest=bytes(32),
        settled_time=moment.effective_time,
        next_transition_time=None,
        threshold_percent=0,
        open_allocations=0,
        changed_revision=1,
        create_time=moment.effective_time,
        update_time=moment.effective_time,
    )
    figures = Figures(overdraft_limit=command.overdraft_limit, overdraft_unlimited=command.overdraft_unlimited)
    after = organization_json(book.organization)
    book.post(EntryKind.ORGANIZATION_CREATED, moment, "", after, figures)


def update_organization(book: Book, command: UpdateOrganization, moment: Moment) -> Consequences:
    old = book.state
    check_etag(command.etag, old.etag, old.name)
    figures = replace(
        old.figures,
        overdraft_limit=_sent_or(command.overdraft_limit, old.figures.overdraft_limit),
        overdraft_unlimited=_sent_or(command.overdraft_unlimited, old.figures.overdraft_unlimited),
    )
    display_name = _sent_or(command.display_name, old.display_name)
    if (figures, display_name) == (old.figures, old.display_name):
        return unchanged_coverage(book)

    def post() -> None:
        book.organization = replace(
            book.state,
            display_name=display_name,
            changed_revision=book.state.revision + 1,
            update_time=moment.effective_time,
        )
        after = replace(
            book.state.figures,
            overdraft_limit=figures.overdraft_limit,
            overdraft_unlimited=figures.overdraft_unlimited,
        )
        own = organization_json(book.state)
        book.post(EntryKind.ORGANIZATION_UPDATED, moment, "", own, after)

    return change_coverage(book, book.live_subscriptions(), figures, moment, command.force, old.name, post)


def _sent_or(sent: T | None, stored: T) -> T:
    return stored if sent is None else sent
