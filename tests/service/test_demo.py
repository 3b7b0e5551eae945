"""`earmark-admin demo`: it succeeds as a whole, and fails for a single wrong figure."""

import os
import re
import subprocess
import sys
from io import StringIO
from typing import Final

import pytest
from rich.console import Console

from earmark.messages import MessageClient, price
from services.admin.catalog_file import SAMPLE_CATALOG, load_catalog
from services.admin.demo.check import Figures, Mismatch
from services.admin.demo.first_day import estimate, purchase
from services.admin.demo.page import Page
from services.admin.demo.stage import DEMO, Stage
from services.admin.demo.watcher import Watcher
from services.ledger.store.clock import read_clock
from services.ledger.store.database import Connection

LAST_LINE: Final = r"demo: ok, 21 steps, 30 ledger entries derived again, [0-9.]+ s"
EXPECTING_AN_ENTRY_LESS: Final = """
from services.admin.__main__ import main
from services.admin.demo import story
story.ENTRIES -= 1
main()
"""
NOBODY_ELSES: Final = {"EARMARK_DATABASE_URL": "postgresql://127.0.0.1:1/nobody-elses", "EARMARK_CALLS_MAX": "0"}
"""Settings with which nothing would start, if the demonstration took any notice of them."""


def test_the_story_ends_well_on_servers_of_its_own() -> None:
    told = _run("-m", "services.admin", "demo")
    assert told.returncode == 0, told.stdout + told.stderr
    assert re.fullmatch(LAST_LINE, told.stdout.splitlines()[-1])
    assert told.stderr == ""
    assert "\x1b" not in told.stdout
    assert max(len(line) for line in told.stdout.splitlines()) <= 80
    words = " ".join(told.stdout.split())
    assert "400 endpoint sensors enabled:" in words
    assert "4500 more credits are required and 1000 are available" in words


def test_a_story_that_expects_otherwise_fails() -> None:
    told = _run("-c", EXPECTING_AN_ENTRY_LESS, "demo")
    assert told.returncode == 1, told.stdout + told.stderr
    assert "demo: ok" not in told.stdout
    assert told.stderr.endswith(
        "demo: failed after step 20: the ledger entries derived again\n  expected: 29\n  came:     30\n"
    )
    assert "sweeping every" in told.stderr, "the end of the servers' logs says what they did"


@pytest.fixture
async def stage(client: MessageClient, connection: Connection) -> Stage:
    """Where an endpoint sensor costs 21 credits, and no longer 20 as in the file."""
    await load_catalog(connection, SAMPLE_CATALOG)
    await client.update_offering("endpoint-sensor", price=price(21))
    page = Page(Console(file=StringIO()))
    return Stage(page, client, client, connection, Watcher(page))


async def test_a_wrong_price_is_noticed(stage: Stage) -> None:
    with pytest.raises(Mismatch, match=r"the price of endpoint-sensor\n  expected: \('20', .*\n  came:     \('21', "):
        await estimate(stage)


async def test_a_wrong_figure_is_noticed(stage: Stage) -> None:
    await stage.first.create_organization(DEMO)
    stage.watcher.begin(stage.second, DEMO)
    stage.start = (await read_clock(stage.connection)).now
    await stage.tell("created", await stage.balance(), Figures(0, 0, 0, 0, 0), wrote=["organization created"])
    with pytest.raises(Mismatch, match=r"400 endpoint sensors\n  expected: 8,000\n  came:     8,400"):
        await purchase(stage)


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**environment, **NOBODY_ELSES},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
