"""docs/operations.md, Metrics: what it lists is what the processes say of themselves, no more and no less."""

import asyncio

import grpc
from prometheus_client.parser import text_string_to_metric_families

from earmark.messages import MessageClient
from earmark.v1.usage_service_pb2 import WatchUsageRequest
from earmark.v1.usage_service_pb2_grpc import UsageServiceStub
from tests.contract.page import code, doc
from tests.support.monitored import Monitored, monitored_process, serving_at, until
from tests.support.processes import ALLOCATOR, EXPIRY

PATHS, METRICS = doc("operations.md")["Metrics"].tables
ROWS = {code(row["metric"])[0]: row for row in METRICS}
NO_REDIS = "redis://127.0.0.1:1/0"

Described = dict[str, tuple[str, set[str]]]
"""By name: the type and the labels."""


def said(process: Monitored) -> Described:
    """Of ours; those without labels are there from the start, the others once something has happened."""
    status, text = process.get("/metrics")
    assert status == 200
    found: Described = {}
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert family.documentation, name
        assert family.samples, f"{name}: nothing has happened yet that would show its labels"
        found[name] = (family.type, labels)
    return {name: each for name, each in found.items() if name.startswith("earmark_")}


def listed(process: str) -> Described:
    return {
        name: (row["type"], set(code(row["labels"]))) for name, row in ROWS.items() if row["of"] in (process, "both")
    }


async def test_those_of_the_allocator(database: str) -> None:
    with monitored_process(ALLOCATOR, database_url=database, redis_url=NO_REDIS) as process:
        address = await asyncio.to_thread(serving_at, process)
        async with MessageClient(address) as client, grpc.aio.insecure_channel(address) as channel:
            await client.create_organization("o-1")
            watch = UsageServiceStub(channel).WatchUsage(WatchUsageRequest(name="organizations/o-1"))
            await watch.read()
            assert await asyncio.to_thread(said, process) == listed("allocator")
            watch.cancel()


async def test_those_of_the_worker(database: str) -> None:
    with monitored_process(EXPIRY, database_url=database, redis_url=NO_REDIS) as process:
        await until(lambda: process.get("/readyz") == (200, "ready\n"))
        assert await asyncio.to_thread(said, process) == listed("worker")


def test_every_row_is_told() -> None:
    assert {row["of"] for row in METRICS} == {"allocator", "worker", "both"}
    assert all(row["meaning"] for row in METRICS)
    assert [code(row["path"]) for row in PATHS] == [["/metrics"], ["/livez"], ["/readyz"]]
