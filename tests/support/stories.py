"""How a story over the wire begins: offerings, and an organization that has credits."""

from datetime import UTC, datetime, timedelta

import earmark
from earmark import Client
from earmark.v1.subscription_service_pb2 import CreateSubscriptionResponse


async def offer(client: Client, **prices: str) -> None:
    """Creates offerings; `prices` are their credits per unit."""
    for offering, credits_per_unit in prices.items():
        await client.create_offering(offering, price=earmark.price(credits_per_unit))


async def buy(
    client: Client, organization: str, credits: int, *, days: float = 365, subscription: str = ""
) -> CreateSubscriptionResponse:
    """Credits from now on, for so many days."""
    return await client.create_subscription(
        organization, credits=credits, end_time=datetime.now(UTC) + timedelta(days=days), subscription=subscription
    )
