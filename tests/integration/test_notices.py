"""Notices: each commit is published, by whatever means, and nobody waits for Redis."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf import json_format

from earmark.v1 import notice_pb2
from services.admin import embedded
from services.expiry.republish import Republisher
from services.expiry.sweep import Sweeper
from services.ledger.ledger import Ledger
from services.ledger.rules.answers import Balance
from services.ledger.rules.commands import UpdateOrganization
from services.ledger.rules.model import Figures
from services.ledger.store import changes
from services.ledger.store.database import Connection, Pool, connect_pool
from services.notices import publisher as publishing
from services.notices.connection import Connection as Redis
from services.notices.listener import Listener
from services.notices.message import Hint, read_hint
from services.notices.publisher import Publisher
from services.wire import balance_message
from tests.conftest import Advance
from tests.support.bare_redis import BareRedis, bare_redis, subscribed
from tests.support.books import (
    DAY,
    SECONDS,
    adjust,
    comes_true,
    do,
    enable,
    make_customer,
    make_organization,
    offer_sensors,
    revision,
)
from tests.support.lying_redis import LIES, lying_redis
from tests.support.processes import NO_REDIS
from tests.support.proxy import Fate, relayed
from tests.support.ways import Way

PROMISED_SECONDS = 2.0
"""A notice is late by no more, once Redis is well."""


@pytest.fixture
async def publisher(redis: embedded.Server, notice_prefix: str) -> AsyncIterator[Publisher]:
    async with Publisher(redis.url, notice_prefix) as publisher:
        yield publisher


@pytest.fixture
async def telling(pool: Pool, sound: None, publisher: Publisher) -> AsyncIterator[Ledger]:
    """A ledger that publishes."""
    ledger = Ledger(pool, publisher.publish)
    yield ledger
    await ledger.drained()


@pytest.fixture
async def ear(redis: embedded.Server, notice_prefix: str) -> AsyncIterator[BareRedis]:
    async with subscribed(redis, notice_prefix + "acme") as client:
        yield client


def some_balance(organization: str = "acme", revision: int = 1) -> Balance:
    return Balance(organization, revision, datetime(2030, 1, 1, tzinfo=UTC), Figures(valid=10))


async def make_sensors(ledger: Ledger, connection: Connection) -> None:
    """A customer with three sensors: at revision 3."""
    await offer_sensors(connection)
    await make_customer(ledger, connection)
    await do(ledger, "acme", enable(units=3))


async def emptied(publisher: Publisher) -> None:
    async def empty() -> bool:
        return publisher.waiting == 0

    await comes_true(empty)


@contextmanager
def paused(server: embedded.Server) -> Iterator[None]:
    """It keeps its connections, and neither reads nor answers."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def free_port() -> int:
    """One at which nobody listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def url(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"


@asynccontextmanager
async def listening(url: str, prefix: str) -> AsyncIterator[tuple[Listener, "asyncio.Queue[tuple[str, int]]"]]:
    heard: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
    listener = Listener(url, prefix, lambda *hint: heard.put_nowait(hint))
    task = asyncio.create_task(listener.run())
    try:
        yield listener, heard
    finally:
        task.cancel()
        await asyncio.wait([task])


# What is published


async def test_after_each_commit_comes_a_notice_with_its_balance(
    telling: Ledger, connection: Connection, ear: BareRedis, notice_prefix: str
) -> None:
    await offer_sensors(connection)
    await make_customer(telling, connection)
    await ear.hears_until(2)
    for command in (enable(units=3), adjust(4), adjust(-2), UpdateOrganization(overdraft_limit=50)):
        answer = await do(telling, "acme", command)
        channel, heard = await ear.hears()
        assert channel == notice_prefix + "acme"
        assert json_format.ParseDict(heard, notice_pb2.Notice()) == notice_pb2.Notice(
            organization="organizations/acme",
            revision=answer.balance.revision,
            balance=balance_message(answer.balance),
        )


async def test_any_language_can_read_it(publisher: Publisher, ear: BareRedis) -> None:
    """As proto3 JSON has it: names in camelCase, int64 in strings; and what is zero is there too."""
    at = datetime(2030, 1, 1, 12, tzinfo=UTC)
    publisher.publish(Balance("acme", 2**53 + 1, at, Figures(10**12, 0, 4, 0, 5)))
    _, heard = await ear.hears()
    expected: dict[str, Any] = {
        "organization": "organizations/acme",
        "revision": "9007199254740993",
        "balance": {
            "organization": "organizations/acme",
            "revision": "9007199254740993",
            "asOf": "2030-01-01T12:00:00Z",
            "validCredits": "1000000000000",
            "graceCredits": "0",
            "allocatedCredits": "4",
            "suspendedCredits": "0",
            "availableCredits": "999999999996",
            "overdraftLimit": "5",
            "overdraftUnlimited": False,
            "spendableCredits": "1000000000005",
            "coverageCredits": "1000000000005",
        },
    }
    assert heard == expected

    publisher.publish(Balance("acme", 2**53 + 2, at, Figures(10, overdraft_unlimited=True)))
    _, heard = await ear.hears()
    assert heard["balance"]["overdraftUnlimited"] is True
    assert expected["balance"].keys() - heard["balance"].keys() == {"spendableCredits", "coverageCredits"}


async def test_a_refused_call_and_one_that_changes_nothing_say_nothing(
    telling: Ledger, connection: Connection, ear: BareRedis
) -> None:
    await make_sensors(telling, connection)
    await ear.hears_until(3)
    await do(telling, "acme", enable(units=3))
    await do(telling, "acme", adjust(0))
    await do(telling, "acme", adjust(1))
    assert await ear.hears_until(4) == [4]


async def test_under_load_the_newest_revision_always_arrives(
    telling: Ledger, connection: Connection, ear: BareRedis, publisher: Publisher
) -> None:
    await make_sensors(telling, connection)
    for _ in range(5):
        await asyncio.gather(*(do(telling, "acme", adjust(1)) for _ in range(100)))
    heard = await ear.hears_until(503)
    assert heard == sorted(heard)
    assert len(heard) < 100, "several commits in a few milliseconds are one notice"
    assert publisher.published == len(heard)


async def test_of_several_that_wait_the_newest_is_published(publisher: Publisher, ear: BareRedis) -> None:
    for each in (3, 5, 4):
        publisher.publish(some_balance(revision=each))
    assert await ear.hears_until(5) == [5]


async def test_a_revision_that_comes_while_an_older_one_is_on_its_way_is_published_too(
    notice_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, send = asyncio.Event(), Redis.send

    async def watched_send(self: Redis, *commands: Sequence[str]) -> None:
        await send(self, *commands)
        sent.set()

    with embedded.redis() as own:
        async with Publisher(own.url, notice_prefix) as publisher, subscribed(own, notice_prefix + "acme") as ear:
            publisher.publish(some_balance(revision=1))
            await ear.hears_until(1)
            monkeypatch.setattr(Redis, "send", watched_send)
            with paused(own):
                publisher.publish(some_balance(revision=2))
                await sent.wait()
                publisher.publish(some_balance(revision=3))
            assert await ear.hears_until(3) == [2, 3]


async def test_what_the_worker_settles_is_published(
    ledger: Ledger, pool: Pool, connection: Connection, advance: Advance, publisher: Publisher, ear: BareRedis
) -> None:
    await make_customer(ledger, connection, days=1, grace=timedelta())
    await advance(2 * DAY)
    sweeper = Sweeper(pool, request_id_lifetime=2 * DAY, connections=1, announce=publisher.publish)
    assert (await sweeper.run_once()).settled == 1
    _, heard = await ear.hears()
    assert heard["revision"] == str(await revision(connection))
    assert heard["balance"]["validCredits"] == "0"


async def test_stopping_sends_what_still_waits(redis: embedded.Server, notice_prefix: str, ear: BareRedis) -> None:
    async with Publisher(redis.url, notice_prefix) as publisher:
        publisher.publish(some_balance(revision=3))
    assert await ear.hears_until(3) == [3]


async def test_stopping_does_not_wait_for_a_redis_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    async with Publisher(NO_REDIS, "test.") as publisher:
        publisher.publish(some_balance())
        stopping = time.monotonic()
    assert time.monotonic() - stopping < PROMISED_SECONDS
    assert "stopped with 1 notices unpublished" in caplog.text


# Redis is away, paused, restarted, or lies


async def test_a_paused_redis_slows_nobody_down_and_notices_catch_up(
    pool: Pool, sound: None, connection: Connection, notice_prefix: str
) -> None:
    with embedded.redis() as own:
        async with Publisher(own.url, notice_prefix) as publisher, subscribed(own, notice_prefix + "acme") as ear:
            ledger = Ledger(pool, publisher.publish)
            await make_sensors(ledger, connection)
            await ear.hears_until(3)
            with paused(own):
                async with asyncio.timeout(5):
                    for _ in range(20):
                        await do(ledger, "acme", adjust(1))
                await comes_true(lambda: more_failures(publisher, 1))
            heard = await ear.hears_until(23, PROMISED_SECONDS)
            assert heard
            await emptied(publisher)


async def more_failures(publisher: Publisher, than: int) -> bool:
    return publisher.failures > than


async def test_a_restarted_redis(pool: Pool, sound: None, connection: Connection, notice_prefix: str) -> None:
    port = free_port()
    async with Publisher(url(port), notice_prefix) as publisher:
        ledger = Ledger(pool, publisher.publish)
        with embedded.redis(port=port):
            await make_sensors(ledger, connection)
            await emptied(publisher)
        await do(ledger, "acme", adjust(1))
        await comes_true(lambda: more_failures(publisher, 1))
        assert publisher.waiting == 1
        with embedded.redis(port=port) as restarted:
            async with asyncio.timeout(PROMISED_SECONDS):
                await emptied(publisher)
            async with subscribed(restarted, notice_prefix + "acme") as ear:
                await do(ledger, "acme", adjust(1))
                assert await ear.hears_until(5, PROMISED_SECONDS) == [5]


@pytest.mark.parametrize("lie", sorted(LIES))
async def test_a_redis_that_lies_disturbs_nobody(
    lie: str, pool: Pool, sound: None, connection: Connection, notice_prefix: str
) -> None:
    """Nobody waits for it, it is not asked without a pause, and when it is a Redis again it is as if nothing was."""
    await make_organization(Ledger(pool), "acme")
    port = free_port()
    async with (
        Publisher(url(port), notice_prefix) as publisher,
        listening(url(port), notice_prefix) as (listener, heard),
    ):
        ledger = Ledger(pool, publisher.publish)
        async with lying_redis(LIES[lie], port):
            async with asyncio.timeout(5):
                for each in range(20):
                    await do(ledger, "acme", UpdateOrganization(overdraft_limit=each + 1))
            await comes_true(lambda: more_failures(publisher, 1))
            assert publisher.failures < 100
            assert publisher.waiting == 1
            assert not listener.connected.is_set()
            assert heard.empty()
        with embedded.redis(port=port):
            async with asyncio.timeout(PROMISED_SECONDS):
                await asyncio.gather(emptied(publisher), listener.connected.wait())
            await do(ledger, "acme", UpdateOrganization(overdraft_limit=100))
            async with asyncio.timeout(SECONDS):
                while await heard.get() != ("acme", 22):
                    pass


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "WAITING_MAX", 10)
    publisher = Publisher(NO_REDIS, "test.")
    for each in range(25):
        publisher.publish(some_balance(f"o-{each}"))
        publisher.publish(some_balance(f"o-{each}", revision=2))
    assert (publisher.waiting, publisher.dropped) == (10, 15)


async def test_an_outage_is_logged_once_a_minute_and_once_when_it_is_over(
    notice_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    port = free_port()
    async with Publisher(f"redis://:s3cret@127.0.0.1:{port}/0", notice_prefix) as publisher:
        async with lying_redis(b"-ERR unknown command AUTH s3cret\r\n", port):
            publisher.publish(some_balance())
            await comes_true(lambda: more_failures(publisher, 2))
        assert caplog.text.count("notices cannot be published; trying again: ") == 1
        with embedded.redis(port=port) as own:
            async with bare_redis(own) as client:
                await client.ask("CONFIG", "SET", "requirepass", "s3cret")
            await emptied(publisher)
    assert caplog.text.count("notices cannot be published: that is over") == 1
    assert "s3cret" not in caplog.text


# Listening


LIES_ABOUT_REVISIONS: list[bytes] = [
    b"",
    b"not json",
    b"\xff\xfe",
    b"[" * 8_000,
    b"null",
    b"[]",
    b"{}",
    b'{"revision": null}',
    b'{"revision": "-1"}',
    b'{"revision": "0"}',
    b'{"revision": "+1"}',
    b'{"revision": " 1"}',
    b'{"revision": "1_0"}',
    '{"revision": "\u0661"}'.encode(),
    b'{"revision": "1e3"}',
    b'{"revision": 1e3}',
    b'{"revision": true}',
    b'{"revision": ["1"]}',
    b'{"revision": "9223372036854775808"}',
    b'{"revision": "' + b"9" * 5_000 + b'"}',
    b'{"revision": "1", "x": "' + b"y" * 10_000_000 + b'"}',
]


@pytest.mark.parametrize("payload", LIES_ABOUT_REVISIONS, ids=range(len(LIES_ABOUT_REVISIONS)))
def test_a_payload_that_is_no_notice(payload: bytes) -> None:
    assert read_hint("p.", b"p.acme", payload) is None


@pytest.mark.parametrize("channel", [b"p.", b"acme", b"p.-acme", b"p.a cme", b"p.\xff", b"q.acme", b"p." + b"a" * 129])
def test_a_channel_that_is_no_organizations(channel: bytes) -> None:
    assert read_hint("p.", channel, b'{"revision": "1"}') is None


def test_a_hint_is_the_channels_organization_and_a_revision() -> None:
    lie = {"organization": "organizations/other", "revision": "9223372036854775807", "balance": "x"}
    assert read_hint("p.", b"p.acme", json.dumps(lie).encode()) == Hint("acme", 2**63 - 1)


async def test_lying_notices_disturb_nobody(
    redis: embedded.Server, notice_prefix: str, telling: Ledger, connection: Connection
) -> None:
    async with listening(redis.url, notice_prefix) as (listener, heard), bare_redis(redis) as liar:
        await listener.connected.wait()
        for payload in LIES_ABOUT_REVISIONS:
            await liar.ask("PUBLISH", notice_prefix + "acme", payload)
        for channel in ("", "*", "a" * 1_000, "a b", "\r\n"):
            await liar.ask("PUBLISH", notice_prefix + channel, b'{"revision": "1"}')
        await liar.ask("PUBLISH", notice_prefix + "nobody", b'{"revision": "5"}')
        await make_organization(telling, "acme")
        async with asyncio.timeout(SECONDS):
            assert [await heard.get() for _ in range(2)] == [("nobody", 5), ("acme", 1)]
        assert heard.empty()
        assert listener.connected.is_set()


async def test_a_connection_that_redis_closes_is_made_anew(redis: embedded.Server, notice_prefix: str) -> None:
    async with listening(redis.url, notice_prefix) as (listener, heard), bare_redis(redis) as client:
        await listener.connected.wait()
        listener.connected.clear()
        assert await client.ask("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes") >= 1
        async with asyncio.timeout(PROMISED_SECONDS):
            await listener.connected.wait()
        await client.ask("PUBLISH", notice_prefix + "acme", b'{"revision": "5"}')
        async with asyncio.timeout(SECONDS):
            assert await heard.get() == ("acme", 5)


async def test_a_redis_that_falls_silent_is_noticed_and_heard_again(notice_prefix: str) -> None:
    with embedded.redis() as own:
        async with listening(own.url, notice_prefix) as (listener, heard):
            await listener.connected.wait()

            async def deaf() -> bool:
                return not listener.connected.is_set()

            with paused(own):
                async with asyncio.timeout(PROMISED_SECONDS):
                    await comes_true(deaf)
            async with asyncio.timeout(PROMISED_SECONDS):
                await listener.connected.wait()
            async with bare_redis(own) as client:
                await client.ask("PUBLISH", notice_prefix + "acme", b'{"revision": "5"}')
            async with asyncio.timeout(SECONDS):
                assert await heard.get() == ("acme", 5)


async def test_a_quiet_connection_is_kept(redis: embedded.Server, notice_prefix: str) -> None:
    """It is asked for a sign of life: with answers only to that, it stays one and the same."""
    async with listening(redis.url, notice_prefix) as (_, heard), bare_redis(redis) as client:

        async def pinged_for_a_while() -> bool:
            clients = (await client.ask("CLIENT", "LIST", "TYPE", "pubsub")).decode().splitlines()
            mine = [dict(word.split("=", 1) for word in each.split()) for each in clients]
            return any(int(each["age"]) >= 3 and each["cmd"] == "ping" for each in mine)

        await comes_true(pinged_for_a_while)
        assert heard.empty()


# Publishing what nobody published


@asynccontextmanager
async def looking(pool: Pool, url: str, prefix: str) -> AsyncIterator[Republisher]:
    """It listens; the test says when it looks."""
    async with Publisher(url, prefix) as publisher:
        republisher = Republisher(pool, publisher, url=url, prefix=prefix)
        listening = asyncio.create_task(republisher.listener.run())
        yield republisher
        listening.cancel()
        await asyncio.wait([listening])


@pytest.fixture
async def republisher(pool: Pool, redis: embedded.Server, notice_prefix: str) -> AsyncIterator[Republisher]:
    async with looking(pool, redis.url, notice_prefix) as republisher:
        async with asyncio.timeout(SECONDS):
            await republisher.listener.connected.wait()
        yield republisher


async def test_what_nobody_published_is_published_at_the_second_look(
    ledger: Ledger, connection: Connection, republisher: Republisher, ear: BareRedis
) -> None:
    """Whose process died between the commit and the notice, as it were: this ledger tells nobody."""
    await offer_sensors(connection)
    await make_customer(ledger, connection)
    answer = await do(ledger, "acme", enable(units=3))
    assert await republisher.look_once() == 0
    assert await republisher.look_once() == 1
    _, heard = await ear.hears()
    notice = json_format.ParseDict(heard, notice_pb2.Notice())
    assert notice.revision == answer.balance.revision == 3
    assert notice.balance.as_of.ToDatetime(UTC) >= answer.balance.as_of
    notice.balance.as_of.FromDatetime(answer.balance.as_of)
    assert notice.balance == balance_message(answer.balance)
    for _ in range(3):
        assert await republisher.look_once() == 0
    assert republisher.republished == 1


async def test_what_was_heard_is_not_published_again(
    telling: Ledger, connection: Connection, republisher: Republisher, ear: BareRedis, publisher: Publisher
) -> None:
    await make_sensors(telling, connection)
    for _ in range(5):
        await do(telling, "acme", adjust(1))
        await ear.hears_until(await revision(connection))
        await is_heard_by(republisher, connection)
        assert await republisher.look_once() == 0
    assert republisher.republished == 0


async def is_heard_by(republisher: Republisher, connection: Connection) -> None:
    newest = await revision(connection)

    async def heard() -> bool:
        return republisher._unheard._heard.get("acme") == newest

    await comes_true(heard)


async def test_a_lie_about_the_revision_silences_nobody(
    ledger: Ledger,
    connection: Connection,
    republisher: Republisher,
    ear: BareRedis,
    redis: embedded.Server,
    notice_prefix: str,
) -> None:
    await make_organization(ledger, "acme")
    assert await republisher.look_once() == 0
    async with bare_redis(redis) as liar:
        await liar.ask("PUBLISH", notice_prefix + "acme", b'{"revision": "1000000"}')
    assert (await ear.hears())[1]["revision"] == "1000000"

    async def lied_to() -> bool:
        return bool(republisher._unheard._heard)

    await comes_true(lied_to)
    assert await republisher.look_once() == 1
    assert await ear.hears_until(1) == [1]


async def test_a_transaction_that_stayed_open_for_long_is_found_when_it_commits(
    database: str,
    connection: Connection,
    republisher: Republisher,
    ear: BareRedis,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its entry was written before several looks that could not see it, and longer ago than a look goes back."""
    Way.ALONE.go(monkeypatch)
    await make_organization(ledger, "acme")
    await republisher.look_once()
    assert await republisher.look_once() == 1
    async with relayed(database) as proxy:
        pool = await connect_pool(proxy.url, name="slow", size=2)
        slow = Ledger(pool)
        trap = proxy.at("COMMIT", Fate.HOLD_BEFORE)
        call = asyncio.create_task(do(slow, "acme", UpdateOrganization(display_name="late"), seconds=60))
        await trap.sprung.wait()
        held = await connection.fetchval("SELECT clock_timestamp()")

        async def looked_for_longer_than_a_look_goes_back() -> bool:
            assert await republisher.look_once() == 0
            since: timedelta = await connection.fetchval("SELECT clock_timestamp() - $1::timestamptz", held)
            return since > timedelta(seconds=3)

        await comes_true(looked_for_longer_than_a_look_goes_back)
        trap.release()
        assert (await call).balance.revision == 2
        assert await republisher.look_once() == 0
        assert await republisher.look_once() == 1
        assert await ear.hears_until(2) == [1, 2]
        await pool.close()


