"""What the allocator counts: calls by method and reason, streams, and the watchers behind them."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.runtime.metrics import SECONDS

OK: Final = "OK"


class AllocatorMetrics:
    """The instruments of one allocator. Without a registry nobody reads them."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._calls = Counter(
            "earmark_calls_total", "Calls and streams that ended.", ("method", "reason"), registry=registry
        )
        self._seconds = Histogram(
            "earmark_call_seconds", "From a call's start to its end.", ("method",), buckets=SECONDS, registry=registry
        )
        self._in_flight = Gauge("earmark_calls_in_flight", "Calls under way, health's too.", registry=registry)
        self._streams = Gauge("earmark_streams_open", "Streams that are open.", ("method",), registry=registry)
        self._watchers = Gauge("earmark_watchers", "Watches that are served.", registry=registry)
        self._lag = Gauge("earmark_watch_lag_revisions", "How far the slowest watch is behind.", registry=registry)

    def of(self, method: str) -> "MethodMetrics":
        """To be asked once per method, not per call; only for methods that exist."""
        name = method.removeprefix("/")
        return MethodMetrics(self._calls, self._seconds.labels(name), self._streams, name)

    def count_calls(self, in_flight: Callable[[], int]) -> None:
        """The function is asked at each scrape, from another thread."""
        self._in_flight.set_function(in_flight)

    def watch(self, watchers: Callable[[], int], lag: Callable[[], int]) -> None:
        """How many watches there are, and how many revisions the slowest is behind.

        The functions are asked at each scrape, from another thread.
        """
        self._watchers.set_function(watchers)
        self._lag.set_function(lag)


class MethodMetrics:
    """Those of one method, with their labels looked up once."""

    def __init__(self, calls: Counter, seconds: Histogram, streams: Gauge, method: str) -> None:
        self._calls = calls
        self._seconds = seconds
        self._streams = streams
        self._method = method
        self._by_reason: dict[str, Counter] = {}

    def call_ended(self, reason: str, seconds: float) -> None:
        self._count(reason)
        self._seconds.observe(seconds)

    def stream_began(self) -> None:
        self._streams.labels(self._method).inc()

    def stream_ended(self, reason: str) -> None:
        """A stream's length says nothing, so it is not among the seconds."""
        self._streams.labels(self._method).dec()
        self._count(reason)

    def _count(self, reason: str) -> None:
        counter = self._by_reason.get(reason)
        if counter is None:
            counter = self._by_reason[reason] = self._calls.labels(self._method, reason)
        counter.inc()
