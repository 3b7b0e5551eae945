"""`earmark.testing`: a real Earmark in one line, whose time a test moves; and `earmark-admin testbed` below it."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis

import earmark.sync
from earmark.errors import OrganizationNotFound
from earmark.messages import MessageClient
from earmark.testing import Server, ServerError
from earmark.v1 import organization_service_pb2 as pb
from earmark.v1.organization_service_pb2_grpc import OrganizationServiceStub
from earmark.v1.resources_pb2 import Allocation, Subscription
from tests.support.service_stories import DAY, YEAR, buy, everything, offer


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    running.reset()
    return running


async def test_a_year_passes(server: Server) -> None:
    async with MessageClient(server.address) as client:
        await offer(client, endpoint_sensor="20")
        await client.create_organization("o-1")
        bought = (await buy(client, "o-1", 100, subscription="s-1", grace=timedelta())).subscription
        await client.enable_allocation("o-1", offering="endpoint-sensor", units=5)

        began = server.now()
        assert server.advance(YEAR - DAY) - began - (YEAR - DAY) < timedelta(seconds=10)
        assert (await client.get_subscription("o-1", "s-1")).state == Subscription.ACTIVE

        assert server.advance(DAY) >= bought.end_time.ToDatetime(UTC)
        assert (await client.get_subscription("o-1", "s-1")).state == Subscription.EXPIRED
        assert (await client.get_allocation("o-1", "endpoint-sensor")).state == Allocation.SUSPENDED


async def test_what_came_due_is_settled_where_no_read_settles_it(server: Server) -> None:
    """Lists of all organizations show what is committed."""
    async with MessageClient(server.address) as client:
        for number in range(60):
            await client.create_organization(f"o-{number}")
            await buy(client, f"o-{number}", 100, subscription="s", grace=timedelta())
        server.advance(YEAR)
        assert {each.state for each in await everything(client.list_subscriptions())} == {Subscription.EXPIRED}


async def test_watches_and_notices_tell_of_the_time_that_passed(server: Server) -> None:
    redis: Any = Redis.from_url(server.redis_url)
    async with MessageClient(server.address) as client, redis, redis.pubsub() as notices:
        await client.create_organization("o-1")
        await buy(client, "o-1", 100, grace=timedelta())
        watch = client.watch_usage("o-1")
        end = (await anext(watch)).revision
        await notices.psubscribe("earmark.v1.organizations.*")
        await notices.get_message(timeout=10)  # That we are subscribed.

        server.advance(YEAR)
        while end < (await client.get_organization("o-1")).balance.revision:
            end = (await asyncio.wait_for(anext(watch), 10)).revision
        heard: dict[str, Any] = {}
        while heard.get("revision") != str(end):
            message = await notices.get_message(ignore_subscribe_messages=True, timeout=10)
            heard = json.loads(message["data"])["balance"]
        await watch.aclose()


async def test_reset_leaves_nothing_but_the_address(server: Server) -> None:
    async with MessageClient(server.address) as client:
        await offer(client, endpoint_sensor="20")
        created = await client.create_organization("o-1", request_id="once")
        watch = client.watch_usage("o-1")
        await anext(watch)
        server.advance(100 * YEAR)

        address = server.address
        server.reset()
        assert server.address == address
        assert abs(server.now() - datetime.now(UTC)) < timedelta(seconds=10)
        assert await everything(client.list_organizations()) == []
        assert await everything(client.list_offerings()) == []
        with pytest.raises(OrganizationNotFound):
            await anext(watch)

        again = await client.create_organization("o-1", request_id="once")
        assert again.organization.create_time.ToDatetime() > created.organization.create_time.ToDatetime()
        watch = client.watch_usage("o-1")
        assert (await anext(watch)).revision == 1
        await watch.aclose()


@pytest.mark.parametrize("policy", ["pick_first", "round_robin"])
def test_a_channel_that_is_open_all_the_time_notices_no_reset(server: Server, policy: str) -> None:
    """Not even one that tries nothing again."""
    options = [("grpc.lb_policy_name", policy), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(server.address, options=options) as channel:
        stub = OrganizationServiceStub(channel)
        for _ in range(10):
            stub.CreateOrganization(pb.CreateOrganizationRequest(organization_id="o-1"), timeout=10)
            server.reset()


def test_several_threads_each_get_their_own_answer(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        began = server.now()
        reached = sorted(pool.map(lambda _: server.advance(DAY), range(16)))
    for days, instant in enumerate(reached, start=1):
        assert timedelta() <= instant - began - days * DAY < DAY / 2


def test_who_was_interrupted_leaves_no_answer_to_the_next(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> bytes:
        raise KeyboardInterrupt

    began = server.now()
    with monkeypatch.context() as patch:
        patch.setattr(server, "_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            server.now()
    assert server.advance(DAY) >= began + DAY


def test_backwards_and_too_far_are_refused(server: Server) -> None:
    began = server.now()
    with pytest.raises(ServerError, match=r"seconds must be 0 to .*, and not -1\.0: time moves forwards only"):
        server.advance(timedelta(seconds=-1))
    with pytest.raises(ServerError, match="too far: the clock stays in the years 2000 to 2200"):
        server.advance(180 * YEAR)
    assert server.now() - began < timedelta(seconds=10)


def test_two_at_once_know_nothing_of_each_other(server: Server) -> None:
    with Server(catalog="sample") as other:
        other.advance(DAY)
        with earmark.sync.Client(server.address) as one, earmark.sync.Client(other.address) as two:
            one.create_organization("o-1")
            assert list(two.list_organizations()) == []
            assert (len(list(one.list_offerings())), len(list(two.list_offerings()))) == (0, 42)
        assert other.now() - server.now() > DAY / 2
        other.reset()
        with earmark.sync.Client(other.address) as two:
            assert len(list(two.list_offerings())) == 42
