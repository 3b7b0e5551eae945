"""Allocations as text and tables."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from earmark import names
from earmark.cli import show, words
from earmark.cli.table import Column, Rows, card
from earmark.errors import EarmarkError
from earmark.operations import Enable, Step
from earmark.v1.allocation_service_pb2 import (
    AdjustAllocationResponse,
    ApplyOperationsResponse,
    DisableAllocationResponse,
    EnableAllocationResponse,
    OperationResult,
    UpdateAllocationResponse,
)
from earmark.v1.resources_pb2 import Allocation


def changed(
    answer: EnableAllocationResponse | AdjustAllocationResponse | DisableAllocationResponse | UpdateAllocationResponse,
) -> list[RenderableType]:
    allocation = answer.allocation
    line = show.Line(
        allocation.name,
        show.allocation_state(allocation),
        words.plural(allocation.units, "unit"),
        holds(allocation),
    )
    return [line, show.balance(answer.balance)]


def holds(allocation: Allocation) -> str:
    """`2,000 credits`, or what it needs to come back."""
    if allocation.suspended_credits:
        return f"needs {words.plural(allocation.suspended_credits, 'credit')}"
    return words.plural(allocation.credits, "credit")


def details(allocation: Allocation) -> list[RenderableType]:
    as_of = allocation.as_of
    return [
        card(
            ("allocation", names.id_of(allocation.name)),
            ("organization", names.organization_of(allocation.name)),
            ("offering", names.id_of(allocation.offering)),
            ("state", show.allocation_state(allocation)),
            ("units", words.number(allocation.units)),
            ("credits", words.number(allocation.credits)),
            ("needs", words.number(allocation.suspended_credits) if allocation.suspended_credits else ""),
            ("price version", str(allocation.price_version or "")),
            ("priority", str(allocation.priority)),
            ("labels", show.labels(allocation.labels)),
            ("enabled at revision", words.number(allocation.enabled_revision)),
            ("created", show.stamp(allocation, "create_time", as_of)),
            ("updated", show.stamp(allocation, "update_time", as_of)),
            ("etag", allocation.etag),
        )
    ]


_COLUMNS = (
    Column("ID", folds=True),
    Column("OFFERING", folds=True),
    Column("STATE"),
    Column("UNITS", number=True),
    Column("CREDITS", number=True),
    Column("PRIORITY", number=True, optional=True),
    Column("CHANGED", folds=True),
)


def rows(allocations: Sequence[Allocation], *, everywhere: bool) -> Rows:
    if not everywhere:
        return Rows(_COLUMNS, [_row(one) for one in allocations])
    columns = (Column("ORGANIZATION", folds=True), *_COLUMNS)
    return Rows(columns, [[names.organization_of(one.name), *_row(one)] for one in allocations])


def _row(allocation: Allocation) -> list[Text | str]:
    needs = f"({words.number(allocation.suspended_credits)})" if allocation.suspended_credits else ""
    return [
        names.id_of(allocation.name),
        names.id_of(allocation.offering),
        show.allocation_state(allocation),
        words.number(allocation.units),
        needs or words.number(allocation.credits),
        str(allocation.priority),
        words.relative(allocation.update_time, allocation.as_of),
    ]


_RESULT_COLUMNS = (
    Column("#", number=True),
    Column("OPERATION"),
    Column("ALLOCATION", folds=True),
    Column("STATE", optional=True),
    Column("UNITS", number=True, optional=True),
    Column("CREDITS", number=True, optional=True),
    Column("REFUSED", optional=True),
)


def applied(answer: ApplyOperationsResponse, operations: Sequence[Step]) -> list[RenderableType]:
    """A row for each operation, in order; then the messages of those that were refused."""
    results = list(enumerate(zip(answer.results, operations, strict=True)))
    verdicts = [[str(index), *_result(result, operation)] for index, (result, operation) in results]
    messages = [
        f"#{index}: {words.clean(result.status.message)}" for index, (result, _) in results if result.status.code
    ]
    return [Rows(_RESULT_COLUMNS, verdicts), *messages, show.balance(answer.balance)]


def _result(result: OperationResult, operation: Step) -> list[Text | str]:
    kind = type(operation).__name__.lower()
    if result.status.code:
        error = EarmarkError.from_status(result.status)
        wanted = operation.allocation or (operation.offering if isinstance(operation, Enable) else "")
        return [kind, names.id_of(wanted), "", "", "", Text(error.reason or error.code.name, style="red")]
    allocation = result.allocation
    return [
        kind,
        names.id_of(allocation.name),
        show.allocation_state(allocation),
        words.number(allocation.units),
        words.number(allocation.credits),
        "",
    ]
