"""Health: SERVING while the process serves, NOT_SERVING once it stops."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthServicer

Context = aio.ServicerContext[Any, Any]


class Health(HealthServicer):
    """As in grpc.health.v1, but that a watch ends with the process: one that never ends would keep it from stopping."""

    def __init__(self, services: Collection[str]) -> None:
        self._services = frozenset(services)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """From now on NOT_SERVING; every watch is told so and ends."""
        self._stopping.set()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return self._answer(request.service)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        yield self._answer(request.service)
        await self._stopping.wait()
        yield self._answer(request.service)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "this process is stopping")

    def _answer(self, service: str) -> health_pb2.HealthCheckResponse:
        if service not in self._services:
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        if self._stopping.is_set():
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
