"""A real Earmark for as long as the host runs, and its clock: `earmark-admin testbed`."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

COMMAND: Final = (sys.executable, "-m", "services.admin", "testbed")


class EarmarkError(Exception):
    """The testbed did not do what it was told, and says why."""


class Running:
    """It is asked one thing at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.address = ""

    async def greet(self) -> None:
        """Returns once it serves."""
        self.address = (await self._line())["address"]

    async def now(self) -> datetime:
        return await self._ask(do="now")

    async def advance(self, seconds: float) -> datetime:
        """Moves time forwards; returns what time it is then."""
        return await self._ask(do="advance", seconds=seconds)

    async def _ask(self, **request: Any) -> datetime:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        return datetime.fromisoformat((await self._line())["now"])

    async def _line(self) -> dict[str, str]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise EarmarkError("it has ended; what it wrote above says why")
        answer: dict[str, str] = json.loads(line)
        if "error" in answer:
            raise EarmarkError(answer["error"])
        return answer


@asynccontextmanager
async def running_earmark() -> AsyncIterator[Running]:
    """Raises EarmarkError if it does not start."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    running = Running(process)
    try:
        await running.greet()
        yield running
    finally:
        process.stdin.close()
        await process.wait()
