"""What a campaign shows while it runs: one line that changes on a terminal, elsewhere a line now and then."""

import asyncio
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Final

from tests.chaos.crew import Crew
from tests.chaos.history import Fault

EVERY_SECONDS: Final = 1.0
EVERY_SECONDS_IN_A_FILE: Final = 10.0


class Progress:
    """Writes to standard output."""

    def __init__(self, seconds: float, *, quiet: bool = False) -> None:
        """quiet: it writes nothing, for campaigns of which only the verdict counts."""
        self._is_quiet = quiet
        self._seconds = seconds
        self._is_terminal = sys.stdout.isatty()
        self._began = monotonic()
        self._doing = ""

    def tell(self, text: str) -> None:
        """A line of its own, which stays."""
        if self._is_quiet:
            return
        self._clear()
        print(f"{self._elapsed}  {text}", flush=True)

    def now_doing(self, what: str) -> None:
        self._doing = what

    def tell_fault(self, fault: Fault) -> None:
        took = fault.ended - fault.began
        missed = "" if fault.hits else "(missed) "
        self.tell(f"{missed}{fault.kind} of {fault.target} for {took:.1f} s: {fault.proof}")

    async def follow(self, crew: Crew, faults: Sequence[Fault]) -> None:
        """Until it is cancelled, or at once where nothing is to be shown."""
        self._began = monotonic()
        while not self._is_quiet:
            await asyncio.sleep(EVERY_SECONDS if self._is_terminal else EVERY_SECONDS_IN_A_FILE)
            self._show(crew, faults)

    def _show(self, crew: Crew, faults: Sequence[Fault]) -> None:
        count = crew.counts.get
        calls = f"{count('ok', 0)} ok, {count('refused', 0)} refused, {count('open', 0)} open"
        line = f"{self._elapsed}  of {self._seconds:.0f} s: {calls}; {len(faults)} faults; {self._doing}"
        if self._is_terminal:
            self._clear()
            print(line[:118], end="", flush=True)
        else:
            print(line, flush=True)

    @property
    def _elapsed(self) -> str:
        return f"{monotonic() - self._began:5.0f} s"

    def _clear(self) -> None:
        if self._is_terminal:
            print("\r\x1b[K", end="")
