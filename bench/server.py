"""The process that is measured: an allocator that has, behind the same gate, what it is to be compared with.

With `--batch-calls-max` it is another one, whose commits can be slowed down from outside: then the lane is the limit,
and not gRPC. With `--processes` it is several that share one port, as those of `earmark-allocator --processes` do.
"""

import argparse
import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import Coroutine
from contextlib import ExitStack
from functools import partial
from time import monotonic
from typing import Any, Final
from unittest.mock import patch

import asyncpg
import grpc

from bench.jobs import COMMITS, NAIVE_ENABLE, NOOP, PROCESS, SLOW_DOWN
from bench.naive import Naive, naive_pool
from earmark.v1 import allocation_service_pb2 as pb
from services.allocator.calling import Context
from services.allocator.processes import SHARE_PORT, CannotShare, leave_with_parent, serve_with
from services.allocator.server import AllocatorServer
from services.ledger import lane, together, transaction
from services.ledger.committing import commit, durably
from services.ledger.rules.answers import Balance
from services.ledger.starting import CannotStart, open_pool
from services.ledger.store.database import Connection
from services.notices.listener import Listener
from services.notices.publisher import Publisher
from services.runtime.monitoring import Monitoring
from services.runtime.process import read_settings, run, stop_on_signals
from services.runtime.settings import Settings

NAME: Final = "bench-server"
MODULE: Final = "bench.server"
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
            PROCESS: grpc.unary_unary_rpc_method_handler(self.process),
            COMMITS: grpc.unary_unary_rpc_method_handler(self.commits),
            SLOW_DOWN: grpc.unary_unary_rpc_method_handler(self.slow_down),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        return self._handlers.get(handler_call_details.method)

    async def noop(self, _: bytes, context: Context) -> bytes:
        return b""

    async def naive_enable(self, request: pb.EnableAllocationRequest, context: Context) -> pb.EnableAllocationResponse:
        return await self._naive.enable(request)

    async def process(self, _: bytes, context: Context) -> bytes:
        """Which one this is."""
        return str(os.getpid()).encode()

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

    async def slow_durably(self, connection: Connection, committing: Coroutine[Any, Any, Any]) -> object:
        await asyncio.sleep(self._delay_seconds)
        return await durably(connection, committing)


async def serve(
    batch_calls_max: int, share_port: bool, settings: Settings, stop: asyncio.Event, monitoring: Monitoring
) -> None:
    try:
        pool = await open_pool(
            settings.database_url, name=NAME, size=settings.database_connections, durability=settings.durability
        )
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

        server = AllocatorServer(
            settings, pool, monitoring.registry, announce, extra_handlers=[bench], share_port=share_port
        )
        await server.start()
        listener = Listener(settings.redis_url, settings.notice_prefix, server.hub.hear)
        with ExitStack() as patched:
            if batch_calls_max:
                patched.enter_context(patch.object(lane, "BATCH_CALLS_MAX", batch_calls_max))
                patched.enter_context(patch.object(transaction, "commit", bench.slow_commit))
                patched.enter_context(patch.object(together, "durably", bench.slow_durably))
            async with asyncio.TaskGroup() as group:
                beside: list[asyncio.Task[Any]] = [group.create_task(listener.run())]
                if share_port:
                    beside.append(group.create_task(leave_with_parent(stop)))
                print(f"serving on {server.address}", flush=True)
                await stop.wait()
                await server.stop()
                for each in beside:
                    each.cancel()


async def _serve_with(processes: int, settings: Settings) -> int:
    try:
        return await serve_with(processes, settings, stop_on_signals(), MODULE)
    except CannotShare as error:
        sys.exit(f"{NAME}: {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description="The server of `make bench`, set up by EARMARK_... variables.")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--batch-calls-max", type=int, default=0, help="and commits can be slowed down; 0: neither")
    either.add_argument("--processes", type=int, default=1, help="so many share the port")
    parser.add_argument(SHARE_PORT, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.processes == 1:
        run(NAME, partial(serve, options.batch_calls_max, options.share_port))
    else:
        sys.exit(asyncio.run(_serve_with(options.processes, read_settings(NAME))))


if __name__ == "__main__":
    main()
