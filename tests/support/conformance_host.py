"""The host of the conformance cases, as a child of the test run."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tests.support.processes import environment

TOP: Final = Path(__file__).parents[2]
LINE_BYTES_MAX: Final = 2**24
SECONDS: Final = 60.0


class HostError(Exception):
    """The host did not do what it was told, and says why."""


class HostProcess:
    """It is told one thing at a time."""

    def __init__(self, process: asyncio.subprocess.Process, hello: Mapping[str, Any]) -> None:
        self._process = process
        self._owed = 0
        """Answers that have not been read: whoever asked was cancelled."""
        self.addresses: Sequence[str] = hello["addresses"]

    async def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Raises HostError."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
        self._owed += 1
        while True:
            answer = await _line(self._process)
            self._owed -= 1
            if not self._owed:
                break
        if "error" in answer:
            raise HostError(answer["error"])
        return answer

    async def advance(self, seconds: float) -> datetime:
        answer = await self.do("advance", seconds=seconds)
        return datetime.fromisoformat(answer["now"])


@asynccontextmanager
async def host_process() -> AsyncIterator[HostProcess]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clients.conformance.host"),
        cwd=TOP,
        env=environment(log_level="ERROR"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
    )
    assert process.stdin is not None
    try:
        yield HostProcess(process, await _line(process))
    finally:
        process.stdin.close()
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS):
        line = await process.stdout.readline()
    if not line:
        raise HostError("it has ended; what it wrote above says why")
    answer: dict[str, Any] = json.loads(line)
    return answer
