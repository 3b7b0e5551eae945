"""Earmark's processes, as whoever operates them sees them: started by command line, ended by signal."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from services.admin import embedded

DEADLINE_SECONDS: Final = 20.0
NO_REDIS: Final = "redis://127.0.0.1:1/0"
"""Nobody is there: what no test is about publishes nothing, least of all to a Redis that happens to run here."""
ALLOCATOR: Final = "services.allocator"
EXPIRY: Final = "services.expiry"
ADMIN: Final = "services.admin"


def environment(**settings: str) -> dict[str, str]:
    """This process's, but with these EARMARK_* variables and no others. The tests' servers may lose everything."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EARMARK_")}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "EARMARK_DURABILITY": "none",
        **{f"EARMARK_{name.upper()}": value for name, value in settings.items()},
    }


@contextmanager
def running_allocator(
    database: str, *, module: str = ALLOCATOR, **settings: str
) -> Iterator[tuple[embedded.Child, str]]:
    """An allocator process on a free port, and its address."""
    ours = {"listen_address": "127.0.0.1:0", "redis_url": NO_REDIS, "log_level": "ERROR"}
    env = environment(database_url=database, **{**ours, **settings})
    with embedded.child([sys.executable, "-m", module], env=env, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        line = child.stdout.readline().decode()
        assert line.startswith("serving on "), f"{module} did not start; its log above says why"
        yield child, line.removeprefix("serving on ").strip()


async def ended(child: embedded.Child) -> int:
    """The exit status, once it has ended."""
    return await asyncio.to_thread(child.wait, DEADLINE_SECONDS)


def run(module: str, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Runs a process that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
