"""What the ledger measures of its lanes, its transactions and its database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.ledger.committing import CommitLost, NotReplicated
from services.ledger.store.database import AWAY, Pool
from services.runtime.metrics import SECONDS


class TransactionMetrics:
    """Of any process that works on a database that was reached. Without a registry nobody reads them."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.lock_wait_seconds = Histogram(
            "earmark_lock_wait_seconds",
            "Of one statement that locks an organization's row, granted or not.",
            buckets=SECONDS,
            registry=registry,
        )
        self._commit_seconds = Histogram(
            "earmark_commit_seconds", "Of one commit, whatever became of it.", buckets=SECONDS, registry=registry
        )
        self._commits_lost = Counter(
            "earmark_commits_lost_total", "Connections that were lost during a commit.", registry=registry
        )
        self._commits_not_replicated = Counter(
            "earmark_commits_not_replicated_total",
            "Commits whose synchronous standby was no longer waited for.",
            registry=registry,
        )
        self.settled_organizations = Counter(
            "earmark_settled_organizations_total", "Times that what was due was applied.", registry=registry
        )
        self.settled_entries = Counter(
            "earmark_settled_entries_total", "Ledger entries that time alone brought about.", registry=registry
        )
        self.together_organizations = Histogram(
            "earmark_together_organizations",
            "Organizations written in one statement, where they are decided before they are locked.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.together_left = Counter(
            "earmark_together_left_total",
            "Organizations that were to be written so, and were left to a transaction of their own.",
            registry=registry,
        )
        self._database_up = Gauge(
            "earmark_database_up", "1 if the database answered when it was last asked, else 0.", registry=registry
        )
        self._database_failures = Counter(
            "earmark_database_failures_total",
            "Transactions and reads that failed because it was away or too slow.",
            registry=registry,
        )
        self._connections = Gauge("earmark_database_connections", "Connections that are open.", registry=registry)
        self._connections_idle = Gauge(
            "earmark_database_connections_idle", "Open connections that nobody uses.", registry=registry
        )
        self._connections_max = Gauge(
            "earmark_database_connections_max", "The most that this process opens.", registry=registry
        )
        self._database_up.set(1)

    def count_connections(self, pool: Pool) -> None:
        """The pool is asked at each scrape, from another thread."""
        self._connections.set_function(pool.get_size)
        self._connections_idle.set_function(pool.get_idle_size)
        self._connections_max.set_function(pool.get_max_size)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around whatever needs the database."""
        try:
            yield
        except AWAY:
            self._failed()
            raise
        self._database_up.set(1)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Around one commit."""
        try:
            with self._commit_seconds.time():
                yield
        except CommitLost:
            self._commits_lost.inc()
            self._failed()
            raise
        except NotReplicated:
            self._commits_not_replicated.inc()
            raise

    def _failed(self) -> None:
        self._database_up.set(0)
        self._database_failures.inc()


class LedgerMetrics:
    """Of the lanes, and of the transactions below them."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.transactions = TransactionMetrics(registry)
        self.wait_seconds = Histogram(
            "earmark_lane_wait_seconds",
            "From a call's arrival in its lane until its transaction has the lock.",
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_calls = Histogram(
            "earmark_batch_calls",
            "Calls in one transaction.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            registry=registry,
        )
        self.commits_unconfirmed = Gauge(
            "earmark_commits_unconfirmed", "Lost commits that are being looked up.", registry=registry
        )
        self._waiting = Gauge("earmark_lane_calls", "Calls in all lanes, waiting or under way.", registry=registry)
        self._deepest = Gauge(
            "earmark_lane_calls_deepest", "Calls that wait in the lane with the most.", registry=registry
        )

    def count_lanes(self, waiting: Callable[[], int], deepest: Callable[[], int]) -> None:
        """The functions are asked at each scrape, from another thread."""
        self._waiting.set_function(waiting)
        self._deepest.set_function(deepest)
