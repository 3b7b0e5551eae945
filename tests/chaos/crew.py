"""The callers, who are a program of their own: started, counted, and asked to come to an end."""

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.chaos.server import WorldError
from tests.support.processes import environment

READY_SECONDS: Final = 60.0
DRAIN_SECONDS: Final = 90.0
KILL_SECONDS: Final = 5.0
LINE_BYTES_MAX: Final = 2**20


class Crew:
    """All callers, watchers and listeners of a campaign."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._reading: asyncio.Task[None] | None = None
        self.counts: dict[str, int] = {}
        """The last ones that it told."""

    @classmethod
    async def start(cls, folder: Path, module: str, plan: Mapping[str, Any]) -> "Crew":
        """Returns once they call. `plan` is what the program is told, apart from the folder.

        Raises WorldError if they do not begin within a minute.
        """
        with (folder / "load.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                json.dumps({**plan, "folder": str(folder)}),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=environment(),
                limit=LINE_BYTES_MAX,
                # The campaign decides when they end, not Ctrl-C.
                start_new_session=True,
            )
        crew = cls(process)
        try:
            async with asyncio.timeout(READY_SECONDS):
                first = await crew._told()
            if not first.get("ready"):
                raise TimeoutError
        except TimeoutError as error:
            await crew.close()
            raise WorldError(f"the callers did not begin: {folder / 'load.log'} says why") from error
        except BaseException:
            await crew.close()
            raise
        crew._reading = asyncio.create_task(crew._read())
        return crew

    @property
    def runs(self) -> bool:
        return self._process.returncode is None

    async def drain(self) -> int | None:
        """No new calls; returns the exit status once all are answered and the watchers know the end, None if never."""
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(b"drain\n")
            await self._process.stdin.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                return await self._process.wait()
        return None

    async def close(self) -> None:
        if self.runs:
            self._process.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(KILL_SECONDS):
                await self._process.wait()
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def _read(self) -> None:
        while told := await self._told():
            self.counts = told

    async def _told(self) -> dict[str, Any]:
        """The next line; empty at the end."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        with suppress(json.JSONDecodeError):
            told: dict[str, Any] = json.loads(line)
            return told
        return {}
