"""Stands in for the ledger's SQL, function by function: the connection that each is given is a `Tables`, in memory.

With these in place of `reads`, `writes` and `catalog_tables`, a book is opened and written back by the ledger's own
code, and nothing of it needs a database.
"""

import json
import sys
from collections.abc import Coroutine, Iterator, Sequence
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
from services.ledger.store.database import Connection
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
        for name in ("reads", "writes", "catalog_tables", "usage_tables"):
            patch.setattr(opening, name, sys.modules[__name__])
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


async def read_live_subscriptions(tables: Tables, _: str, named: Sequence[str]) -> dict[str, Subscription]:
    return {key: each for key, each in tables.subscriptions.items() if not each.state.over or key in named}


async def read_allocations(tables: Tables, _: str, named: Sequence[str]) -> dict[str, Allocation]:
    return {key: each for key, each in tables.allocations.items() if key in named}


async def read_suspended_allocations(tables: Tables, _: str) -> dict[str, Allocation]:
    return {key: each for key, each in tables.allocations.items() if each.state is AllocationState.SUSPENDED}


async def read_holding_allocations(tables: Tables, _: str) -> dict[str, Allocation]:
    return {key: each for key, each in tables.allocations.items() if each.credits}


async def read_requests(tables: Tables, organization: str, request_ids: Sequence[str]) -> dict[str, Remembered]:
    rows = {key: tables.requests[key] for key in request_ids if key in tables.requests}
    return {
        key: Remembered(key, meaning, answer_from(organization, json.loads(answer)))
        for key, (meaning, answer) in rows.items()
    }


async def read_offerings(tables: Tables, offerings: Sequence[str]) -> dict[str, Offering]:
    return {key: _offering(tables.catalogue, key) for key in offerings if key in tables.catalogue.offerings}


async def insert_organization(tables: Tables, state: Organization) -> None:
    assert tables.organization is None
    tables.organization = state


async def update_organization(tables: Tables, state: Organization) -> None:
    assert tables.organization is not None
    tables.organization = state


async def insert_entries(tables: Tables, _: str, entries: Sequence[Entry]) -> None:
    tables.entries.extend(entries)


async def upsert_subscriptions(tables: Tables, _: str, subscriptions: Sequence[Subscription]) -> None:
    tables.subscriptions.update({each.subscription: each for each in subscriptions})


async def upsert_allocations(tables: Tables, _: str, allocations: Sequence[Allocation]) -> None:
    tables.allocations.update({each.allocation: each for each in allocations})


async def insert_requests(tables: Tables, _: str, remembered: Sequence[Remembered], now: datetime) -> None:
    for each in remembered:
        assert each.request_id not in tables.requests
        tables.requests[each.request_id] = (each.meaning, json.dumps(answer_json(each.answer)))


async def add_offering_usage(tables: Tables, _: str, changes: Sequence[OfferingUsage]) -> None:
    tables.usage.extend(changes)


async def add_usage_hours(tables: Tables, _: str, hours: Sequence[UsageHour]) -> None:
    tables.hours.extend(hours)


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
