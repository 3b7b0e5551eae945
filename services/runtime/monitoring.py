"""Metrics and probes over HTTP, from a thread of their own: they answer also while the event loop does not.

/metrics for Prometheus; /livez, which fails when the event loop stands still; /readyz, which fails until the process
serves and from the moment it stops. That a database is away is in the metrics, not here: else its failover would take
every process out of service at once.
"""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from socketserver import ThreadingMixIn
from typing import Any, Final, NoReturn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, make_wsgi_app

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 1.0
STILL_SECONDS_MAX: Final = 10.0
"""An event loop that stands still for longer is taken for dead."""
REQUEST_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.1


class CannotListen(Exception):
    """The address cannot be had; the message says which."""


class Monitoring:
    """The registry that a process registers its metrics with, and how it is. Any thread may ask."""

    def __init__(self, stop: asyncio.Event, still_seconds_max: float = STILL_SECONDS_MAX) -> None:
        self.registry = CollectorRegistry()
        self._stop = stop
        self._still_seconds_max = still_seconds_max
        self._serves = False
        self._ticked_at = time.monotonic()

    def ready(self) -> None:
        """To be called once: the process has reached what it needs, and serves."""
        self._serves = True

    @property
    def is_ready(self) -> bool:
        """Whatever becomes of the database later; False again once the process stops."""
        return self._serves and not self._stop.is_set()

    @property
    def is_alive(self) -> bool:
        """Whether the event loop has turned of late."""
        return time.monotonic() - self._ticked_at <= self._still_seconds_max

    async def tick(self) -> NoReturn:
        """For ever."""
        while True:
            self._ticked_at = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)


@asynccontextmanager
async def monitored(address: str, stop: asyncio.Event) -> AsyncIterator[Monitoring]:
    """Serves metrics and probes at the address while the block runs, or nowhere if it is empty. Raises CannotListen."""
    monitoring = Monitoring(stop)
    # When each counter was made would double the page, and nobody asks. The library has no types for this one.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    ProcessCollector(registry=monitoring.registry)
    async with AsyncExitStack() as stack:
        if address:
            server = await stack.enter_async_context(http_server(address, monitoring))
            log.info("metrics and probes at http://%s:%s", *server.server_address[:2])
        ticking = asyncio.create_task(monitoring.tick())
        stack.callback(ticking.cancel)
        yield monitoring


@asynccontextmanager
async def http_server(address: str, monitoring: Monitoring) -> AsyncIterator[WSGIServer]:
    """Serves while the block runs. Raises CannotListen."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        server = _Server(*found[0][::4])
    except OSError as error:
        raise CannotListen(f"cannot serve metrics on {address}: {error.strerror}") from error
    server.set_app(_application(monitoring))
    thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), name="metrics", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS
    """Of a client that says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """A line for each scrape would bury the others."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, family: int, address: Any) -> None:
        self.address_family = family
        super().__init__(address[:2], _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("answering %s failed", client_address, exc_info=True)


def _application(monitoring: Monitoring) -> WSGIApplication:
    metrics: WSGIApplication = make_wsgi_app(monitoring.registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        match environ["PATH_INFO"]:
            case "/metrics":
                return metrics(environ, start_response)
            case "/livez":
                return _say(start_response, monitoring.is_alive, "alive", "the event loop stands still")
            case "/readyz":
                return _say(start_response, monitoring.is_ready, "ready", "not serving yet, or stopping")
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"here are /metrics, /livez and /readyz\n"]

    return answer


def _say(start_response: StartResponse, is_so: bool, yes: str, no: str) -> list[bytes]:
    start_response("200 OK" if is_so else "503 Service Unavailable", [("Content-Type", "text/plain")])
    return [f"{yes if is_so else no}\n".encode()]
