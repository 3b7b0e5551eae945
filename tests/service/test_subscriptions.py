"""Purchases: every call of SubscriptionService, through every state of a subscription's life."""

from datetime import UTC, datetime, timedelta

import pytest
from grpc.aio import Channel

import earmark
from earmark.messages import MessageClient
from earmark.v1 import subscription_service_pb2 as pb
from earmark.v1.resources_pb2 import Subscription
from earmark.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from services.ledger.store.database import Connection
from tests.conftest import Advance
from tests.support.service_stories import (
    DAY,
    YEAR,
    buy,
    consequences,
    everything,
    figures,
    instant,
    kinds,
    now,
    refused,
)


async def test_a_purchase_says_what_was_bought(client: MessageClient, organization: str) -> None:
    before = datetime.now(UTC)
    end = before + YEAR
    bought = await client.create_subscription(
        organization, credits=100, end_time=end, order_reference="order 17", labels={"region": "north"}
    )
    subscription = bought.subscription
    assert subscription.state == Subscription.ACTIVE
    assert (subscription.credits, subscription.order_reference) == (100, "order 17")
    assert before <= instant(subscription.start_time) == instant(subscription.create_time) <= datetime.now(UTC)
    assert (instant(subscription.end_time), instant(subscription.grace_end_time)) == (end, end + 30 * DAY)
    assert dict(subscription.labels) == {"region": "north"}
    assert figures(bought.balance) == (100, 0, 0, 0)
    read = await client.get_subscription(organization, subscription.name)
    assert instant(read.as_of) > instant(subscription.as_of)
    read.as_of.CopyFrom(subscription.as_of)
    assert read == subscription


async def test_a_purchase_sent_twice_buys_once(
    client: MessageClient, organization: str, connection: Connection
) -> None:
    end = datetime.now(UTC) + YEAR
    first = await client.create_subscription(organization, credits=100, end_time=end, request_id="r-1")
    again = await client.create_subscription(organization, credits=100, end_time=end, request_id="r-1")
    assert again == first
    await refused(
        client.create_subscription(organization, credits=101, end_time=end, request_id="r-1"), "REQUEST_ID_REUSED"
    )
    named = await buy(client, organization, 50, subscription="s-1")
    assert earmark.names.id_of(named.subscription.name) == "s-1"
    await refused(buy(client, organization, 50, subscription="s-1"), "SUBSCRIPTION_ALREADY_EXISTS")
    assert (await kinds(connection, organization)).count("SUBSCRIPTION_CREATED") == 2


async def test_a_life_from_scheduled_to_expired(
    client: MessageClient, organization: str, advance: Advance, connection: Connection
) -> None:
    start = datetime.now(UTC) + DAY

    async def state() -> tuple[str, tuple[int, int, int, int]]:
        subscription = await client.get_subscription(organization, "s-1")
        balance = (await client.get_organization(organization)).balance
        return Subscription.State.Name(subscription.state), figures(balance)

    await client.create_subscription(
        organization,
        credits=100,
        start_time=start,
        end_time=start + 2 * DAY,
        grace_period=DAY,
        subscription="s-1",
    )
    assert await state() == ("SCHEDULED", (0, 0, 0, 0))
    await advance(DAY)
    assert await state() == ("ACTIVE", (100, 0, 0, 0))
    await advance(2 * DAY)
    assert await state() == ("GRACE", (0, 100, 0, 0))
    await advance(DAY)
    assert await state() == ("EXPIRED", (0, 0, 0, 0))
    assert [kind for kind in await kinds(connection, organization) if kind.startswith("SUBSCRIPTION_")] == [
        "SUBSCRIPTION_CREATED",
        "SUBSCRIPTION_STARTED",
        "SUBSCRIPTION_ENDING_SOON",
        "SUBSCRIPTION_ENDED",
        "SUBSCRIPTION_ENDING_SOON",
        "SUBSCRIPTION_EXPIRED",
    ]


async def test_what_may_change_while_scheduled(client: MessageClient, organization: str) -> None:
    start = datetime.now(UTC) + DAY
    bought = await client.create_subscription(
        organization, credits=100, start_time=start, end_time=start + YEAR, subscription="s-1"
    )
    later = await client.update_subscription(
        organization,
        "s-1",
        credits=200,
        start_time=start + DAY,
        end_time=start + 2 * YEAR,
        grace_period=DAY,
        etag=bought.subscription.etag,
    )
    assert (later.subscription.state, later.subscription.credits) == (Subscription.SCHEDULED, 200)
    assert instant(later.subscription.grace_end_time) == start + 2 * YEAR + DAY
    begun = await client.update_subscription(organization, "s-1", start_time=datetime(2000, 1, 1, tzinfo=UTC))
    assert begun.subscription.state == Subscription.ACTIVE
    assert instant(begun.subscription.start_time) == instant(begun.subscription.update_time)
    assert figures(begun.balance) == (200, 0, 0, 0)


