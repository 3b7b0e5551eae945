"""`earmark allocation ...`"""

from typing import IO, Any

import click

from earmark import names
from earmark.cli import allocation_show, options, parse, steps, words
from earmark.cli.failure import exit_code
from earmark.cli.session import Session, pass_session
from earmark.errors import EarmarkError
from earmark.v1.resources_pb2 import Allocation


@click.group()
def allocation() -> None:
    """Offerings switched on for an organization."""


_priority = click.option("--priority", type=parse.priority, help="Higher ones are suspended later and resumed earlier.")


@allocation.command()
@click.argument("organization")
@click.argument("offering")
@click.argument("units", type=parse.number)
@click.option("--id", "allocation", default="", metavar="ID", help="Default: the offering's id.")
@_priority
@options.labels
@options.mutation
@pass_session
def enable(session: Session, /, organization: str, offering: str, units: int, **fields: Any) -> None:
    """Switch an offering on, at exactly so many UNITS.

    To hold one offering many times give each an --id. Ids are one space for all offerings of the
    organization, so prefix them: endpoint-sensor~web-1.
    """
    session.answer(
        lambda client: client.enable_allocation(organization, offering=offering, units=units, **fields),
        allocation_show.changed,
        validate_only=fields["validate_only"],
    )


@allocation.command(context_settings={"ignore_unknown_options": True})
@click.argument("organization")
@click.argument("allocation")
@click.argument("delta_units", metavar="UNITS", type=parse.change)
@options.mutation
@pass_session
def adjust(session: Session, /, organization: str, allocation: str, delta_units: int, **fields: Any) -> None:
    """Add UNITS to an allocation, or take them away: +5, -3. To zero switches it off."""
    session.answer(
        lambda client: client.adjust_allocation(organization, allocation, delta_units=delta_units, **fields),
        allocation_show.changed,
        validate_only=fields["validate_only"],
    )


@allocation.command()
@click.argument("organization")
@click.argument("allocation")
@options.mutation
@pass_session
def disable(session: Session, /, organization: str, allocation: str, **fields: Any) -> None:
    """Switch an allocation off; its credits come back."""
    session.answer(
        lambda client: client.disable_allocation(organization, allocation, **fields),
        allocation_show.changed,
        validate_only=fields["validate_only"],
    )


@allocation.command()
@click.argument("organization")
@click.argument("allocation")
@_priority
@options.new_labels
@options.etag
@options.mutation
@pass_session
def update(session: Session, /, organization: str, allocation: str, **fields: Any) -> None:
    """Change the priority or the labels."""
    fields["labels"] = options.chosen_labels(fields["labels"], fields.pop("clear_labels"))
    session.answer(
        lambda client: client.update_allocation(organization, allocation, **fields),
        allocation_show.changed,
        validate_only=fields["validate_only"],
    )


@allocation.command("show")
@click.argument("organization")
@click.argument("allocation")
@options.output
@pass_session
def show_one(session: Session, organization: str, allocation: str) -> None:
    """Show an allocation."""
    session.answer(lambda client: client.get_allocation(organization, allocation), allocation_show.details)


@allocation.command("list")
@click.argument("organization", default=names.EVERY)
@click.option("--offering", default="", help="Only of this offering.")
@options.state(Allocation.State)
@options.labels
@options.listing
@pass_session
def list_all(session: Session, /, organization: str, limit: int | None, **filters: Any) -> None:
    """List the allocations of an organization, or of all."""
    everywhere = organization == names.EVERY
    session.each(
        lambda client: client.list_allocations(organization, page_size=1000, **filters),
        lambda found: allocation_show.rows(found, everywhere=everywhere),
        noun="allocation",
        limit=limit,
    )


@allocation.command()
@click.argument("organization")
@click.argument("file", type=click.File(encoding="utf-8"), default="-")
@click.option("--partial", is_flag=True, help="Each operation on its own, whatever becomes of the others.")
@options.mutation
@pass_session
def apply(session: Session, /, organization: str, file: IO[str], partial: bool, **fields: Any) -> None:
    """Apply up to 1,000 operations in order, all or nothing, from FILE or the standard input.

    \b
    As JSON lines:
      {"operation": "enable", "offering": "endpoint-sensor", "units": 100}
      {"operation": "adjust", "allocation": "endpoint-sensor", "delta_units": -5}
      {"operation": "disable", "allocation": "endpoint-sensor"}
    or as CSV with a header of the columns that are needed:
      operation,allocation,offering,units,delta_units,priority,labels,request_id

    With --partial each operation has a request id: its own, or --request-id and its index (ID-0, ID-1, ...).
    The exit code is then that of the first one refused.
    """
    operations = steps.read(steps.read_text(file))
    session.progress.begin(f"Applying {words.plural(len(operations), 'operation')}")
    answer = session.answer(
        lambda client: client.apply_operations(organization, operations, allow_partial=partial, **fields),
        lambda answer: allocation_show.applied(answer, operations),
        validate_only=fields["validate_only"],
    )
    refused = next((result.status for result in answer.results if result.status.code), None)
    if refused is not None:
        raise click.exceptions.Exit(exit_code(EarmarkError.from_status(refused)))
