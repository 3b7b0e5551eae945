"""Callers that make calls of all kinds through the client library, one after the other, and keep count of them."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from earmark import Client, Disable, Enable, Step
from earmark.errors import EarmarkError
from earmark.types import EntryKind, HistoryStep
from services.ledger.store.database import Connection
from tests.support.books import comes_true
from tests.support.watching import OVERDRAFT, SENSOR

YEAR: Final = timedelta(days=365)
HOUR: Final = timedelta(hours=1)

Made = tuple[str, str, str]
"""An entry: its organization, its kind, and the id of the allocation or subscription that it is about."""
T = TypeVar("T")

MADE_BY_CALLS: Final = (
    EntryKind.ORGANIZATION_CREATED,
    EntryKind.ORGANIZATION_UPDATED,
    EntryKind.SUBSCRIPTION_CREATED,
    EntryKind.SUBSCRIPTION_AMENDED,
    EntryKind.SUBSCRIPTION_CANCELLED,
    EntryKind.ALLOCATION_ENABLED,
    EntryKind.ALLOCATION_ADJUSTED,
    EntryKind.ALLOCATION_UPDATED,
    EntryKind.ALLOCATION_DISABLED,
)


@dataclass
class Callers:
    """What they have asked for, and what came of it."""

    client: Client
    coalescing: Client
    """Another one, whose calls travel together where they may."""
    calls: int = 0
    under_way: int = 0
    longest_seconds: float = 0.0
    failed: list[str] = field(default_factory=list)
    made: "Counter[Made]" = field(default_factory=Counter)
    """By the answers: the entries that must be in the ledger, and no others of these kinds."""
    offerings: dict[str, int] = field(default_factory=dict)
    """How often each was changed."""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @asynccontextmanager
    async def calling(self, *organizations: str) -> AsyncIterator[None]:
        """One caller for each, while the block runs; what is under way then is finished."""
        stop = asyncio.Event()

        async def again_and_again(organization: str) -> None:
            while not stop.is_set():
                try:
                    await self._turn(organization, next(self._numbers))
                except EarmarkError as error:
                    self.failed.append(f"{type(error).__name__} {error.code.name} {error}")

        async with asyncio.TaskGroup() as group:
            for each in organizations:
                group.create_task(again_and_again(each))
            try:
                yield
            finally:
                stop.set()

    async def make(self, calls: int) -> None:
        """Returns when so many more have been answered."""
        enough = self.calls + calls

        async def are_made() -> bool:
            return self.calls >= enough

        await comes_true(are_made)

    def __str__(self) -> str:
        return f"{self.calls} calls, {len(self.failed)} failed, the longest took {self.longest_seconds:.2f} s"

    async def _turn(self, organization: str, number: int) -> None:
        await self._allocations(self.client, organization, f"alone-{number}")
        await self._allocations(self.coalescing, organization, f"together-{number}")
        await self._looks(organization, f"alone-{number}")
        await self._purchases(organization, number)
        await self._figures(organization)
        await self._beginnings(number)

    async def _call(self, call: Awaitable[T], *made: Made) -> T:
        clock = asyncio.get_running_loop().time
        begun = clock()
        self.under_way += 1
        try:
            answer = await call
        finally:
            self.under_way -= 1
            self.longest_seconds = max(self.longest_seconds, clock() - begun)
        self.calls += 1
        self.made.update(made)
        return answer

    async def _all(self, items: AsyncIterator[T]) -> list[T]:
        async def everything() -> list[T]:
            return [each async for each in items]

        return await self._call(everything())

    async def _allocations(self, client: Client, organization: str, first: str) -> None:
        second = f"{first}-too"
        await self._call(
            client.enable(organization, offering=SENSOR, units=2, allocation=first),
            (organization, EntryKind.ALLOCATION_ENABLED, first),
        )
        await self._call(
            client.adjust(organization, first, delta_units=1), (organization, EntryKind.ALLOCATION_ADJUSTED, first)
        )
        await self._call(
            client.update_allocation(organization, first, labels={"of": first}),
            (organization, EntryKind.ALLOCATION_UPDATED, first),
        )
        await self._call(client.enable(organization, offering=SENSOR, units=1, validate_only=True))
        steps: list[Step] = [Enable(offering=SENSOR, units=1, allocation=second), Disable(allocation=first)]
        await self._call(
            client.apply(organization, steps),
            (organization, EntryKind.ALLOCATION_ENABLED, second),
            (organization, EntryKind.ALLOCATION_DISABLED, first),
        )
        await self._call(client.disable(organization, second), (organization, EntryKind.ALLOCATION_DISABLED, second))

    async def _looks(self, organization: str, allocation: str) -> None:
        await self._call(self.client.check(organization, allocation=allocation))
        await self._call(self.client.get_allocation(organization, allocation))
        await self._call(self.client.check_all(organization, offerings=[SENSOR], allocations=[allocation]))
        await self._all(self.client.list_allocations(organization, page_size=50))
        await self._call(self.client.get_offering(SENSOR))

    async def _purchases(self, organization: str, number: int) -> None:
        client, subscription = self.client, f"s-{number}"
        end = datetime.now(UTC) + YEAR
        await self._call(
            client.create_subscription(organization, credits=10, end_time=end, subscription=subscription),
            (organization, EntryKind.SUBSCRIPTION_CREATED, subscription),
        )
        await self._call(
            client.update_subscription(organization, subscription, credits=20),
            (organization, EntryKind.SUBSCRIPTION_AMENDED, subscription),
        )
        await self._call(client.get_subscription(organization, subscription))
        await self._call(
            client.cancel_subscription(organization, subscription),
            (organization, EntryKind.SUBSCRIPTION_CANCELLED, subscription),
        )
        await self._call(
            client.update_organization(organization, display_name=f"after turn {number}"),
            (organization, EntryKind.ORGANIZATION_UPDATED, ""),
        )

    async def _figures(self, organization: str) -> None:
        client, hour = self.client, datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        await self._call(client.get_organization(organization))
        usage = await self._call(client.get_usage(organization))
        await self._all(client.list_entries(organization, after_revision=usage.balance.revision - 20, page_size=10))
        await self._call(client.estimate_credits([(SENSOR, 5)], organization=organization))
        await self._call(client.forecast_usage(organization, until=datetime.now(UTC) + 2 * YEAR))
        await self._call(client.query_usage_history(organization, start=hour, end=hour + HOUR, step=HistoryStep.HOUR))

    async def _beginnings(self, number: int) -> None:
        offering, organization = f"offering-{number}", f"new-{number}"
        await self._call(self.client.create_offering(offering, price=number + 1))
        self.offerings[offering] = 1
        await self._call(self.client.update_offering(offering, retired=True))
        self.offerings[offering] += 1
        await self._call(
            self.client.create_organization(organization, overdraft_limit=OVERDRAFT),
            (organization, EntryKind.ORGANIZATION_CREATED, ""),
        )

    async def check_ledger(self, connection: Connection) -> None:
        """Each change is there once, and there is no other."""
        rows = await connection.fetch(
            "SELECT organization, kind, resource FROM entry WHERE kind = ANY($1) AND actor <> ''",
            [each.value for each in MADE_BY_CALLS],
        )
        found = Counter((row["organization"], row["kind"], row["resource"]) for row in rows)
        too_often, missing = list(found - self.made), list(self.made - found)
        assert (too_often[:9], missing[:9]) == ([], []), "changes that are there too often, and that are missing"
        rows = await connection.fetch("SELECT offering, changes FROM offering WHERE offering <> $1", SENSOR)
        assert {row["offering"]: row["changes"] for row in rows} == self.offerings


@dataclass
class Watcher:
    """Watches one organization through the client library, from revision 1 on."""

    client: Client
    organization: str
    revisions: list[int] = field(default_factory=list)
    breaks: int = 0
    """How often it broke off and was taken up again."""

    async def watch(self) -> None:
        """For ever."""

        def disconnected(_: EarmarkError) -> None:
            self.breaks += 1

        events = self.client.watch_usage(self.organization, after_revision=1, on_disconnect=disconnected)
        async with aclosing(events):
            async for event in events:
                self.revisions += [each.revision for each in event.entries]
