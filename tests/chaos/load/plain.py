"""Calls by bare stubs: each is sent once, over one connection."""

from collections.abc import Callable
from typing import Any, Final

import grpc

from earmark.errors import EarmarkError
from earmark.messages.connection import ACTOR_METADATA
from earmark.v1 import (
    allocation_service_pb2,
    catalog_service_pb2,
    organization_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
)
from earmark.v1.allocation_service_pb2_grpc import AllocationServiceStub
from earmark.v1.catalog_service_pb2_grpc import CatalogServiceStub
from earmark.v1.organization_service_pb2_grpc import OrganizationServiceStub
from earmark.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from earmark.v1.usage_service_pb2_grpc import UsageServiceStub

OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 500),
)
SERVICES: Final[list[tuple[Any, str, Callable[[grpc.aio.Channel], Any]]]] = [
    (allocation_service_pb2, "AllocationService", AllocationServiceStub),
    (catalog_service_pb2, "CatalogService", CatalogServiceStub),
    (organization_service_pb2, "OrganizationService", OrganizationServiceStub),
    (subscription_service_pb2, "SubscriptionService", SubscriptionServiceStub),
    (usage_service_pb2, "UsageService", UsageServiceStub),
]


def channel_to(address: str) -> grpc.aio.Channel:
    """A connection of its own, which is made anew soon after it broke."""
    return grpc.aio.insecure_channel(address, options=OPTIONS)


class Plain:
    """All methods of all services, over one channel."""

    def __init__(self, address: str, channel: grpc.aio.Channel) -> None:
        self.address = address
        self._methods: dict[str, Callable[..., Any]] = {}
        for module, name, stub_of in SERVICES:
            stub = stub_of(channel)
            for method in module.DESCRIPTOR.services_by_name[name].methods:
                self._methods[method.name] = getattr(stub, method.name)

    async def send(self, method: str, request: Any, *, actor: str, seconds: float) -> Any:
        """The answer's message, within so many seconds. Raises EarmarkError."""
        try:
            return await self._methods[method](request, timeout=seconds, metadata=((ACTOR_METADATA, actor),))
        except grpc.aio.AioRpcError as error:
            raise EarmarkError.from_rpc(error) from error

    def watch(self, request: usage_service_pb2.WatchUsageRequest) -> "grpc.aio.UnaryStreamCall[Any, Any]":
        call: grpc.aio.UnaryStreamCall[Any, Any] = self._methods["WatchUsage"](request)
        return call
