"""A new release is rolled out while calls come in: those of the previous one go on, start and stop, and nobody notices.

docs/operations.md, "A new release", has the same steps.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from earmark import Client
from earmark.messages import MessageClient
from earmark.types import AllocationChange
from services.admin import embedded
from services.admin.verify import verify
from services.ledger.store.database import Connection
from tests.contract.image import ROOT
from tests.support.all_kinds import Callers, Watcher
from tests.support.books import comes_true
from tests.support.previous_release import Release, release_before
from tests.support.processes import ADMIN, ALLOCATOR, EXPIRY, ended
from tests.support.rolling import free_port
from tests.support.watching import OVERDRAFT, SENSOR

NEWEST_MIGRATION: Final = "0004_drop_allocation_offering.concurrently"
FIRST_NEEDED: Final = "0002_usage"
"""Without it this release cannot work."""
ORGANIZATIONS: Final = ("o-1", "o-2", "o-3")
CALLS_BETWEEN: Final = 60
TURNS: Final = 3
OLDER_ENTRIES: Final = 10
"""So many are there already when the callers, who look back, begin."""
TERM: Final = timedelta(seconds=1)
VERSION: Final = "SELECT version FROM schema_info"
LAST_REVISION: Final = "SELECT max(revision) FROM entry WHERE organization = $1"
EXPIRED: Final = """
SELECT count(*) FROM entry WHERE organization = 'o-1' AND kind = 'SUBSCRIPTION_EXPIRED' AND resource = $1
"""
NEW: Final = Release()


@dataclass
class Stage:
    """What runs, and who calls and watches all the time."""

    connection: Connection
    settings: dict[str, str]
    running: ExitStack
    client: Client
    callers: Callers
    watchers: list[Watcher]
    addresses: tuple[str, ...]
    allocators: list[embedded.Child]
    """One at each address."""
    steps: list[str] = field(default_factory=list)

    async def replace_allocator(self, which: int, release: Release) -> None:
        """Stops it in good order, and starts one of that release at its address."""
        await stopped(self.allocators[which])
        begun = release.allocator(self.addresses[which], **self.settings)
        self.allocators[which] = await asyncio.to_thread(self.running.enter_context, begun)

    def start_worker(self, release: Release) -> embedded.Child:
        return self.running.enter_context(release.worker(**self.settings))

    async def asks_with_an_id(self) -> AllocationChange:
        """The answer to a call that may be the first, or repeat it."""
        return await self.client.enable("o-2", offering=SENSOR, units=3, allocation="once", request_id="id-1")

    async def settles(self, subscription: str) -> None:
        """Returns when a purchase with a term of a second was made, and a worker has settled its end."""
        end = datetime.now(UTC) + TERM
        await self.client.create_subscription(
            "o-1", credits=5, end_time=end, grace_period=timedelta(), subscription=subscription
        )

        async def is_expired() -> bool:
            return bool(await self.connection.fetchval(EXPIRED, subscription))

        await comes_true(is_expired)

    async def goes_on(self, step: str) -> None:
        """Returns when many more calls were answered, none of them with an error."""
        await self.callers.make(CALLS_BETWEEN)
        self.steps.append(step)
        assert self.callers.failed == [], self.steps

    async def everybody_has_seen_everything(self) -> None:
        """Each revision once and in order."""
        last = {each: await self.connection.fetchval(LAST_REVISION, each) for each in ORGANIZATIONS}

        async def are_there() -> bool:
            return all(each.revisions and each.revisions[-1] >= last[each.organization] for each in self.watchers)

        await comes_true(are_there)
        for each in self.watchers:
            assert each.revisions == list(range(2, last[each.organization] + 1))


@pytest.fixture
async def empty(postgres: embedded.Server) -> AsyncIterator[str]:
    """The URL of a database that no release has migrated yet."""
    server = await asyncpg.connect(postgres.url)
    await server.execute("CREATE DATABASE upgraded")
    yield postgres.url.rpartition("/")[0] + "/upgraded"
    await server.execute("DROP DATABASE upgraded WITH (FORCE)")
    await server.close()


@pytest.fixture
def settings(empty: str, redis: embedded.Server, notice_prefix: str) -> dict[str, str]:
    return {"database_url": empty, "redis_url": redis.url, "notice_prefix": notice_prefix, "log_level": "ERROR"}


async def migrated(release: Release, settings: dict[str, str]) -> None:
    done = await asyncio.to_thread(release.run, "-m", ADMIN, "migrate", **settings)
    assert done.returncode == 0, done.stderr


@asynccontextmanager
async def calls_and_watches(settings: dict[str, str], old: Release) -> AsyncIterator[Stage]:
    """Two allocators of the old release, and everybody who calls and watches."""
    addresses = tuple(f"127.0.0.1:{free_port()}" for _ in range(2))
    async with AsyncExitStack() as stack:
        running = stack.enter_context(ExitStack())
        connection = await asyncpg.connect(settings["database_url"])
        stack.push_async_callback(connection.close)
        client = await stack.enter_async_context(Client(addresses))
        coalescing = await stack.enter_async_context(Client(addresses, actor="desk", coalesce=True))
        callers = Callers(client.using(actor="desk"), coalescing)
        watchers = [Watcher(client, each) for each in ORGANIZATIONS]
        allocators = [running.enter_context(old.allocator(each, **settings)) for each in addresses]
        stage = Stage(connection, settings, running, client, callers, watchers, addresses, allocators)
        await client.create_offering(SENSOR, price=1)
        for each in ORGANIZATIONS:
            await client.create_organization(each, overdraft_limit=OVERDRAFT)
            for number in range(OLDER_ENTRIES):
                await client.update_organization(each, display_name=f"name {number}")
        watching = [asyncio.create_task(each.watch()) for each in watchers]
        async with callers.calling(*ORGANIZATIONS):
            yield stage
        await stage.everybody_has_seen_everything()
        assert not any(each.done() for each in watching), "a watch has ended"
        await callers.check_ledger(connection)
        assert (await verify(connection)).problems == []
        for task in watching:
            task.cancel()
        await asyncio.wait(watching)


async def stopped(child: embedded.Child) -> None:
    child.terminate()
    assert await ended(child) == 0


async def serve_in_turn(one: str, other: str) -> None:
    """What one process did the other finds, in one organization."""
    async with MessageClient(one) as first, MessageClient(other) as second:
        for turn in range(TURNS):
            for here, there in ((first, second), (second, first)):
                enabled = await here.enable_allocation("o-1", offering=SENSOR, units=turn + 1, allocation="in-turn")
                adjusted = await there.adjust_allocation("o-1", "in-turn", delta_units=1)
                disabled = await here.disable_allocation("o-1", "in-turn")
                assert adjusted.allocation.units == turn + 2
                assert disabled.balance.revision > adjusted.balance.revision > enabled.balance.revision


async def test_nobody_notices_that_a_new_release_is_rolled_out(settings: dict[str, str], tmp_path: Path) -> None:
    old = release_before(NEWEST_MIGRATION, tmp_path)
    assert old.sources() == [tmp_path / "services", tmp_path / "clients/python/earmark"]
    assert NEW.sources() == [ROOT / "services", ROOT / "clients/python/earmark"]
    await migrated(old, settings)
    async with calls_and_watches(settings, old) as stage:
        old_worker = stage.start_worker(old)
        await stage.settles("sold-before")
        answer = await stage.asks_with_an_id()
        await stage.goes_on("as it was")
        version, calls = await stage.connection.fetchval(VERSION), stage.callers.calls

        await migrated(NEW, settings)
        assert await stage.connection.fetchval(VERSION) > version
        assert stage.callers.calls > calls, "nobody called meanwhile"
        await stage.goes_on("migrated")
        await stage.settles("sold-on-the-new-schema")

        await stage.replace_allocator(0, old)
        await stage.goes_on("an old one has started on the new schema")

        await stage.replace_allocator(1, NEW)
        stage.start_worker(NEW)
        await stage.goes_on("old and new")
        await serve_in_turn(*stage.addresses)

        await stage.replace_allocator(0, NEW)
        await stopped(old_worker)
        await stage.goes_on("new ones alone")
        await stage.settles("sold-by-the-new")
        assert await stage.asks_with_an_id() == answer
    print(f"upgrade: {stage.callers}, {sum(each.breaks for each in stage.watchers)} watches taken up again")


async def test_this_release_refuses_a_schema_that_is_older_than_it_needs(
    settings: dict[str, str], tmp_path: Path
) -> None:
    first = release_before(FIRST_NEEDED, tmp_path)
    await migrated(first, settings)
    for module in (ALLOCATOR, EXPIRY):
        done = await asyncio.to_thread(NEW.run, "-m", module, **settings)
        assert "the schema is at version 1 and this release needs 2; run: earmark-admin migrate" in done.stderr
        assert done.returncode == 1
    await migrated(NEW, settings)
    with NEW.allocator(f"127.0.0.1:{free_port()}", **settings) as serving:
        await stopped(serving)
