"""What publisher and listener say of themselves, as metrics."""

from prometheus_client import CollectorRegistry, Gauge

from services.notices.listener import Listener
from services.notices.publisher import Publisher
from services.runtime.metrics import Counted


def export_publisher(registry: CollectorRegistry, publisher: Publisher) -> None:
    registry.register(
        Counted("earmark_notices_published_total", "Notices that Redis took.", lambda: publisher.published)
    )
    registry.register(
        Counted(
            "earmark_notice_failures_total", "Attempts to publish that came to nothing.", lambda: publisher.failures
        )
    )
    registry.register(
        Counted("earmark_notices_dropped_total", "Notices given up because too many waited.", lambda: publisher.dropped)
    )
    waiting = Gauge("earmark_notices_waiting", "Notices that are still to be published.", registry=registry)
    waiting.set_function(lambda: publisher.waiting)


def export_listener(registry: CollectorRegistry, listener: Listener) -> None:
    connected = Gauge(
        "earmark_notice_listener_connected", "1 while Redis tells us the notices of others, else 0.", registry=registry
    )
    connected.set_function(listener.connected.is_set)
