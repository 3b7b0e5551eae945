"""Before anybody calls: offerings, organizations, first credits. After all of them: nothing is left that would end."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from earmark import names
from earmark.messages.connection import new_request_id
from earmark.messages.wire import price
from earmark.v1.catalog_service_pb2 import CreateOfferingRequest
from earmark.v1.organization_service_pb2 import CreateOrganizationRequest
from earmark.v1.resources_pb2 import Offering, Organization, Subscription
from earmark.v1.subscription_service_pb2 import CancelSubscriptionRequest, CreateSubscriptionRequest
from earmark.v1.usage_service_pb2 import GetUsageRequest
from tests.chaos.load.calling import Client, Way
from tests.chaos.load.plan import BASE, BASE_CREDITS, CATALOG, Plan
from tests.chaos.load.recording import Wish

SECONDS: Final = 20.0
ASK_SECONDS: Final = 5.0
BASE_TERM: Final = timedelta(hours=12)
"""Short enough for no reminder."""


class NotPrepared(Exception):
    """A call that must succeed did not."""


async def prepare(plan: Plan, client: Client, way: Way) -> dict[str, int]:
    """Makes them all; answers with the revision of each organization. Raises NotPrepared."""
    chance = plan.chance("prepare")
    for offering in CATALOG:
        await _do(client, way, Wish("CreateOffering", "", _offering(offering)))
    created = [(each, chance.randint(*BASE_CREDITS)) for each in plan.organization_ids]
    revisions = await asyncio.gather(*(_organization(client, way, each, credits) for each, credits in created))
    return dict(zip(plan.organization_ids, revisions, strict=True))


async def quiet_down(plan: Plan, client: Client, way: Way, seconds: float) -> None:
    """Cancels whatever would end by itself, so that no time writes entries any more; as far as that can be done in so
    many seconds. What is under way by then is finished, so that every call is written down."""
    until = asyncio.get_running_loop().time() + seconds
    await asyncio.gather(*(_quiet(client, way, each, until) for each in plan.organization_ids))


async def _quiet(client: Client, way: Way, organization: str, until: float) -> None:
    clock = asyncio.get_running_loop().time
    while clock() < until:
        looking = Wish("GetUsage", organization, GetUsageRequest(name=names.organization(organization)))
        made = await client.make(looking, way, ASK_SECONDS)
        there = [each.name for each in made.answer.subscriptions] if made.answer else []
        ending = [each for each in there if names.id_of(each) != BASE]
        if there and not ending:
            return
        for name in ending:
            request = CancelSubscriptionRequest(name=name, force=True, request_id=new_request_id())
            await client.make(Wish("CancelSubscription", organization, request), way, ASK_SECONDS)


def _offering(offering: str) -> CreateOfferingRequest:
    offered = CATALOG[offering].price
    return CreateOfferingRequest(
        offering_id=offering,
        offering=Offering(
            price=price(offered.credits_per_block, block_units=offered.block_units, max_credits=offered.max_credits)
        ),
        request_id=f"prepare-{offering}",
    )


async def _organization(client: Client, way: Way, organization: str, credits: int) -> int:
    """With the credits that outlive the campaign; answers with its revision."""
    request = CreateOrganizationRequest(
        organization_id=organization, organization=Organization(), request_id=f"prepare-{organization}"
    )
    await _do(client, way, Wish("CreateOrganization", organization, request))
    subscription = Subscription(credits=credits)
    subscription.end_time.FromDatetime(datetime.now(UTC) + BASE_TERM)
    buying = CreateSubscriptionRequest(
        parent=names.organization(organization),
        subscription_id=BASE,
        subscription=subscription,
        request_id=f"prepare-{organization}-{BASE}",
    )
    revision: int = (await _do(client, way, Wish("CreateSubscription", organization, buying))).balance.revision
    return revision


async def _do(client: Client, way: Way, wish: Wish) -> Any:
    made = await client.make(wish, way, SECONDS)
    if made.answer is None:
        raise NotPrepared(f"{wish.method} was {made.outcome}: {made.reason}")
    return made.answer
