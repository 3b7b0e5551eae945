"""`python -m tests.chaos.load '<JSON of a Plan>'`."""

import asyncio
import sys
import threading
from typing import Final

import uvloop

from tests.chaos.load.crew import work
from tests.chaos.load.plan import Plan
from tests.chaos.load.recording import Recorder

DRAIN: Final = b"drain"


def main() -> None:
    plan = Plan.read(sys.argv[1])
    with Recorder(plan.path) as recorder:
        uvloop.run(_run(plan, recorder))


async def _run(plan: Plan, recorder: Recorder) -> None:
    drain = asyncio.Event()
    threading.Thread(target=_read, args=(asyncio.get_running_loop(), drain), daemon=True).start()
    await work(plan, recorder, drain)


def _read(loop: asyncio.AbstractEventLoop, drain: asyncio.Event) -> None:
    """In a thread, since not every kind of input can be waited for otherwise; unbuffered, so that it dies in peace."""
    with open(0, "rb", buffering=0, closefd=False) as lines:
        for line in lines:
            if line.strip() == DRAIN:
                break
    if not loop.is_closed():
        loop.call_soon_threadsafe(drain.set)


if __name__ == "__main__":
    main()
