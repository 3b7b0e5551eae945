"""Calls that travel together, and a server that puts some of them off: order, pauses, and what is never sent again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc import aio

from earmark import Client, errors
from earmark.v1.allocation_service_pb2 import ApplyOperationsRequest, ApplyOperationsResponse, OperationResult
from earmark.v1.resources_pb2 import Allocation, Balance

PAUSE_SECONDS = 0.3


class Server(grpc.GenericRpcHandler):
    """Answers each call by the next script, which says what becomes of each operation; then all are carried out."""

    def __init__(self) -> None:
        self.scripts: list[Callable[[str], OperationResult]] = []
        self.calls: list[tuple[float, list[str]]] = []
        self.carried_out: list[str] = []
        self.called = asyncio.Event()
        self.short_by = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if not handler_call_details.method.endswith("/ApplyOperations"):
            return None
        return grpc.unary_unary_rpc_method_handler(
            self.apply,
            request_deserializer=ApplyOperationsRequest.FromString,
            response_serializer=ApplyOperationsResponse.SerializeToString,
        )

    async def apply(self, request: ApplyOperationsRequest, context: Any) -> ApplyOperationsResponse:
        ids = [each.request_id for each in request.operations]
        self.calls.append((asyncio.get_running_loop().time(), ids))
        self.called.set()
        script = self.scripts.pop(0) if self.scripts else carried_out
        results = [script(each) for each in ids]
        self.carried_out += [each for each, result in zip(ids, results, strict=True) if not result.status.code]
        return ApplyOperationsResponse(results=results[: len(results) - self.short_by])


def carried_out(_: str) -> OperationResult:
    return OperationResult(allocation=Allocation(name="organizations/o-1/allocations/a", units=1), balance=Balance())


def put_off(*ids: str) -> Callable[[str], OperationResult]:
    """These, for a while; the others are carried out."""

    def script(request_id: str) -> OperationResult:
        if request_id not in ids:
            return carried_out(request_id)
        status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="Not now.")
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason="LOCK_TIMEOUT", domain="earmark"))
        delay = Duration(nanos=int(PAUSE_SECONDS * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return OperationResult(status=status)

    return script


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    listening = aio.server(handlers=[server])
    address = f"127.0.0.1:{listening.add_insecure_port('127.0.0.1:0')}"
    await listening.start()
    async with Client(address, coalesce=True) as client:
        yield client
    await listening.stop(0)


def enable(client: Client, request_id: str, allocation: str) -> Any:
    return client.enable("o-1", offering="sensor", units=1, allocation=allocation, request_id=request_id)


async def test_what_comes_after_one_that_is_put_off_stays_after_it(server: Server, client: Client) -> None:
    server.scripts = [put_off("first")]
    await asyncio.gather(
        enable(client, "first", "x"),
        enable(client, "other", "y"),
        client.adjust("o-1", "x", delta_units=1, request_id="second"),
        client.disable("o-1", "x", request_id="third"),
        enable(client, "another", "z"),
    )
    mine = [each for each in server.carried_out if each in ("first", "second", "third")]
    assert mine == ["first", "second", "third"]
    assert server.carried_out[:2] == ["other", "another"]


async def test_a_pause_is_kept_and_is_nobody_elses(server: Server, client: Client) -> None:
    server.scripts = [put_off("slow")]
    slow = asyncio.create_task(enable(client, "slow", "x"))
    await server.called.wait()
    await client.using(timeout_seconds=PAUSE_SECONDS / 2).enable(
        "o-1", offering="sensor", units=1, allocation="y", request_id="quick"
    )
    assert not slow.done()
    await slow
    (begun, _), (_, quick), (again, repeated) = server.calls
    assert (quick, repeated) == (["quick"], ["slow"])
    assert again - begun >= PAUSE_SECONDS


async def test_who_has_left_while_it_was_put_off_is_not_sent_again(server: Server, client: Client) -> None:
    server.scripts = [put_off("left", "stays")]
    left, stays = (asyncio.create_task(enable(client, each, each)) for each in ("left", "stays"))
    await server.called.wait()
    left.cancel()
    await stays
    assert [ids for _, ids in server.calls] == [["left", "stays"], ["stays"]]


async def test_adjustments_of_one_allocation_travel_together(server: Server, client: Client) -> None:
    await asyncio.gather(
        *(client.adjust("o-1", "counter", delta_units=1, request_id=f"r-{number}") for number in range(50))
    )
    assert len(server.calls) == 1


async def test_a_deadline_that_passed_unnoticed_is_its_callers_alone(server: Server, client: Client) -> None:
    hasty = asyncio.create_task(client.using(timeout_seconds=0.001).disable("o-1", "x", request_id="hasty"))
    patient = asyncio.create_task(enable(client, "patient", "y"))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(_block)
    with pytest.raises(errors.DeadlineExceeded):
        await hasty
    await patient


def _block() -> None:
    """The loop has no time for anybody, so no timer fires."""
    end = asyncio.get_running_loop().time() + 0.05
    while asyncio.get_running_loop().time() < end:
        pass


async def test_an_answer_that_is_none_is_an_error_for_each(server: Server, client: Client) -> None:
    server.short_by = 1
    outcomes = await asyncio.gather(*(enable(client, each, each) for each in ("a", "b")), return_exceptions=True)
    assert [type(each) for each in outcomes] == [ValueError] * 2
    server.short_by = 0
    await enable(client, "c", "c")


async def test_a_client_that_is_being_closed_takes_no_more(server: Server, client: Client) -> None:
    server.scripts = [put_off("last")]
    last = asyncio.create_task(enable(client, "last", "x"))
    await server.called.wait()
    closing = asyncio.create_task(client.__aexit__())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="not open"):
        await enable(client, "late", "y")
    await closing
    assert last.done()
    assert server.carried_out == ["last"]
