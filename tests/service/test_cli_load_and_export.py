"""`earmark offerings load` and `earmark export` against a real allocator."""

import asyncio
import csv
import json
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta
from io import StringIO
from pathlib import Path

import pytest

from earmark.messages import MessageClient, price
from services.admin.catalog_file import SAMPLE_CATALOG
from services.allocator.server import AllocatorServer
from tests.conftest import Advance
from tests.support.service_stories import buy, everything

SCRIPT = str(Path(sys.executable).with_name("earmark"))

Command = Callable[..., Awaitable[bytes]]


@pytest.fixture
def earmark(allocator: AllocatorServer) -> Command:
    """Runs `earmark` as a program of its own, which must succeed; what it wrote."""

    async def run(*words: str, text: str = "", exit_code: int = 0) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *(SCRIPT, "--address", allocator.address, *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate(text.encode())
        assert process.returncode == exit_code, stderr.decode()
        return stderr if exit_code else stdout

    return run


def last_line(output: bytes) -> str:
    return output.decode().splitlines()[-1]


# Loading.


async def test_a_catalogue_is_loaded_again_and_again(earmark: Command, client: MessageClient, tmp_path: Path) -> None:
    file = tmp_path / "offerings.csv"
    text = SAMPLE_CATALOG.read_text()
    file.write_text(text)
    assert last_line(await earmark("offerings", "load", str(file))) == "created 42, updated 0, unchanged 0"
    assert last_line(await earmark("offerings", "load", str(file))) == "created 0, updated 0, unchanged 42"

    changed = text.replace(",deployment,20,1,", ",device,21,1,")
    assert changed.count(",device,21,1,") == 1
    file.write_text(changed.replace("mobile-sensor,", "mobile-sensor-2,"))
    would = (await earmark("offering", "load", str(file), "--validate-only")).decode()
    assert would.startswith("Nothing was changed; this is what would be:\n")
    assert "updated  endpoint-sensor  21 credits per device (was 20 credits per deployment)  unit 'device'" in would
    assert (await client.get_offering("endpoint-sensor")).unit == "deployment"

    told = json.loads(await earmark("--json", "offerings", "load", "-", text=file.read_text()))
    assert told == {"created": ["mobile-sensor-2"], "updated": ["endpoint-sensor"], "unchanged": 40}
    sensor = await client.get_offering("endpoint-sensor")
    assert [each.credits_per_block for each in sensor.prices] == ["20", "21"]
    assert (await client.get_offering("mobile-sensor")).price.version == 1
    assert last_line(await earmark("offerings", "load", str(file))) == "created 0, updated 0, unchanged 42"


async def test_a_bad_row_keeps_all_others_out(earmark: Command, client: MessageClient) -> None:
    lines = SAMPLE_CATALOG.read_text().splitlines()
    lines[3] = lines[3].replace(",0.2,", ",0.2000001,")
    lines[9] = lines[1]
    said = (await earmark("offerings", "load", "-", text="\n".join(lines), exit_code=2)).decode()
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("Line")] == ["Line 4", "Line 10"]
    assert "that of line 2 as well" in said
    assert await everything(client.list_offerings()) == []


async def test_what_is_enabled_keeps_its_price(earmark: Command, client: MessageClient, organization: str) -> None:
    await client.create_offering("data", price=price("5"))
    await buy(client, organization, 100)
    await client.enable_allocation(organization, offering="data", units=10)
    header = "offering_id,display_name,solution,unit,credits_per_block,block_units,max_credits\n"
    await earmark("offerings", "load", "-", text=header + "data,,,,7.0,1,\n")
    held = await client.adjust_allocation(organization, "data", delta_units=1)
    assert (held.allocation.price_version, held.allocation.credits) == (1, 55)


# Exporting.


@pytest.fixture
async def a_year(client: MessageClient, sensors: None, organization: str, advance: Advance) -> str:
    """An organization to which everything has happened."""
    desk = client.using(actor="=desk")
    await desk.update_organization(organization, display_name='The "first", of course')
    await buy(desk, organization, 1000, subscription="s-1", grace=timedelta(days=10))
    await desk.enable_allocation(organization, offering="endpoint-sensor", units=45, labels={"site": "Zürich"})
    await desk.adjust_allocation(organization, "endpoint-sensor", delta_units=1)
    await desk.update_allocation(organization, "endpoint-sensor", priority=-3)
    await advance(timedelta(days=400))
    await client.get_organization(organization)
    return organization


async def test_an_export_says_what_the_ledger_says(earmark: Command, client: MessageClient, a_year: str) -> None:
    text = (await earmark("export", a_year)).decode()
    rows = list(csv.DictReader(StringIO(text, newline="")))
    entries = await everything(client.list_entries(a_year))
    assert text.count("\n") == len(entries) + 1
    kinds = {row["kind"] for row in rows}
    assert {"SUBSCRIPTION_ENDING_SOON", "THRESHOLD_CROSSED", "ALLOCATION_SUSPENDED", "SUBSCRIPTION_EXPIRED"} <= kinds
    for row, entry in zip(rows, entries, strict=True):
        assert row["revision"] == str(entry.revision)
        assert row["digest"] == entry.digest.hex()
        assert row["effective_time"].endswith("Z")
        assert row["actor"] == (f"'{entry.actor}" if entry.actor else "")
        assert row["allocated_credits"] == str(entry.balance.allocated_credits)
    [suspended] = [row for row in rows if row["kind"] == "ALLOCATION_SUSPENDED"]
    assert (suspended["resource_id"], suspended["state"], suspended["needed_credits"]) == (
        "endpoint-sensor",
        "SUSPENDED",
        "920",
    )
    assert suspended["causes"] == "organizations/o-1/subscriptions/s-1"
    assert json.loads(suspended["labels"]) == {"site": "Zürich"}


async def test_a_range_that_is_over_gives_the_same_bytes_whatever_happens_later(
    earmark: Command, client: MessageClient, a_year: str, tmp_path: Path
) -> None:
    balance = (await client.get_organization(a_year)).balance
    instant = balance.as_of.ToJsonString()
    limits = [("--through", str(balance.revision)), ("--to", instant), ("--after", "3", "--to", instant)]
    before = [await earmark("export", a_year, *limit) for limit in limits]
    assert before[0] == before[1] == await earmark("export", a_year)
    header, *rows = before[0].splitlines()
    assert before[2].splitlines() == [header, *rows[3:]]

    await buy(client, a_year, 5, since=balance.as_of.ToDatetime(UTC))
    assert [await earmark("export", a_year, *limit) for limit in limits] == before
    rest = await earmark("export", a_year, "--after", str(balance.revision))
    file = tmp_path / "ledger.csv"
    await earmark("export", a_year, "--output", str(file))
    assert file.read_bytes() == before[0] + rest.partition(b"\n")[2]


async def test_a_file_is_left_alone_where_the_export_fails(earmark: Command, tmp_path: Path) -> None:
    file = tmp_path / "ledger.csv"
    file.write_text("as it was")
    assert b"ORGANIZATION_NOT_FOUND" in await earmark("export", "nobody", "-o", str(file), exit_code=4)
    assert (os.listdir(tmp_path), file.read_text()) == (["ledger.csv"], "as it was")


async def test_whoever_has_read_enough_may_go(allocator: AllocatorServer, a_year: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(SCRIPT, "--address", allocator.address, "export", a_year),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout._transport.close()  # type: ignore[attr-defined]
    assert await process.stderr.read() == b""
    assert await process.wait() == 1
