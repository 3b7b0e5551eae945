"""SubscriptionService."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from earmark import names
from earmark.messages.connection import Connection
from earmark.messages.wire import duration, given, timestamp
from earmark.v1 import subscription_service_pb2 as pb
from earmark.v1.resources_pb2 import Subscription
from earmark.v1.subscription_service_pb2_grpc import SubscriptionServiceStub

if TYPE_CHECKING:  # a name of the stubs alone
    from earmark.v1.subscription_service_pb2_grpc import SubscriptionServiceAsyncStub


class Subscriptions(Connection):
    """Purchases of credits."""

    @cached_property
    def _subscription_service(self) -> "SubscriptionServiceAsyncStub":
        return SubscriptionServiceStub(self._channel)

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
    ) -> pb.CreateSubscriptionResponse:
        """Buys credits for a term, from now unless it starts later or renews what is still to end."""
        request = pb.CreateSubscriptionRequest(
            parent=names.organization(organization),
            subscription_id=subscription,
            subscription=Subscription(
                credits=credits,
                start_time=timestamp(start_time),
                end_time=timestamp(end_time),
                grace_period=duration(grace_period),
                renews=names.subscription(organization, renews) if renews else "",
                order_reference=order_reference,
                labels=labels,
            ),
            request_id=request_id,
            validate_only=validate_only,
        )
        return await self._mutate(self._subscription_service.CreateSubscription, request)

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
    ) -> pb.UpdateSubscriptionResponse:
        """Changes what is given, labels as a whole. `force`: even if that suspends allocations."""
        fields = given(
            {
                "credits": credits,
                "start_time": timestamp(start_time),
                "end_time": timestamp(end_time),
                "grace_period": duration(grace_period),
                "order_reference": order_reference,
                "labels": labels,
            }
        )
        request = pb.UpdateSubscriptionRequest(
            subscription=Subscription(name=names.subscription(organization, subscription), etag=etag, **fields),
            update_mask=FieldMask(paths=list(fields)),
            force=force,
            request_id=request_id,
            validate_only=validate_only,
        )
        return await self._mutate(self._subscription_service.UpdateSubscription, request)

    async def cancel_subscription(
        self,
        organization: str,
        subscription: str,
        *,
        etag: str = "",
        force: bool = False,
        request_id: str = "",
        validate_only: bool = False,
    ) -> pb.CancelSubscriptionResponse:
        """Ends it at once, without grace. `force`: even if that suspends allocations."""
        request = pb.CancelSubscriptionRequest(
            name=names.subscription(organization, subscription),
            etag=etag,
            force=force,
            request_id=request_id,
            validate_only=validate_only,
        )
        return await self._mutate(self._subscription_service.CancelSubscription, request)

    async def get_subscription(self, organization: str, subscription: str) -> Subscription:
        request = pb.GetSubscriptionRequest(name=names.subscription(organization, subscription))
        return await self._call(self._subscription_service.GetSubscription, request)

    async def list_subscriptions(
        self,
        organization: str = names.EVERY,
        *,
        state: Subscription.State.ValueType = Subscription.STATE_UNSPECIFIED,
        page_size: int = 0,
    ) -> AsyncGenerator[Subscription, None]:
        """By organization and id; of all organizations unless one is given."""
        request = pb.ListSubscriptionsRequest(parent=names.organization(organization), state=state, page_size=page_size)
        async for page in self._pages(self._subscription_service.ListSubscriptions, request):
            for subscription in page.subscriptions:
                yield subscription