async def test_what_may_change_while_active(client: MessageClient, organization: str) -> None:
    bought = await buy(client, organization, 100, subscription="s-1")
    end = instant(bought.subscription.end_time) + DAY
    changed = await client.update_subscription(
        organization,
        "s-1",
        credits=90,
        end_time=end,
        grace_period=timedelta(),
        order_reference="order 18",
        labels={"a": "1"},
    )
    assert figures(changed.balance) == (90, 0, 0, 0)
    assert instant(changed.subscription.grace_end_time) == end
    same = await client.update_subscription(
        organization, "s-1", credits=90, start_time=instant(bought.subscription.start_time)
    )
    assert same.balance.revision == changed.balance.revision

    error = await refused(client.update_subscription(organization, "s-1", start_time=end), "SUBSCRIPTION_STATE")
    assert error.metadata == {"state": "ACTIVE"}
    error = await refused(
        client.update_subscription(organization, "s-1", end_time=datetime.now(UTC) - DAY), "INVALID_FIELD"
    )
    assert error.details[1].field_violations[0].field == "subscription.end_time"
    await refused(
        client.update_subscription(organization, "s-1", credits=1, etag=bought.subscription.etag), "ETAG_MISMATCH"
    )


async def test_what_may_change_in_grace(
    client: MessageClient, organization: str, advance: Advance, connection: Connection
) -> None:
    await buy(client, organization, 100, lasting=DAY, grace=10 * DAY, subscription="s-1")
    await advance(2 * DAY)
    changed = await client.update_subscription(organization, "s-1", credits=80, grace_period=5 * DAY)
    assert (changed.subscription.state, figures(changed.balance)) == (Subscription.GRACE, (0, 80, 0, 0))
    error = await refused(
        client.update_subscription(organization, "s-1", grace_period=timedelta(hours=1)), "INVALID_FIELD"
    )
    assert "choose a longer one" in error.message
    longer = await client.update_subscription(organization, "s-1", end_time=await now(connection) + DAY)
    assert (longer.subscription.state, figures(longer.balance)) == (Subscription.ACTIVE, (80, 0, 0, 0))
    assert (await kinds(connection, organization))[-1] == "SUBSCRIPTION_AMENDED"


async def test_what_is_over_stays_as_it_is(
    client: MessageClient, organization: str, advance: Advance, connection: Connection
) -> None:
    await buy(client, organization, 100, lasting=DAY, grace=timedelta(), subscription="expired")
    await buy(client, organization, 100, subscription="cancelled")
    await client.cancel_subscription(organization, "cancelled")
    await advance(DAY)
    for subscription in ("expired", "cancelled"):
        for change in ({"credits": 7}, {"grace_period": DAY}, {"end_time": await now(connection) + DAY}):
            await refused(client.update_subscription(organization, subscription, **change), "SUBSCRIPTION_STATE")
        nothing = await client.update_subscription(organization, subscription, credits=100)
        assert nothing.subscription.credits == 100
    await refused(client.cancel_subscription(organization, "expired"), "SUBSCRIPTION_STATE")


async def test_cancelling_again_changes_nothing(client: MessageClient, organization: str) -> None:
    bought = await buy(client, organization, 100, subscription="s-1")
    cancelled = await client.cancel_subscription(organization, "s-1", etag=bought.subscription.etag)
    assert cancelled.subscription.state == Subscription.CANCELLED
    assert cancelled.subscription.HasField("cancel_time")
    assert figures(cancelled.balance) == (0, 0, 0, 0)
    again = await client.cancel_subscription(organization, "s-1")
    assert again.balance.revision == cancelled.balance.revision
    await refused(client.cancel_subscription(organization, "s-1", etag="0"), "ETAG_MISMATCH")
    await refused(client.cancel_subscription(organization, "s-2"), "SUBSCRIPTION_NOT_FOUND")


@pytest.mark.usefixtures("sensors")
async def test_what_would_suspend_needs_force(client: MessageClient, organization: str) -> None:
    await buy(client, organization, 100, subscription="s-1")
    for key, units in (("first", 10), ("second", 5)):
        await client.enable_allocation(organization, offering="email-sensor", units=units, allocation=key)
    for refusal in (
        client.cancel_subscription(organization, "s-1"),
        client.update_subscription(organization, "s-1", credits=40),
    ):
        error = await refused(refusal, "WOULD_SUSPEND")
        assert error.metadata["allocations"].startswith("organizations/o-1/allocations/")

    forced = await client.update_subscription(organization, "s-1", credits=40, force=True)
    assert consequences(forced.consequences) == ([], ["first"], ["first"])
    assert figures(forced.balance) == (40, 0, 25, 50)
    back = await client.update_subscription(organization, "s-1", credits=75)
    assert consequences(back.consequences) == (["first"], [], [])
    gone = await client.cancel_subscription(organization, "s-1", force=True)
    assert consequences(gone.consequences) == ([], ["second", "first"], ["first", "second"])
    assert figures(gone.balance) == (0, 0, 0, 75)


