"""How a process lives: its log, its start and its end."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

import uvloop

from services.runtime.monitoring import CannotListen, Monitoring, monitored
from services.runtime.settings import BadSettings, Settings

COLLECT_AFTER: Final = (50_000, 50, 100)
"""Allocations, and collections of the generation before, until the next one; Python's own are 700, 10 and 10."""

Main: TypeAlias = Callable[[Settings, asyncio.Event, Monitoring], Coroutine[Any, Any, None]]


def run(name: str, main: Main) -> None:
    """Runs `main` until it returns; its event is set on SIGTERM or SIGINT. Ends the process on bad settings.

    Metrics and probes are served from before `main` until after it.
    """
    settings = read_settings(name)
    # What is there by now stays, and what calls leave behind holds no cycles: there is little to look for.
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    uvloop.run(_with_monitoring(name, main, settings))


def read_settings(name: str) -> Settings:
    """Of a process of that name, whose log is set up. Ends the process where they are bad."""
    try:
        settings = Settings.from_environment(os.environ)
    except BadSettings as error:
        sys.exit(f"{name}: {error}")
    logging.basicConfig(
        level=settings.log_level, stream=sys.stderr, format=f"%(asctime)s {name} %(levelname)s %(name)s: %(message)s"
    )
    return settings


def stop_on_signals() -> asyncio.Event:
    """Set on SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    return stop


async def _with_monitoring(name: str, main: Main, settings: Settings) -> None:
    stop = stop_on_signals()
    try:
        async with monitored(settings.metrics_address, stop) as monitoring:
            await main(settings, stop, monitoring)
    except CannotListen as error:
        sys.exit(f"{name}: {error}")
