"""A backup that is restored with Postgres's own tools: the ledger is exact, and callers and watchers find their way."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from earmark import Client, errors
from earmark.messages import MessageClient
from earmark.types import UsageEvent
from earmark.v1.allocation_service_pb2 import AdjustAllocationResponse
from services.admin import embedded
from services.admin.verify import verify
from services.allocator.server import AllocatorServer
from tests.support.books import comes_true
from tests.support.processes import ADMIN, run, running_allocator
from tests.support.restoring import Vault, vault
from tests.support.service_stories import figures
from tests.support.watching import SENSOR, allocating, make_watched, write, written_to

History = list[tuple[str, int, bytes]]

RESTORE_POINT = "before-the-accident"
LOST = ("lost-1", "lost-2", "lost-3")


@dataclass(frozen=True)
class Accident:
    """What remains of a server: its backups, and what callers were told. The server itself is gone."""

    vault: Vault
    base: Path
    port: int
    address: str
    """Of an allocator that goes on asking for the server at its port."""
    watch: "asyncio.Task[None]"
    """Of somebody who has seen everything."""
    instant: datetime
    """After everything that is to be kept, before everything that is lost."""
    history: History
    """As of then."""
    kept: AdjustAllocationResponse
    lost: Sequence[AdjustAllocationResponse]
    kept_token: str
    lost_token: str


@pytest.fixture
def backups() -> Iterator[Vault]:
    with vault() as backups:
        yield backups


@pytest.fixture
async def accident(backups: Vault) -> AsyncIterator[Accident]:
    with embedded.postgres_tools() as tools, embedded.postgres_machine(tools) as machine:
        machine.initialise()
        server = machine.start(backups.archiving)
        migrated = run(ADMIN, "migrate", database_url=server.url)
        assert migrated.returncode == 0, migrated.stderr
        with running_allocator(server.url) as (_, address):
            happened = await life_and_accident(machine, backups, address)
            yield happened
            happened.watch.cancel()
            await asyncio.wait([happened.watch])


async def life_and_accident(machine: embedded.Machine, backups: Vault, address: str) -> Accident:
    """Calls before, during and after a backup; then the server stops in good order, which archives its whole log."""
    server = machine.server
    seen: list[int] = []
    async with MessageClient(address) as client:
        await make_watched(client, "o-1", "o-2")
        watch = asyncio.create_task(watch_on(address, seen))
        async with written_to(client):
            base = await asyncio.to_thread(backups.base_backup, server)
        kept = await adjusted(client, "kept")
        kept_token = await newest_token(address)
        history = await history_of(server.url)
        instant = datetime.fromisoformat(machine.ask("SELECT clock_timestamp()")[0][0] or "")
        machine.ask(f"SELECT pg_create_restore_point('{RESTORE_POINT}')")
        lost = [await adjusted(client, each) for each in LOST]
        lost_token = await newest_token(address)

    async def all_was_seen() -> bool:
        return lost[-1].balance.revision in seen

    await comes_true(all_was_seen)
    machine.stop()
    return Accident(backups, base, server.port, address, watch, instant, history, kept, lost, kept_token, lost_token)


async def watch_on(address: str, seen: list[int]) -> None:
    async with Client(address) as client, aclosing(client.watch_usage("o-1")) as events:
        async for event in events:
            seen.extend(entry.revision for entry in event.entries)


async def adjusted(client: MessageClient, request_id: str) -> AdjustAllocationResponse:
    """One unit more."""
    return await client.adjust_allocation("o-1", SENSOR, delta_units=1, request_id=request_id)


async def first_event(address: str, **start: Any) -> UsageEvent:
    """What a watch brings first."""
    async with Client(address) as client, aclosing(client.watch_usage("o-1", **start)) as events:
        return await anext(events)


async def newest_token(address: str) -> str:
    return (await first_event(address)).resume_token


async def history_of(url: str) -> History:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT organization, revision, digest FROM entry ORDER BY organization, revision")
    await connection.close()
    return [(row["organization"], row["revision"], row["digest"]) for row in rows]


async def is_sound(url: str) -> bool:
    connection = await asyncpg.connect(url)
    report = await verify(connection)
    await connection.close()
    assert report.problems == []
    return report.entries > 0


async def test_a_point_in_time(accident: Accident) -> None:
    """Nothing of what came after is there, nothing of what came before is missing, and callers repeat the rest."""
    with accident.vault.restored(accident.base, recovery_target_time=str(accident.instant)) as machine:
        url = machine.server.url
        assert await history_of(url) == accident.history
        await check_anchors(url, accident)
        with running_allocator(url) as (_, address):
            async with MessageClient(address) as client:
                assert (await client.get_usage("o-1")).balance.revision == accident.kept.balance.revision
                assert await adjusted(client, "kept") == accident.kept
                for request_id, told in zip(LOST, accident.lost, strict=True):
                    repeated = await adjusted(client, request_id)
                    assert repeated.balance.revision == told.balance.revision
                    assert repeated.allocation.units == told.allocation.units
                    assert figures(repeated.balance) == figures(told.balance)
                    assert await adjusted(client, request_id) == repeated
        assert await is_sound(url)
        assert (await history_of(url))[: len(accident.history)] != accident.history


async def check_anchors(url: str, accident: Accident) -> None:
    """They say what is there and what is not, which verifying alone can't: what was restored agrees with itself."""
    for arguments, status in (
        ([], 0),
        (["o-1", "--expect", accident.kept_token], 0),
        (["o-1", "--expect", accident.lost_token], 1),
    ):
        said = await asyncio.to_thread(run, ADMIN, "verify", *arguments, database_url=url)
        assert said.returncode == status, said.stdout + said.stderr