@pytest.mark.parametrize("hours", [1, -1], ids=["the former clock was ahead", "the former clock was behind"])
async def test_after_a_failover_to_a_server_with_another_clock(
    hours: int,
    ledger: Ledger,
    connection: Connection,
    republisher: Republisher,
    ear: BareRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        horizon = changes.read_horizon

        async def formerly(connection: Connection) -> datetime:
            return await horizon(connection) + timedelta(hours=hours)

        patch.setattr(changes, "read_horizon", formerly)
        await republisher.look_once()
    await make_organization(ledger, "acme")
    assert await republisher.look_once() == 0
    assert await republisher.look_once() == 1
    assert await ear.hears_until(1) == [1]


async def test_while_redis_is_away_what_is_unheard_waits(
    ledger: Ledger, pool: Pool, connection: Connection, notice_prefix: str
) -> None:
    """For as long as it takes: also when it is no longer among what changed lately."""
    port = free_port()
    async with looking(pool, url(port), notice_prefix) as republisher:
        await make_organization(ledger, "acme")
        for _ in range(3):
            assert await republisher.look_once() == 0
        await written_earlier(connection, timedelta(hours=1))
        assert await republisher.look_once() == 0
        with embedded.redis(port=port) as own:
            async with subscribed(own, notice_prefix + "acme") as ear:
                async with asyncio.timeout(PROMISED_SECONDS):
                    await republisher.listener.connected.wait()
                assert await republisher.look_once() == 1
                assert await ear.hears_until(1) == [1]


async def written_earlier(connection: Connection, by: timedelta, organization: str = "acme") -> None:
    """As if so much time had passed since."""
    await connection.execute("ALTER TABLE entry DISABLE TRIGGER USER")
    await connection.execute(
        "UPDATE entry SET written_time = written_time - $1::interval WHERE organization = $2", by, organization
    )
    await connection.execute("ALTER TABLE entry ENABLE TRIGGER USER")


async def test_a_worker_that_starts_again_makes_up_for_the_time_between(
    ledger: Ledger, connection: Connection, republisher: Republisher, ear: BareRedis
) -> None:
    """But not for what is older: a notice is a hint, and nobody remembers which were published."""
    for name in ("long-ago", "acme"):
        await make_organization(ledger, name)
    await written_earlier(connection, timedelta(seconds=9))
    await written_earlier(connection, timedelta(minutes=1), "long-ago")
    await republisher.look_once()
    assert await republisher.look_once() == 1
    assert await ear.hears_until(1) == [1]


async def test_many_are_published_in_pages_and_no_more_than_the_publisher_holds(
    ledger: Ledger, pool: Pool, redis: embedded.Server, notice_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.expiry.republish.BALANCES_PER_READ", 3)
    monkeypatch.setattr("services.expiry.republish.PUBLISHER_WAITING_MAX", 6)
    publisher = Publisher(redis.url, notice_prefix)
    republisher = Republisher(pool, publisher, url=redis.url, prefix=notice_prefix)
    republisher.listener.connected.set()
    await asyncio.gather(*(make_organization(ledger, f"o-{each}") for each in range(14)))
    assert await republisher.look_once() == 0
    assert [await republisher.look_once() for _ in range(2)] == [6, 0]
    async with publisher:
        await emptied(publisher)
        assert await republisher.look_once() == 6
        await emptied(publisher)
        assert [await republisher.look_once() for _ in range(2)] == [2, 0]
