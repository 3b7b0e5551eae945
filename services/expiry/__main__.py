"""The expiry worker process: `earmark-expiry`."""

import asyncio
import logging
import sys
from datetime import timedelta

from services.expiry.metrics import ExpiryMetrics, export_republisher
from services.expiry.republish import Republisher
from services.expiry.sweep import Sweeper
from services.ledger.starting import CannotStart, closing, open_pool
from services.ledger.transaction import Away, Busy
from services.notices.metrics import export_publisher
from services.notices.publisher import Publisher
from services.runtime.monitoring import Monitoring
from services.runtime.process import run
from services.runtime.settings import Settings

NAME = "earmark-expiry"

log = logging.getLogger(__name__)


async def work(settings: Settings, stop: asyncio.Event, monitoring: Monitoring) -> None:
    try:
        pool = await open_pool(
            settings.database_url, name=NAME, size=settings.expiry_connections + 1, durability=settings.durability
        )
    except CannotStart as error:
        sys.exit(f"{NAME}: {error}")
    url, prefix = settings.redis_url, settings.notice_prefix
    async with closing(pool), Publisher(url, prefix) as publisher:
        metrics = ExpiryMetrics(monitoring.registry)
        sweeper = Sweeper(
            pool,
            request_id_lifetime=timedelta(hours=settings.request_id_hours),
            connections=settings.expiry_connections,
            announce=publisher.publish,
            metrics=metrics,
        )
        republisher = Republisher(pool, publisher, url=url, prefix=prefix)
        metrics.transactions.count_connections(pool)
        export_publisher(monitoring.registry, publisher)
        export_republisher(monitoring.registry, republisher)
        monitoring.ready()
        log.info("sweeping every %s s", settings.expiry_interval_seconds)
        async with asyncio.TaskGroup() as group:
            republishing = group.create_task(republisher.run())
            sweeping = group.create_task(_sweep_until(stop, sweeper, settings.expiry_interval_seconds))
            await stop.wait()
            await asyncio.wait([sweeping], timeout=settings.shutdown_seconds)
            if not sweeping.done():
                log.warning("stopped while the database had not answered yet")
                pool.terminate()  # Not cancelled: a commit that waits for its standby goes on waiting by itself.
            await sweeping
            republishing.cancel()


async def _sweep_until(stop: asyncio.Event, sweeper: Sweeper, interval_seconds: float) -> None:
    while not stop.is_set():
        full = False
        try:
            full = (await sweeper.run_once()).full
        except (Busy, Away) as error:
            log.warning("the database cannot be reached: %s", error)
        except Exception:  # Whatever it is, what is due stays due and is tried again.
            log.exception("a sweep failed")
        if not full:
            try:
                async with asyncio.timeout(interval_seconds):
                    await stop.wait()
            except TimeoutError:
                continue


def main() -> None:
    run(NAME, work)


if __name__ == "__main__":
    main()