@pytest.mark.usefixtures("sensors")
async def test_what_would_suspend_sooner_than_time_would_needs_force(client: MessageClient, organization: str) -> None:
    bought = await buy(client, organization, 100, subscription="s-1")
    await client.enable_allocation(organization, offering="email-sensor", units=10)
    sooner = instant(bought.subscription.end_time) - DAY
    error = await refused(client.update_subscription(organization, "s-1", end_time=sooner), "WOULD_SUSPEND")
    until = sooner + 30 * DAY
    assert datetime.fromisoformat(error.metadata["coveredUntil"]) == until
    assert datetime.fromisoformat(error.metadata["coveredUntilBefore"]) == until + DAY
    forced = await client.update_subscription(organization, "s-1", end_time=sooner, force=True)
    assert consequences(forced.consequences) == ([], [], [])
    smaller = await client.update_subscription(organization, "s-1", credits=50)
    assert figures(smaller.balance) == (50, 0, 50, 0)


@pytest.mark.usefixtures("sensors")
async def test_a_renewal_takes_over_where_the_old_one_ends(
    client: MessageClient, organization: str, advance: Advance, connection: Connection
) -> None:
    old = await buy(client, organization, 100, lasting=10 * DAY, subscription="s-1")
    await client.enable_allocation(organization, offering="email-sensor", units=20)
    renewal = await buy(client, organization, 60, renews="s-1", subscription="s-2")
    assert renewal.subscription.state == Subscription.SCHEDULED
    assert renewal.subscription.start_time == old.subscription.end_time
    assert renewal.subscription.renews == old.subscription.name
    error = await refused(buy(client, organization, 60, renews="s-1"), "RENEWAL_ALREADY_EXISTS")
    assert error.metadata["renewal"] == renewal.subscription.name
    await refused(buy(client, organization, 60, renews="s-9"), "SUBSCRIPTION_NOT_FOUND")

    await advance(10 * DAY)
    assert figures((await client.get_organization(organization)).balance) == (60, 100, 100, 0)
    made_room = await client.adjust_allocation(organization, "email-sensor", delta_units=-8)
    assert figures(made_room.balance) == (60, 100, 60, 0)
    await advance(30 * DAY)
    assert figures((await client.get_organization(organization)).balance) == (60, 0, 60, 0)

    await client.cancel_subscription(organization, "s-2", force=True)
    anew = await buy(client, organization, 60, renews="s-1", since=await now(connection))
    assert anew.subscription.state == Subscription.ACTIVE
    assert consequences(anew.consequences) == (["email-sensor"], [], [])


async def test_asking_what_a_purchase_would_do(
    client: MessageClient, organization: str, connection: Connection
) -> None:
    end = datetime.now(UTC) + YEAR
    would = await client.create_subscription(organization, credits=100, end_time=end, validate_only=True)
    assert figures(would.balance) == (100, 0, 0, 0)
    await buy(client, organization, 50, subscription="s-1")
    amended = await client.update_subscription(organization, "s-1", credits=70, validate_only=True)
    assert figures(amended.balance) == (70, 0, 0, 0)
    cancelled = await client.cancel_subscription(organization, "s-1", validate_only=True)
    assert cancelled.subscription.state == Subscription.CANCELLED
    assert figures((await client.get_organization(organization)).balance) == (50, 0, 0, 0)
    assert len(await kinds(connection, organization)) == 2


async def test_fields_are_set_by_mask(client: MessageClient, organization: str, channel: Channel) -> None:
    bought = await buy(client, organization, 100, grace=DAY)
    service = SubscriptionServiceStub(channel)

    async def update(*paths: str) -> Subscription:
        sent = Subscription(name=bought.subscription.name, credits=70, order_reference="order 18")
        request = pb.UpdateSubscriptionRequest(subscription=sent)
        request.update_mask.paths.extend(paths)
        answer: pb.UpdateSubscriptionResponse = await service.UpdateSubscription(request)
        return answer.subscription

    reference = await update("order_reference")
    assert (reference.order_reference, reference.credits) == ("order 18", 100)
    populated = await update()
    assert (populated.credits, populated.grace_period.seconds) == (70, DAY.total_seconds())
    default = await update("grace_period")
    assert default.grace_period.seconds == 30 * DAY.total_seconds()


async def test_lists_by_state_and_over_all_organizations(client: MessageClient, organization: str) -> None:
    await client.create_organization("o-2")
    for other in (organization, "o-2"):
        await buy(client, other, 1, subscription="s-1")
        await buy(client, other, 2, subscription="s-2")
        await client.cancel_subscription(other, "s-1")
    ids = [each.name.removeprefix("organizations/") for each in await everything(client.list_subscriptions())]
    assert ids == [f"{o}/subscriptions/{s}" for o in ("o-1", "o-2") for s in ("s-1", "s-2")]
    active = await everything(client.list_subscriptions("o-2", state=Subscription.ACTIVE))
    assert [each.credits for each in active] == [2]
    assert await everything(client.list_subscriptions("o-2", state=Subscription.GRACE)) == []
