"""What the expiry worker measures: how late it is, and what it did."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.expiry.republish import Republisher
from services.ledger.metrics import TransactionMetrics
from services.notices.metrics import export_listener
from services.runtime.metrics import Counted


class ExpiryMetrics:
    """The instruments of one worker. Without a registry nobody reads them."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.transactions = TransactionMetrics(registry)
        self.sweeps = Counter("earmark_sweeps_total", "Looks at what is due that came to an end.", registry=registry)
        self.sweep_failures = Counter(
            "earmark_sweep_failures_total",
            "Looks at what is due that failed, the database being away or by a bug.",
            registry=registry,
        )
        self.oldest_due_seconds = Gauge(
            "earmark_oldest_due_seconds",
            "How long the oldest transition that is not settled has been due; 0 if none is.",
            registry=registry,
        )
        self.resting_organizations = Gauge(
            "earmark_resting_organizations",
            "Organizations that are left alone for a while since settling them failed.",
            registry=registry,
        )
        self.request_ids_removed = Counter(
            "earmark_request_ids_removed_total", "Request ids that were past their time.", registry=registry
        )


def export_republisher(registry: CollectorRegistry, republisher: Republisher) -> None:
    export_listener(registry, republisher.listener)
    registry.register(
        Counted(
            "earmark_notices_republished_total",
            "Notices that were not heard from anybody else.",
            lambda: republisher.republished,
        )
    )
