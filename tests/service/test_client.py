"""The Python client and the command line against a real allocator."""

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

import earmark
from earmark import Adjust, Disable, EarmarkError, Enable
from earmark.messages import MessageClient, price
from earmark.v1.resources_pb2 import Allocation, Subscription
from services.allocator.server import AllocatorServer

SCRIPT = str(Path(sys.executable).with_name("earmark"))


@dataclass(frozen=True)
class Run:
    """How a run of the command line ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def answers(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]


Command = Callable[..., Awaitable[Run]]


@pytest.fixture
def command(allocator: AllocatorServer) -> Command:
    """Runs `earmark` as a program of its own; a word of the line is a word of the shell."""

    async def run(line: str, text: str = "") -> Run:
        process = await asyncio.create_subprocess_exec(
            *(SCRIPT, "--address", allocator.address, *line.split()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate(text.encode())
        assert process.returncode is not None
        return Run(process.returncode, stdout.decode(), stderr.decode())

    return run


@pytest.fixture
async def catalogue(client: MessageClient) -> None:
    for offering, credits_per_block in (("endpoint-sensor", "20"), ("data", "0.05")):
        await client.create_offering(offering, price=price(credits_per_block), unit="unit")


async def ok(run: Awaitable[Run]) -> Run:
    ended = await run
    assert ended.exit_code == 0, ended.stderr
    return ended


async def test_a_year_told_by_the_command_line(
    command: Command, catalogue: None, advance: Callable[[timedelta], Awaitable[None]]
) -> None:
    await ok(command("organization create o-1 --display-name First"))
    bought = await ok(command("buy o-1 10,000 --for 365d --grace 30d --id s-1"))
    assert "ACTIVE" in bought.stdout
    assert "ends in 365 days" in bought.stdout
    enabled = await ok(command("enable o-1 endpoint-sensor 400"))
    assert "allocated 8,000  available 2,000" in enabled.stdout

    refused = await command("enable o-1 endpoint-sensor 1,000")
    assert refused.exit_code == 3
    assert refused.stdout == ""
    assert "INSUFFICIENT_CREDITS" in refused.stderr
    assert re.search(r"shortfall +10,000", refused.stderr)
    would = await command("subscription cancel o-1 s-1")
    assert would.exit_code == 3
    assert "WOULD_SUSPEND" in would.stderr

    await advance(timedelta(days=370))
    assert "grace ends in" in (await ok(command("subscription list o-1"))).stdout
    await advance(timedelta(days=30))
    assert "SUSPENDED" in (await ok(command("allocation list o-1"))).stdout
    resumed = await ok(command("buy o-1 8000 --for 365d --renews s-1"))
    assert "resumed 1  endpoint-sensor" in resumed.stdout
    assert "allocated 8,000  available 0" in resumed.stdout


async def test_scripts_read_json_and_exit_codes(command: Command, catalogue: None) -> None:
    created = await ok(command("--json organization create o-1 --overdraft 100"))
    assert created.answers[0]["organization"]["overdraftLimit"] == "100"
    assert (await command("organization create o-1")).exit_code == 3
    assert (await command("organization show o-2")).exit_code == 4
    assert (await command("organization show -- _")).exit_code == 5
    assert (await command("enable o-1 data 0")).exit_code == 5
    assert (await command("enable o-1 data few")).exit_code == 2

    tried = await ok(command("--json enable o-1 data 2000 --validate-only"))
    assert tried.answers[0]["balance"]["allocatedCredits"] == "100"
    assert (await ok(command("--json allocation list o-1"))).answers == []
    assert (await command("allocation adjust o-1 data +1")).exit_code == 4


async def test_a_repeated_adjustment_adds_once(command: Command, catalogue: None) -> None:
    await ok(command("organization create o-1 --overdraft-unlimited"))
    await ok(command("enable o-1 data 10"))
    first = await ok(command("--json allocation adjust o-1 data +5 --request-id r-1"))
    again = await ok(command("--json allocation adjust o-1 data +5 --request-id r-1"))
    assert first.answers[0]["allocation"]["units"] == "15"
    assert again.answers[0]["allocation"]["units"] == "15"
    other = await command("--json allocation adjust o-1 data +6 --request-id r-1")
    assert other.exit_code == 3
    assert json.loads(other.stderr)["reason"] == "REQUEST_ID_REUSED"


async def test_operations_from_a_table(command: Command, catalogue: None) -> None:
    await ok(command("organization create o-1 --overdraft 1000"))
    table = (
        "operation,allocation,offering,units,delta_units,labels\n"
        "enable,,data,100,,site=north\n"
        "adjust,never,,,1,\n"
        "enable,data~2,data,200,,\n"
    )
    refused = await command("allocation apply o-1", table)
    assert refused.exit_code == 4
    assert (await ok(command("allocation list o-1"))).stdout == "No allocations.\n"
    partly = await command("allocation apply o-1 --partial --request-id r-1", table)
    assert partly.exit_code == 4
    assert "ALLOCATION_NOT_FOUND" in partly.stdout
    listed = await ok(command("--json allocation list o-1"))
    assert [(one["name"][-6:], one["units"]) for one in listed.answers] == [("s/data", "100"), ("data~2", "200")]
    labelled = await ok(command("--json allocation list --label site=north"))
    assert len(labelled.answers) == 1


async def test_the_catalogue_by_command_line(command: Command) -> None:
    await ok(command("offering create data --price 0.05 --unit GB"))
    repriced = await ok(command("--json offering update data --price 7 --block-units 10 --from +30d"))
    assert [price["creditsPerBlock"] for price in repriced.answers[0]["prices"]] == ["0.05", "7"]
    assert repriced.answers[0]["price"]["version"] == 1
    shown = await ok(command("offering show data"))
    assert "1 (in force)" in shown.stdout
    assert "10 GB" in shown.stdout
    await ok(command("offering update data --retire"))
    assert "retired" in (await ok(command("offering list"))).stdout


async def test_every_method_of_the_client(client: MessageClient, catalogue: None) -> None:
    end = datetime.now(UTC) + timedelta(days=365)
    created = await client.create_organization("o-1", display_name="First")
    await client.update_organization("o-1", overdraft_limit=50, etag=created.organization.etag)
    bought = await client.create_subscription("o-1", credits=100, end_time=end, grace_period=timedelta(0))
    changed = await client.update_subscription("o-1", bought.subscription.name, credits=120)
    assert changed.balance.valid_credits == 120
    assert (await client.get_subscription("o-1", bought.subscription.name)).credits == 120

    enabled = await client.enable_allocation("o-1", offering="data", units=2000, labels={"a": "1"})
    assert (enabled.allocation.credits, enabled.balance.available_credits) == (100, 20)
    adjusted = await client.adjust_allocation("o-1", "data", delta_units=-1000)
    assert adjusted.allocation.credits == 50
    updated = await client.update_allocation("o-1", "data", priority=7, labels={})
    assert (updated.allocation.priority, dict(updated.allocation.labels)) == (7, {})
    applied = await client.apply_operations(
        "o-1",
        [
            Disable(allocation="data"),
            Enable(offering="endpoint-sensor", units=1),
            Adjust(allocation="endpoint-sensor", delta_units=1),
        ],
    )
    assert applied.balance.allocated_credits == 40
    assert (await client.get_allocation("o-1", "data")).state == Allocation.DISABLED
    await client.disable_allocation("o-1", "endpoint-sensor")
    cancelled = await client.cancel_subscription("o-1", bought.subscription.name)
    assert cancelled.subscription.state == Subscription.CANCELLED
    assert (await client.get_organization("organizations/o-1")).balance.valid_credits == 0
    assert (await client.update_offering("data", retired=True)).retired
    assert (await client.get_offering("data")).retired


async def test_lists_follow_their_pages(client: MessageClient, catalogue: None) -> None:
    for number in range(3):
        await client.create_organization(f"o-{number}", overdraft_unlimited=True)
        await client.enable_allocation(f"o-{number}", offering="data", units=1)
        await client.create_subscription(f"o-{number}", credits=1, end_time=datetime.now(UTC) + timedelta(days=1))
    ids = [earmark.names.id_of(one.name) async for one in client.list_organizations(page_size=2)]
    assert ids == ["o-0", "o-1", "o-2"]
    assert len([one async for one in client.list_allocations(page_size=1, offering="data")]) == 3
    assert len([one async for one in client.list_subscriptions(page_size=2)]) == 3
    assert [one async for one in client.list_allocations("o-1", state=Allocation.SUSPENDED)] == []
    assert [earmark.names.id_of(one.name) async for one in client.list_offerings(page_size=1)] == [
        "data",
        "endpoint-sensor",
    ]


async def test_an_error_says_why(client: MessageClient, catalogue: None) -> None:
    await client.create_organization("o-1")
    with pytest.raises(EarmarkError) as refused:
        await client.enable_allocation("o-1", offering="endpoint-sensor", units=3)
    error = refused.value
    assert (error.reason, error.code) == ("INSUFFICIENT_CREDITS", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert (error.metadata["required"], error.metadata["shortfall"]) == ("60", "60")
    assert error.request_id

    with pytest.raises(EarmarkError) as stale:
        await client.update_organization("o-1", display_name="x", etag="stale")
    assert (stale.value.reason, stale.value.code) == ("ETAG_MISMATCH", grpc.StatusCode.ABORTED)
