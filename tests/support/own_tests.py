"""The tests of somebody else's service, with the fixtures of `earmark.testing.plugin`, in a pytest of their own."""

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = """
pytest_plugins = ["earmark.testing.plugin"]
"""

PYTEST_INI = """
[pytest]
filterwarnings = error
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""

EMPTY_EACH_TIME = """
import datetime, earmark, earmark.sync

def test_without_a_loop(earmark_server):
    with earmark.sync.Client(earmark_server.address) as client:
        assert list(client.list_offerings()) == []
        client.create_organization("o-1")
    earmark_server.advance(datetime.timedelta(days=500))

async def test_with_a_loop(earmark_server):
    async with earmark.Client(earmark_server.address) as client:
        created = await client.create_organization("o-1")
        assert created.balance.as_of - datetime.datetime.now(datetime.UTC) < datetime.timedelta(days=1)
"""

WITH_A_CATALOGUE = """
import pytest

@pytest.fixture(scope="session")
def earmark_catalog():
    return "sample"

@pytest.mark.parametrize("time", [1, 2])
async def test_offerings(earmark_server, time):
    import earmark
    async with earmark.Client(earmark_server.address) as client:
        assert len([each async for each in client.list_offerings()]) == 42
"""

INTERRUPTED = """
import os, signal, pytest

@pytest.fixture
def last_words(earmark_server):
    yield
    print("ended at", earmark_server.now())

def test_interrupted(last_words):
    os.killpg(0, signal.SIGINT)  # As Ctrl-C in a terminal is for all that run there.
    signal.pause()
"""


def run_pytest(folder: Path, tests: str) -> "subprocess.CompletedProcess[str]":
    (folder / "pytest.ini").write_text(PYTEST_INI)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_own.py").write_text(tests)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", folder],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        start_new_session=True,
    )
