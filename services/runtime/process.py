"""How a process lives: its log, its start and its end."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from services.runtime.settings import BadSettings, Settings


def run(name: str, main: Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Runs `main` until it returns; its event is set on SIGTERM or SIGINT. Ends the process on bad settings."""
    try:
        settings = Settings.from_environment(os.environ)
    except BadSettings as error:
        sys.exit(f"{name}: {error}")
    logging.basicConfig(
        level=settings.log_level, stream=sys.stderr, format=f"%(asctime)s {name} %(levelname)s %(name)s: %(message)s"
    )
    asyncio.run(_with_signals(main, settings))


async def _with_signals(
    main: Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]], settings: Settings
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    await main(settings, stop)
