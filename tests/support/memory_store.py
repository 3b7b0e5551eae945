"""Stands in for the ledger's SQL, function by function: the connection that each is given is a `Tables`, in memory.

With these in place of `reads`, `writes` and `book_rows`, a book is opened and written back by the ledger's own
code, and nothing of it needs a database.
"""

import json
import sys
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar, cast

import pytest

from services.ledger import opening
from services.ledger.rules.answers import answer_from, answer_json
from services.ledger.rules.book import Remembered
from services.ledger.rules.model import Allocation, AllocationState, Entry, Organization, Subscription
from services.ledger.rules.price import Offering, Price
from services.ledger.rules.summing import OfferingUsage, UsageHour
from services.ledger.store.book_rows import BookRows, Named
from services.ledger.store.database import Connection
from services.ledger.store.writes import Changes
from tests.model.words import Catalogue

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T = TypeVar("T")


@dataclass
class Tables:
    """The rows of one organization; the catalogue is the model's."""

    catalogue: Catalogue
    organization: Organization | None = None
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    requests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    usage: list[OfferingUsage] = field(default_factory=list)
    """By how much each write changed the sums."""
    hours: list[UsageHour] = field(default_factory=list)
    """Of each write."""

    @property
    def connection(self) -> Connection:
        return cast(Connection, self)


@contextmanager
def instead_of_sql() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("reads", "writes"):
            patch.setattr(opening, name, sys.modules[__name__])
        patch.setattr(opening, "read_book_rows", read_book_rows)
        yield


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs what never really waits."""
    try:
        coroutine.send(None)
    except StopIteration as returned:
        return cast(T, returned.value)
    raise AssertionError("it waited for something")


def microseconds(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1)


def instant(at: int) -> datetime:
    return EPOCH + timedelta(microseconds=at)


async def read_book_rows(tables: Tables, named: Mapping[str, Named]) -> dict[str, BookRows]:
    return {organization: _book_rows(tables, organization, each) for organization, each in named.items()}


def _book_rows(tables: Tables, organization: str, named: Named) -> BookRows:
    allocations = {key: each for key, each in tables.allocations.items() if key in named.allocations}
    used = {key: tables.requests[key] for key in named.request_ids if key in tables.requests}
    return BookRows(
        now=EPOCH,  # Whoever asks knows what time it is.
        state=tables.organization,
        subscriptions={
            key: each for key, each in tables.subscriptions.items() if not each.state.over or key in named.subscriptions
        },
        allocations=allocations,
        offerings=run(read_offerings(tables, [*named.offerings, *(each.offering for each in allocations.values())])),
        requests={
            key: Remembered(key, meaning, answer_from(organization, json.loads(answer)))
            for key, (meaning, answer) in used.items()
        },
    )


async def read_suspended_allocations(tables: Tables, _: str) -> dict[str, Allocation]:
    return {key: each for key, each in tables.allocations.items() if each.state is AllocationState.SUSPENDED}


async def read_holding_allocations(tables: Tables, _: str) -> dict[str, Allocation]:
    return {key: each for key, each in tables.allocations.items() if each.credits}


async def read_offerings(tables: Tables, offerings: Sequence[str]) -> dict[str, Offering]:
    return {key: _offering(tables.catalogue, key) for key in offerings if key in tables.catalogue.offerings}


async def write_changes(tables: Tables, changes: Changes) -> None:
    if changes.state is not None:
        assert changes.is_new == (tables.organization is None)
        tables.organization = changes.state
    tables.entries.extend(changes.entries)
    tables.hours.extend(changes.hours)
    tables.subscriptions.update({each.subscription: each for each in changes.subscriptions})
    tables.allocations.update({each.allocation: each for each in changes.allocations})
    tables.usage.extend(changes.usage)
    for each in changes.remembered:
        assert each.request_id not in tables.requests
        tables.requests[each.request_id] = (each.meaning, json.dumps(answer_json(each.answer)))


def _offering(catalogue: Catalogue, name: str) -> Offering:
    found = catalogue.offerings[name]
    prices = tuple(
        Price(
            each.version,
            instant(each.since),
            Decimal(each.credits_per_block.numerator) / each.credits_per_block.denominator,
            each.block_units,
            each.max_credits,
        )
        for each in found.prices
    )
    begin = prices[0].effective_time
    return Offering(name, name, "", "", found.retired, prices, len(prices), begin, begin)
