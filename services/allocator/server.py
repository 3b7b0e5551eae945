"""The gRPC server: which services it has, what it listens on, and how it stops."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from earmark.v1 import (
    allocation_service_pb2,
    allocation_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    error_reason_pb2,  # noqa: F401 - loaded so that reflection can show the reasons too
    organization_service_pb2,
    organization_service_pb2_grpc,
    subscription_service_pb2,
    subscription_service_pb2_grpc,
    usage_service_pb2,
    usage_service_pb2_grpc,
)
from services.allocator.allocation_handler import AllocationHandler
from services.allocator.catalog_handler import CatalogHandler
from services.allocator.health import Health
from services.allocator.interceptor import Gate, stopping
from services.allocator.metrics import AllocatorMetrics
from services.allocator.organization_handler import OrganizationHandler
from services.allocator.subscription_handler import SubscriptionHandler
from services.allocator.usage_handler import UsageHandler
from services.allocator.watch_handler import encode_balance, encode_entries
from services.ledger.ledger import Ledger
from services.ledger.metrics import LedgerMetrics
from services.ledger.rules.answers import Balance
from services.ledger.store.database import Pool
from services.ledger.transaction import Announce
from services.ledger.watching.hub import Hub
from services.runtime.settings import Settings

log = logging.getLogger(__name__)

SERVICES: Final = tuple(
    each.full_name
    for each in (
        allocation_service_pb2.DESCRIPTOR.services_by_name["AllocationService"],
        subscription_service_pb2.DESCRIPTOR.services_by_name["SubscriptionService"],
        organization_service_pb2.DESCRIPTOR.services_by_name["OrganizationService"],
        catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"],
        usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"],
    )
)

MESSAGE_BYTES_MAX: Final = 4 * 2**20
PENDING_MARGIN: Final = 4_096
"""gRPC's own limit of waiting calls lies so far above ours, or a burst would end as bare CANCELLED."""
WATCHES_STOP_SECONDS: Final = 1.0
PING_MILLISECONDS_MIN: Final = 1_000
KEEPALIVE_MILLISECONDS: Final = 20_000


class AllocatorServer:
    """Serves from `start` to `stop`; `address` is where, with the port that was taken."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        registry: CollectorRegistry | None = None,
        announce: Announce = lambda _: None,
        extra_handlers: Sequence[grpc.GenericRpcHandler] = (),
        *,
        share_port: bool = False,
    ) -> None:
        """Without a registry nobody reads the metrics; `announce` is told of each commit.

        `extra_handlers` are served behind the same gate as our own.
        """
        metrics, of_ledger = AllocatorMetrics(registry), LedgerMetrics(registry)
        of_ledger.transactions.count_connections(pool)
        self._settings = settings
        self._told = announce
        self.hub = Hub(pool, encode_entries, encode_balance)
        metrics.watch(lambda: self.hub.watchers, lambda: self.hub.lag)
        self._reading: asyncio.Task[None] | None = None
        self._ledger = Ledger(pool, self._announce, of_ledger)
        self._gate = Gate(settings.calls_max, settings.watches_max, metrics)
        self._health = Health(("", *SERVICES))
        pending = settings.calls_max + PENDING_MARGIN
        self._server = aio.server(
            interceptors=[self._gate],
            options=[
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
                ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
                ("grpc.server.max_pending_requests", pending),
                ("grpc.server.max_pending_requests_hard_limit", 2 * pending),
                # A port that is taken is an error, unless we are one of several processes that share it.
                ("grpc.so_reuseport", int(share_port)),
                # A caller may make sure of its connection often, also while a watch has nothing to say; so do we.
                ("grpc.http2.min_ping_interval_without_data_ms", PING_MILLISECONDS_MIN),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.keepalive_time_ms", KEEPALIVE_MILLISECONDS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_MILLISECONDS),
            ],
        )
        self._register()
        self._server.add_generic_rpc_handlers(tuple(extra_handlers))
        self.address = ""

    def _announce(self, balance: Balance) -> None:
        self.hub.announce(balance)
        self._told(balance)

    async def start(self) -> None:
        """Raises RuntimeError if the address cannot be had."""
        host, _, _ = self._settings.listen_address.rpartition(":")
        port = self._bind()
        await self._server.start()
        self._reading = asyncio.create_task(self.hub.run())
        self.address = f"{host}:{port}"
        log.info("serving on %s", self.address)

    async def stop(self) -> None:
        """Health first says NOT_SERVING; watches end, calls under way finish, new ones are told to go elsewhere."""
        self._health.stop()
        self._gate.close()
        self.hub.close(stopping())
        cutting_off = asyncio.create_task(self._cut_off_watches())
        await self._server.stop(self._settings.shutdown_seconds)
        cutting_off.cancel()
        try:
            async with asyncio.timeout(self._settings.shutdown_seconds):
                await self._ledger.drained()
        except TimeoutError:
            log.warning("stopped while calls were still under way")
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _cut_off_watches(self) -> None:
        """A watch whose caller reads nothing cannot be told its end: once no call is under way, it has a second more.

        This call of gRPC's `stop` shortens the time that another one gave.
        """
        await self._gate.drained()
        await self._server.stop(WATCHES_STOP_SECONDS)

    def _register(self) -> None:
        allocation_service_pb2_grpc.add_AllocationServiceServicer_to_server(
            AllocationHandler(self._ledger), self._server
        )
        subscription_service_pb2_grpc.add_SubscriptionServiceServicer_to_server(
            SubscriptionHandler(self._ledger), self._server
        )
        organization_service_pb2_grpc.add_OrganizationServiceServicer_to_server(
            OrganizationHandler(self._ledger), self._server
        )
        catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogHandler(self._ledger), self._server)
        usage_service_pb2_grpc.add_UsageServiceServicer_to_server(
            UsageHandler(self._ledger, self.hub, self._settings.watch_heartbeat_seconds), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    def _bind(self) -> int:
        settings = self._settings
        if not settings.tls_certificate_file:
            return self._server.add_insecure_port(settings.listen_address)
        client_ca = Path(settings.tls_client_ca_file).read_bytes() if settings.tls_client_ca_file else None
        credentials = grpc.ssl_server_credentials(
            [(Path(settings.tls_key_file).read_bytes(), Path(settings.tls_certificate_file).read_bytes())],
            root_certificates=client_ca,
            require_client_auth=client_ca is not None,
        )
        return self._server.add_secure_port(settings.listen_address, credentials)
