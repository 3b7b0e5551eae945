"""pytest fixtures: in the topmost conftest.py, `pytest_plugins = ["earmark.testing.plugin"]`; then

    def test_something(earmark_server):
        with earmark.sync.Client(earmark_server.address) as client:
            ...
            earmark_server.advance(timedelta(days=365))

Tests with an event loop use it in the same way. With pytest-xdist each worker process has a server of its own.
"""

from collections.abc import Iterator

import pytest

from earmark.testing.server import Server


@pytest.fixture(scope="session")
def earmark_catalog() -> str:
    """Offerings that each test finds: none. Override it to return a CSV file's path, or "sample"."""
    return ""


@pytest.fixture(scope="session")
def earmark_session_server(earmark_catalog: str) -> Iterator[Server]:
    """The server of all tests of this process, started by the first that asks. It holds what the last test left."""
    with Server(catalog=earmark_catalog) as server:
        yield server


@pytest.fixture
def earmark_server(earmark_session_server: Server) -> Server:
    """A real Earmark, empty, whose clock shows the present until the test moves it."""
    earmark_session_server.reset()
    return earmark_session_server
