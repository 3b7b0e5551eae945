"""The expiry worker process: `earmark-expiry`."""

import asyncio
import logging
import sys
from datetime import timedelta

from services.expiry.sweep import Sweeper
from services.ledger.starting import CannotStart, open_pool
from services.ledger.transaction import Away, Busy
from services.runtime.process import run
from services.runtime.settings import Settings

NAME = "earmark-expiry"

log = logging.getLogger(__name__)


async def work(settings: Settings, stop: asyncio.Event) -> None:
    try:
        pool = await open_pool(settings.database_url, name=NAME, size=settings.expiry_connections)
    except CannotStart as error:
        sys.exit(f"{NAME}: {error}")
    async with pool:
        sweeper = Sweeper(
            pool,
            request_id_lifetime=timedelta(hours=settings.request_id_hours),
            connections=settings.expiry_connections,
        )
        log.info("sweeping every %s s", settings.expiry_interval_seconds)
        await _sweep_until(stop, sweeper, settings.expiry_interval_seconds)


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
