"""What is seen on the terminal while nothing else is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from earmark.cli import words

AFTER_SECONDS = 1.0
LOOK_SECONDS = 0.1
BAR_WIDTH = 24


class Progress:
    """A bar on the terminal, once nothing else was shown for a second; gone before anything else is.

    Never where the terminal can take nothing back, or there is none, or it is not `wanted`.
    """

    def __init__(self, console: Console, *, waiting: str) -> None:
        self._console = console
        self._what = waiting
        self._done = 0
        self._total: int | None = None
        self._since = self._quiet_since = monotonic()
        self._bar: Bar | None = None
        self.wanted = console.is_interactive

    def begin(self, what: str, total: int | None = None) -> None:
        """What is being done from now on, and how many steps that takes, if that is known."""
        self._hide()
        self._what, self._total, self._done, self._since = words.clean(what), total, 0, monotonic()

    def step(self) -> None:
        self._done += 1

    def give_way(self) -> None:
        """Something else is about to be shown."""
        self._quiet_since = monotonic()
        self._hide()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Shown while this lasts, if it lasts."""
        if not self.wanted:
            yield
            return
        self._since = self._quiet_since = monotonic()
        looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
            self._hide()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, AFTER_SECONDS))
            if self._bar:
                [task] = self._bar.task_ids
                self._bar.update(task, completed=self._done)
            elif monotonic() - self._quiet_since >= AFTER_SECONDS:
                self._bar = self._new_bar()
                self._bar.start()

    def _hide(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _new_bar(self) -> Bar:
        """Leaves nothing behind, and does not touch what is written to the standard output meanwhile."""
        columns = (
            SpinnerColumn("line"),
            TextColumn("{task.description}", markup=False),
            BarColumn(BAR_WIDTH),
            _Count(),
            TimeElapsedColumn(),
        )
        bar = Bar(*columns, console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False)
        bar.add_task(self._what, total=self._total, completed=self._done)
        [task] = bar.tasks
        task.start_time = bar.get_time() - (monotonic() - self._since)
        return bar


class _Count(ProgressColumn):
    """`1,200 of 10,000`, or how many so far."""

    def render(self, task: Task) -> Text:
        done = words.number(int(task.completed))
        if task.total is not None:
            return Text(f"{done} of {words.number(int(task.total))}")
        return Text(done if task.completed else "")
