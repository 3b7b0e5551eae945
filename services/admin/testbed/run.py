"""`earmark-admin testbed`: an Earmark for the tests of other services, led by JSON lines, from any language.

It writes a line once it serves, then reads requests and answers each with one line, in order:

    written first                            {"address": "127.0.0.1:...", "redis_url": "...", "now": "2026-01-01T..."}
    {"do": "now"}                            {"now": "..."}
    {"do": "advance", "seconds": 86400.5}    {"now": "..."}, with everything settled that came due
    {"do": "reset"}                          {"now": "..."}, empty again, at the same address, in the present
    anything else                            {"error": "..."}

Instants are RFC 3339. It ends with its input, on SIGINT or SIGTERM, or when its parent does, and all that it started
ends with it. What is logged goes to the standard error.

The servers are real ones, and so are the allocator and the expiry worker; but these two run in this process, so that
they can be replaced within milliseconds: a reset is another database, with an allocator and a worker of its own.
"""

import asyncio
import json
import logging
import os
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import Final

import uvloop

from services.admin import embedded
from services.admin.catalog_file import SAMPLE_CATALOG
from services.admin.testbed.world import NAME, NotSettled, Worlds
from services.ledger.store import clock, durability

log = logging.getLogger(__name__)

SAMPLE: Final = "sample"
NOTHING_IS_KEPT: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_wal_size": "256MB",
    # No test lives long enough for it, and it would come between a database and its copy.
    "autovacuum": "off",
}
SECONDS_MAX: Final = 200 * 366 * 86_400
PARENT_POLL_SECONDS: Final = 0.5
END: Final = b""
"""As a request: there will be no more."""
UNKNOWN: Final = 'a request is {"do": "now"}, {"do": "advance", "seconds": 86400.5} or {"do": "reset"}'


def testbed(catalog: str) -> None:
    """Serves until its input ends. The catalogue is a CSV file, "sample", or empty: none.

    No setting of the environment has a part in it: nobody wants time to be moved in a database of theirs. Raises
    EmbeddedError, BadCatalog or OSError. It is for a process of its own, whose environment it changes.
    """
    parent = os.getppid()
    logging.basicConfig(level=logging.WARNING, format=f"%(asctime)s {NAME} %(levelname)s %(name)s: %(message)s")
    for known in (clock, durability):  # That time can be moved, and nothing is kept, is no news here.
        logging.getLogger(known.__name__).setLevel(logging.ERROR)
    for name in [name for name in os.environ if name.startswith("PG")]:  # The driver would read them.
        del os.environ[name]
    file = SAMPLE_CATALOG if catalog == SAMPLE else Path(catalog) if catalog else None
    with embedded.postgres(settings=NOTHING_IS_KEPT) as postgres, embedded.redis() as redis:
        uvloop.run(_serve(Worlds(postgres.url, redis.url), file, parent))


async def _serve(worlds: Worlds, catalog: Path | None, parent: int) -> None:
    requests: asyncio.Queue[bytes] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, requests.put_nowait, END)
    await worlds.open(catalog)
    watching = asyncio.create_task(_end_with(parent, requests))
    try:
        _write(address=worlds.address, redis_url=worlds.redis_url, now=(await worlds.world.now()).isoformat())
        threading.Thread(target=_read, args=(loop, requests), name="requests", daemon=True).start()
        while (line := await requests.get()) != END:
            _write(**await _answer(worlds, line))
    except BrokenPipeError:
        pass  # Nobody is left to read it.
    finally:
        watching.cancel()
        await worlds.close()


async def _answer(worlds: Worlds, line: bytes) -> dict[str, str]:
    try:
        match json.loads(line):
            case {"do": "now"}:
                now = await worlds.world.now()
            case {"do": "advance", "seconds": int() | float() as seconds}:
                now = await worlds.world.advance(_forwards(seconds))
            case {"do": "reset"}:
                now = await worlds.reset()
            case _:
                return {"error": UNKNOWN}
    except json.JSONDecodeError:
        return {"error": UNKNOWN}
    except (ValueError, NotSettled) as error:
        return {"error": str(error)}
    except Exception as error:
        log.exception("a request failed: %r", line)
        return {"error": f"{type(error).__name__}: {error}"}
    return {"now": now.isoformat()}


def _forwards(seconds: float) -> timedelta:
    if not 0 <= seconds <= SECONDS_MAX:  # Neither is a NaN.
        raise ValueError(f"seconds must be 0 to {SECONDS_MAX}, and not {seconds}: time moves forwards only")
    return timedelta(seconds=seconds)


def _write(**line: str) -> None:
    """At once, whatever else may write to our output. Raises BrokenPipeError."""
    os.write(1, json.dumps(line).encode() + b"\n")


def _read(loop: asyncio.AbstractEventLoop, requests: "asyncio.Queue[bytes]") -> None:
    """In a thread, since not every kind of input can be waited for otherwise; unbuffered, so that it dies in peace."""
    with open(0, "rb", buffering=0, closefd=False) as lines:
        for line in lines:
            loop.call_soon_threadsafe(requests.put_nowait, line)
    loop.call_soon_threadsafe(requests.put_nowait, END)


async def _end_with(parent: int, requests: "asyncio.Queue[bytes]") -> None:
    """Also while somebody else, such as another child of our parent, holds its end of our input open."""
    while os.getppid() == parent:  # noqa: ASYNC110 - there is nothing to wait for that every system has
        await asyncio.sleep(PARENT_POLL_SECONDS)
    requests.put_nowait(END)
