"""Offerings and their prices as text and tables."""

from collections.abc import Sequence

from rich.console import RenderableType

from earmark import names
from earmark.cli import show, words
from earmark.cli.table import Column, Rows, card
from earmark.v1.resources_pb2 import Offering, Price

_PRICE_COLUMNS = (
    Column("CREDITS", number=True),
    Column("PER", folds=True),
    Column("AT MOST", number=True, optional=True),
)
_VERSION_COLUMNS = (Column("PRICE"), *_PRICE_COLUMNS, Column("FROM", folds=True))


def details(offering: Offering) -> list[RenderableType]:
    about = card(
        ("offering", names.id_of(offering.name)),
        ("display name", offering.display_name),
        ("solution", offering.solution),
        ("unit", offering.unit),
        ("retired", "yes: nothing of it can be switched on" if offering.retired else ""),
        ("created", show.stamp(offering, "create_time", offering.as_of)),
        ("updated", show.stamp(offering, "update_time", offering.as_of)),
        ("etag", offering.etag),
    )
    prices = Rows(
        _VERSION_COLUMNS,
        [
            [_version(price, offering), *price_cells(price, offering.unit), _since(price, offering)]
            for price in offering.prices
        ],
    )
    return [about, prices]


def price_cells(price: Price, unit: str) -> list[str]:
    """`0.05`, `10 GB`, `5,000`."""
    blocks = words.number(price.block_units) if price.block_units > 1 else ""
    at_most = words.number(price.max_credits) if price.HasField("max_credits") else ""
    return [words.decimal(price.credits_per_block), f"{blocks} {unit or 'unit'}".strip(), at_most]


def _version(price: Price, offering: Offering) -> str:
    return f"{price.version} (in force)" if price.version == offering.price.version else str(price.version)


def _since(price: Price, offering: Offering) -> str:
    return show.stamp(price, "effective_time", offering.as_of)


_COLUMNS = (
    Column("ID", folds=True),
    Column("NAME", folds=True, optional=True),
    Column("SOLUTION", folds=True, optional=True),
    *_PRICE_COLUMNS,
    Column("RETIRED", optional=True),
)


def rows(offerings: Sequence[Offering]) -> Rows:
    return Rows(_COLUMNS, [_row(one) for one in offerings])


def _row(offering: Offering) -> list[str]:
    return [
        names.id_of(offering.name),
        offering.display_name,
        offering.solution,
        *price_cells(offering.price, offering.unit),
        "retired" if offering.retired else "",
    ]
