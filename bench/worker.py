"""A worker process: connects to whoever started it, and does one job after the other until that one hangs up.

For each job: a line that says what to do; we answer a line when all is prepared; a line gives the word; we answer a
line with what came of it.
"""

import asyncio
import gc
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from bench.callers import call_sdk
from bench.jobs import LINE_BYTES_MAX, Callers, Load, Subscribe, Watch
from bench.listen import subscribe, watch
from bench.load import load


async def work(host: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(host, port, limit=LINE_BYTES_MAX)

    async def say(**what: Any) -> None:
        writer.write(json.dumps(what).encode() + b"\n")
        await writer.drain()

    async def word() -> None:
        await say(prepared=True)
        if not await reader.readline():
            raise ConnectionResetError("nobody waits for us any more")

    while line := await reader.readline():
        gc.collect()
        gc.disable()  # A pause of ours would be taken for one of the server.
        try:
            report = await _do(json.loads(line), word)
        except Exception:
            await say(failed=traceback.format_exc())
        else:
            await say(report=report)
        gc.enable()


async def _do(order: dict[str, Any], word: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    match order["kind"]:
        case "Load":
            return asdict(await load(Load(**order["job"]), word))
        case "Callers":
            return asdict(await call_sdk(Callers(**order["job"]), word))
        case "Watch":
            return asdict(await watch(Watch(**order["job"]), word))
        case "Subscribe":
            return asdict(await subscribe(Subscribe(**order["job"]), word))
    raise ValueError(order["kind"])


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