async def test_all_that_was_archived(accident: Accident) -> None:
    """Without a target nothing is lost that reached the archive; and what was restored can be backed up in turn."""
    with accident.vault.restored(accident.base) as machine:
        async with allocating(machine.server.url) as allocator, MessageClient(allocator.address) as client:
            assert await newest_token(allocator.address) == accident.lost_token
            for request_id, told in zip(LOST, accident.lost, strict=True):
                assert await adjusted(client, request_id) == told
            again = await asyncio.to_thread(accident.vault.base_backup, machine.server, "base-2")
            later = await adjusted(client, "later")
        history = await history_of(machine.server.url)
        machine.stop()
    with accident.vault.restored(again) as machine:
        assert await history_of(machine.server.url) == history
        assert await is_sound(machine.server.url)
        async with allocating(machine.server.url) as allocator, MessageClient(allocator.address) as client:
            assert await adjusted(client, "later") == later


async def test_who_watched_what_was_lost(accident: Accident) -> None:
    """Is told so at once, while the ledger is shorter than before and when it has grown past that.

    The allocator, and a watch, run through all of it: the new server takes the old one's address.
    """
    last = accident.lost[-1].balance.revision
    address, target = accident.address, {"recovery_target_name": RESTORE_POINT}
    with accident.vault.restored(accident.base, port=accident.port, **target) as machine:
        assert await history_of(machine.server.url) == accident.history
        with pytest.raises(errors.CannotResume):
            await accident.watch
        for start in ({"resume_token": accident.lost_token}, {"after_revision": last}):
            with pytest.raises(errors.RevisionNotReached) as early:
                await first_event(address, **start)
            assert early.value.code is grpc.StatusCode.OUT_OF_RANGE
            assert early.value.newest_revision == accident.kept.balance.revision
        async with MessageClient(address) as client:
            newest = await write(client, len(LOST) + 2)
        with pytest.raises(errors.HistoryReplaced) as late:
            await first_event(address, resume_token=accident.lost_token)
        assert late.value.code is grpc.StatusCode.OUT_OF_RANGE
        assert late.value.metadata == {"revision": str(last)}
        await others_go_on(address, accident, newest)
        assert await is_sound(machine.server.url)


async def others_go_on(address: str, accident: Accident, newest: int) -> None:
    """Who had seen nothing that was lost; who begins anew; and who names a revision alone, which tells nothing."""
    resumed = await first_event(address, resume_token=accident.kept_token)
    assert resumed.entries[0].revision == accident.kept.balance.revision + 1
    begun = await first_event(address)
    assert begun.snapshot is not None
    assert begun.snapshot.balance.revision == newest
    misled = await first_event(address, after_revision=accident.lost[-1].balance.revision)
    assert misled.entries[0].revision == accident.lost[-1].balance.revision + 1


async def test_a_dump_of_the_database_alone(
    postgres: embedded.Server, database: str, allocator: AllocatorServer, client: MessageClient, backups: Vault
) -> None:
    await make_watched(client, "o-1", "o-2")
    await write(client, 3)
    kept = await adjusted(client, "kept")
    async with written_to(client):
        dump = await asyncio.to_thread(backups.dump, database)
    lost = await adjusted(client, "lost")
    lost_token = await newest_token(allocator.address)
    async with thrown_away(postgres, "loaded"):
        url = await asyncio.to_thread(backups.load, dump, postgres, "loaded")
        assert await is_sound(url)
        assert set(await history_of(url)) < set(await history_of(database))
        with running_allocator(url) as (_, address):
            async with MessageClient(address) as restored:
                assert await adjusted(restored, "kept") == kept
                with pytest.raises(errors.RevisionNotReached):
                    await first_event(address, resume_token=lost_token)
                repeated = await adjusted(restored, "lost")
                assert repeated.balance.revision <= lost.balance.revision
        assert await is_sound(url)


@asynccontextmanager
async def thrown_away(server: embedded.Server, name: str) -> AsyncIterator[None]:
    """A database of that name, at the end of the block."""
    try:
        yield
    finally:
        connection = await asyncpg.connect(server.url)
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.close()
