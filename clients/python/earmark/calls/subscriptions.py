"""Purchases of credits."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime, timedelta

from earmark import names
from earmark.calls.base import Calls
from earmark.reading import answers, resources
from earmark.types import Subscription, SubscriptionChange, SubscriptionState
from earmark.v1 import resources_pb2


class Subscriptions(Calls):
    async def create_subscription(  # noqa: PLR0913 - a keyword for each field
        self,
        organization: str,
        *,
        credits: int,
        end_time: datetime,
        start_time: datetime | None = None,
        grace_period: timedelta | None = None,
        renews: str = "",
        order_reference: str = "",
        labels: Mapping[str, str] | None = None,
        subscription: str = "",
        request_id: str = "",
        validate_only: bool = False,
    ) -> SubscriptionChange:
        """Buys credits for a term, from now unless it starts later or renews what is still to end.

        grace_period: 30 days unless given. subscription: its id; made by the server unless given.
        Raises OrganizationNotFound, SubscriptionNotFound (what it renews), SubscriptionAlreadyExists,
        RenewalAlreadyExists, InvalidField, LimitExceeded.
        """
        answer = await self._messages.create_subscription(
            organization,
            credits=credits,
            end_time=end_time,
            start_time=start_time,
            grace_period=grace_period,
            renews=renews,
            order_reference=order_reference,
            labels=labels,
            subscription=subscription,
            request_id=request_id,
            validate_only=validate_only,
        )
        return answers.subscription_change(answer)

    async def update_subscription(  # noqa: PLR0913 - a keyword for each field
        self,
        organization: str,
        subscription: str,
        *,
        credits: int | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        grace_period: timedelta | None = None,
        order_reference: str | None = None,
        labels: Mapping[str, str] | None = None,
        etag: str = "",
        force: bool = False,
        request_id: str = "",
        validate_only: bool = False,
    ) -> SubscriptionChange:
        """Changes what is given, labels as a whole. `force`: even if that suspends allocations.

        Raises SubscriptionNotFound, EtagMismatch, SubscriptionStateForbids, InvalidField, WouldSuspend.
        """
        answer = await self._messages.update_subscription(
            organization,
            subscription,
            credits=credits,
            start_time=start_time,
            end_time=end_time,
            grace_period=grace_period,
            order_reference=order_reference,
            labels=labels,
            etag=etag,
            force=force,
            request_id=request_id,
            validate_only=validate_only,
        )
        return answers.subscription_change(answer)

    async def cancel_subscription(
        self,
        organization: str,
        subscription: str,
        *,
        etag: str = "",
        force: bool = False,
        request_id: str = "",
        validate_only: bool = False,
    ) -> SubscriptionChange:
        """Ends it at once, without grace. `force`: even if that suspends allocations.

        Raises SubscriptionNotFound, EtagMismatch, SubscriptionStateForbids, WouldSuspend.
        """
        answer = await self._messages.cancel_subscription(
            organization,
            subscription,
            etag=etag,
            force=force,
            request_id=request_id,
            validate_only=validate_only,
        )
        return answers.subscription_change(answer)

    async def get_subscription(self, organization: str, subscription: str) -> Subscription:
        """Raises OrganizationNotFound, SubscriptionNotFound."""
        return resources.subscription(await self._messages.get_subscription(organization, subscription))

    async def list_subscriptions(
        self, organization: str = names.EVERY, *, state: SubscriptionState | None = None, page_size: int = 0
    ) -> AsyncGenerator[Subscription, None]:
        """By organization and id; of all organizations unless one is given. Raises OrganizationNotFound."""
        chosen = resources_pb2.Subscription.State.Value(state or "STATE_UNSPECIFIED")
        async for each in self._messages.list_subscriptions(organization, state=chosen, page_size=page_size):
            yield resources.subscription(each)
