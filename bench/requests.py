"""The requests of each kind of call, as bytes, made before anything is measured."""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, count, repeat
from typing import Final

from google.protobuf.message import Message
from google.type.interval_pb2 import Interval

from bench.jobs import NAIVE_ENABLE, NOOP, Load
from earmark.v1 import allocation_service_pb2 as allocating
from earmark.v1 import usage_service_pb2 as usage

OFFERING: Final = "offerings/crem-core"
HISTORY_DAYS: Final = 365
CALLS_PER_SECOND_MAX: Final = 15_000
"""Of one worker; beyond that it makes them as it goes."""
BATCHES_PER_SECOND_MAX: Final = 150

ALLOCATIONS: Final = "/earmark.v1.AllocationService"
USAGE: Final = "/earmark.v1.UsageService"

METHODS: Final = {
    "noop": NOOP,
    "naive": NAIVE_ENABLE,
    "enable": f"{ALLOCATIONS}/EnableAllocation",
    "replay": f"{ALLOCATIONS}/EnableAllocation",
    "batch": f"{ALLOCATIONS}/ApplyOperations",
    "check": f"{ALLOCATIONS}/CheckEntitlement",
    "usage": f"{USAGE}/GetUsage",
    "history": f"{USAGE}/QueryUsageHistory",
    "history_hours": f"{USAGE}/QueryUsageHistory",
}


def requests(job: Load) -> Iterator[bytes]:
    """Without an end. Of those that differ, as many as one worker can send are made here and now."""
    name = f"organizations/{job.organization}"
    match job.call:
        case "noop":
            return repeat(b"")
        case "enable" | "naive":
            return _each(job, _enable, CALLS_PER_SECOND_MAX)
        case "batch":
            return _each(job, _batch, BATCHES_PER_SECOND_MAX)
        case "replay":
            return repeat(_enable(job, 0))
        case "check":
            return _always(allocating.CheckEntitlementRequest(parent=name, offering=OFFERING))
        case "usage":
            return _always(usage.GetUsageRequest(name=name))
        case "history":
            return _always(_history(name, usage.QueryUsageHistoryRequest.DAY))
        case "history_hours":
            return _always(_history(name, usage.QueryUsageHistoryRequest.HOUR))
    raise ValueError(job.call)


def _always(message: Message) -> Iterator[bytes]:
    return repeat(message.SerializeToString())


def _each(job: Load, make: Callable[[Load, int], bytes], per_second: int) -> Iterator[bytes]:
    enough = math.ceil((job.warm_up_seconds + job.seconds) * (job.rate or per_second)) + job.in_flight
    return chain([make(job, number) for number in range(enough)], (make(job, number) for number in count(enough)))


def _enable(job: Load, number: int) -> bytes:
    """Another allocation and another request id each time, the organizations by turns."""
    which = str((job.first + number) % job.organizations) if job.organizations > 1 else ""
    return allocating.EnableAllocationRequest(
        parent=f"organizations/{job.organization}{which}",
        allocation_id=f"{job.salt}-{number}",
        offering=OFFERING,
        units=1,
        request_id=f"{job.salt}-{number}",
    ).SerializeToString()


def _batch(job: Load, number: int) -> bytes:
    operations = [
        allocating.Operation(
            enable=allocating.EnableOperation(allocation_id=f"{job.salt}-{number}-{each}", offering=OFFERING, units=1)
        )
        for each in range(job.operations)
    ]
    return allocating.ApplyOperationsRequest(
        parent=f"organizations/{job.organization}", operations=operations, request_id=f"{job.salt}-{number}"
    ).SerializeToString()


def _history(name: str, step: "usage.QueryUsageHistoryRequest.Step.ValueType") -> Message:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    request = usage.QueryUsageHistoryRequest(name=name, step=step, interval=Interval())
    request.interval.end_time.FromDatetime(today + timedelta(days=1))
    request.interval.start_time.FromDatetime(today + timedelta(days=1 - HISTORY_DAYS))
    return request
