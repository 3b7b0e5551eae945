"""The process that is measured: an allocator that has, behind the same gate, what it is to be compared with.

With `--batch-calls-max` it is another one, whose commits can be slowed down from outside: then the lane is the limit,
and not gRPC.
"""

import argparse
import asyncio
import json
import sys
from collections import deque
from contextlib import ExitStack
from functools import partial
from time import monotonic
from typing import Any, Final
from unittest.mock import patch

import asyncpg
import grpc

from bench.jobs import COMMITS, NAIVE_ENABLE, NOOP, SLOW_DOWN
from bench.naive import Naive, naive_pool
from earmark.v1 import allocation_service_pb2 as pb
from services.allocator.calling import Context
from services.allocator.server import AllocatorServer
from services.ledger import lane, transaction
from services.ledger.committing import commit
from services.ledger.rules.answers import Balance
from services.ledger.starting import CannotStart, open_pool
from services.ledger.store.database import Connection
from services.notices.listener import Listener
from services.notices.publisher import Publisher
from services.runtime.monitoring import Monitoring
from services.runtime.process import run
from services.runtime.settings import Settings

NAME: Final = "bench-server"
COMMITS_KEPT: Final = 100_000


class Bench(grpc.GenericRpcHandler):
    """The methods of the bench's own."""

    def __init__(self, naive: Naive) -> None:
        self._naive = naive
        self._commits: deque[tuple[str, int, float]] = deque(maxlen=COMMITS_KEPT)
        self._delay_seconds = 0.0
        self._handlers = {
            NOOP: grpc.unary_unary_rpc_method_handler(self.noop),
            NAIVE_ENABLE: grpc.unary_unary_rpc_method_handler(
                self.naive_enable,
                request_deserializer=pb.EnableAllocationRequest.FromString,
                response_serializer=pb.EnableAllocationResponse.SerializeToString,
            ),
            COMMITS: grpc.unary_unary_rpc_method_handler(self.commits),
            SLOW_DOWN: grpc.unary_unary_rpc_method_handler(self.slow_down),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        return self._handlers.get(handler_call_details.method)

    async def noop(self, _: bytes, context: Context) -> bytes:
        return b""

    async def naive_enable(self, request: pb.EnableAllocationRequest, context: Context) -> pb.EnableAllocationResponse:
        return await self._naive.enable(request)

    async def commits(self, organization: bytes, context: Context) -> bytes:
        """The last commits of an organization: [revision, when it was known in the machine's monotonic time]."""
        named = organization.decode()
        return json.dumps([[revision, at] for each, revision, at in self._commits if each == named]).encode()

    async def slow_down(self, seconds: bytes, context: Context) -> bytes:
        """From now on each commit takes so much longer."""
        self._delay_seconds = float(seconds)
        return b""

    def note(self, balance: Balance) -> None:
        """To be told of each commit at once."""
        self._commits.append((balance.organization, balance.revision, monotonic()))

    async def slow_commit(self, connection: Connection, under_way: "asyncpg.transaction.Transaction") -> None:
        await asyncio.sleep(self._delay_seconds)
        await commit(connection, under_way)


async def serve(batch_calls_max: int, settings: Settings, stop: asyncio.Event, monitoring: Monitoring) -> None:
    try:
        pool = await open_pool(settings.database_url, name=NAME, size=settings.database_connections)
    except CannotStart as error:
        sys.exit(f"{NAME}: {error}")
    async with (
        pool,
        await naive_pool(settings.database_url) as own_pool,
        Publisher(settings.redis_url, settings.notice_prefix) as publisher,
    ):
        bench = Bench(Naive(own_pool))

        def announce(balance: Balance) -> None:
            bench.note(balance)
            publisher.publish(balance)

        server = AllocatorServer(settings, pool, monitoring.registry, announce, extra_handlers=[bench])
        await server.start()
        listener = Listener(settings.redis_url, settings.notice_prefix, server.hub.hear)
        with ExitStack() as patched:
            if batch_calls_max:
                patched.enter_context(patch.object(lane, "BATCH_CALLS_MAX", batch_calls_max))
                patched.enter_context(patch.object(transaction, "commit", bench.slow_commit))
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(listener.run())
                print(f"serving on {server.address}", flush=True)
                await stop.wait()
                await server.stop()
                listening.cancel()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-calls-max", type=int, default=0)
    run(NAME, partial(serve, parser.parse_args().batch_calls_max))


if __name__ == "__main__":
    main()
