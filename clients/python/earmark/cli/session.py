"""One run of the command line: the client, the two outputs, and how it ends."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import click
from google.protobuf.message import Message
from rich.console import RenderableType

from earmark.cli import words
from earmark.cli.failure import TITLES, UNAVAILABLE, error_json, error_rows, exit_code, to_json
from earmark.cli.patience import Beginning
from earmark.cli.progress import Progress
from earmark.cli.screen import console, may_be_drawn
from earmark.cli.show import Line
from earmark.cli.table import Rows, card
from earmark.client import Client
from earmark.errors import EarmarkError
from earmark.messages import MessageClient

BLOCK_ROWS = 1000
"""A long list is shown in blocks of so many rows."""

Answer = TypeVar("Answer", bound=Message)
Result = TypeVar("Result")


class Session:
    """What the global options say.

    repeatable: whether the command takes a `--request-id`.
    repeat_with: the options that, besides it, repeat the present call exactly.
    """

    def __init__(self, client: Callable[[], Client], *, address: str, as_json: bool) -> None:
        self._client = client
        self.address = address
        self.as_json = as_json
        self.repeatable = True
        self.repeat_with: list[str] = []
        self.beginning = Beginning(address)
        self._lost = False
        self.out = console(stderr=False)
        self.err = console(stderr=True)
        self.out_is_drawn = may_be_drawn(sys.stdout)
        self.progress = Progress(self.err, waiting=f"Waiting for {words.clean(address)}")

    def run(self, work: Callable[[MessageClient], Coroutine[Any, Any, Result]]) -> Result:
        """Ends the program with the exit code of its kind if a call does not succeed."""

        if self.as_json:
            self.progress.wanted = False

        async def with_client() -> Result:
            async with self._client() as client, self.progress.watched():
                return await work(client.messages)

        try:
            return asyncio.run(with_client())
        except EarmarkError as error:
            self.report(error)
            raise click.exceptions.Exit(exit_code(error)) from error
        except ValueError as error:
            raise click.UsageError(f"Nothing was sent: {error}") from error

    def until_interrupted(self, work: Callable[[MessageClient], Coroutine[Any, Any, None]]) -> None:
        """Work that never ends by itself: Ctrl-C is its regular end."""
        self.progress.wanted = False
        with suppress(KeyboardInterrupt):
            self.run(work)

    def answer(
        self,
        work: Callable[[MessageClient], Coroutine[Any, Any, Answer]],
        render: Callable[[Answer], Iterable[RenderableType]],
        *,
        validate_only: bool = False,
    ) -> Answer:
        """Makes a call and shows its answer."""
        answer = self.run(work)
        if self.as_json:
            click.echo(to_json(answer))
            return answer
        if validate_only:
            self.tell_of_validation()
        for part in render(answer):
            self.out.print(part)
        return answer

    def tell_of_validation(self) -> None:
        self.give_way()
        self.out.print("Nothing was changed; this is what would be:", style="bold")

    def each(
        self,
        items: Callable[[MessageClient], AsyncIterator[Answer]],
        render: Callable[[Sequence[Answer]], Rows],
        *,
        noun: str,
        limit: int | None,
    ) -> None:
        """Shows a list as it comes: as a table that grows, or with an object on each line."""
        self.progress.begin(f"Reading {noun}s")
        block: list[Answer] = []
        table: Rows | None = None

        def take(item: Answer) -> None:
            block.append(item)
            if len(block) == BLOCK_ROWS:
                show()

        def show() -> None:
            nonlocal table
            table = render(block).after(table)
            self._show(table)
            block.clear()

        more = self.run(lambda client: self._take(items(client), take, limit))
        if block:
            show()
        elif table is None and not self.as_json:
            self.out.print(f"No {noun}s.")
        self._tell_of_more(more, limit)

    def each_line(
        self,
        items: Callable[[MessageClient], Coroutine[Any, Any, AsyncIterator[Answer]]],
        render: Callable[[Answer], Line],
        *,
        noun: str,
        limit: int | None,
    ) -> None:
        """Shows a long list as it comes, each in a line of its own."""
        self.progress.begin(f"Reading {noun}")

        async def work(client: MessageClient) -> bool:
            return await self._take(await items(client), lambda item: self.line(render(item)), limit)

        self._tell_of_more(self.run(work), limit)

    def line(self, line: Line) -> None:
        """At once. On a terminal in as few lines as fit, elsewhere in one."""
        if self.out.is_terminal:
            self._show(line)
        else:
            self.give_way()
            self.out.print(line.whole(), soft_wrap=True)

    def lost(self, error: EarmarkError) -> None:
        """A watch has lost its connection; said once, however long it takes to come back.

        Raises the error where nobody was ever heard.
        """
        if not self.beginning.lost(error):
            return
        if not self._lost:
            self.aside(f"Connection lost, reconnecting: {error.message}")
        self._lost = True

    def heard(self) -> None:
        """A message has come."""
        self.beginning.heard()
        if self._lost:
            self.aside("Connected again.")
        self._lost = False

    def aside(self, text: str) -> None:
        """A remark that belongs to no answer."""
        if not self.as_json:
            self.progress.give_way()
            self.err.print(words.clean(text), style="dim", soft_wrap=True)

    def give_way(self) -> None:
        """Something is about to be written to the standard output."""
        if self.out_is_drawn:
            self.progress.give_way()

    def _show(self, part: RenderableType) -> None:
        self.give_way()
        self.out.print(part)

    async def _take(self, items: AsyncIterator[Answer], show: Callable[[Answer], object], limit: int | None) -> bool:
        """Whether the limit left any out."""
        shown = 0
        async for item in items:
            if shown == limit:
                return True
            shown += 1
            self.progress.step()
            if self.as_json:
                click.echo(to_json(item))
            else:
                show(item)
        return False

    def _tell_of_more(self, more: bool, limit: int | None) -> None:
        if more:
            self.err.print(f"There are more; --limit {limit} left them out.")

    def report(self, error: EarmarkError) -> None:
        """An error on stderr: one JSON object, or message, reason, figures, and how to repeat the call."""
        if self.as_json:
            click.echo(error_json(error), err=True)
            return
        self.progress.give_way()
        kind = exit_code(error)
        self.err.print(f"{TITLES[kind]}: {words.clean(error.message)}", style="bold red")
        self.err.print(card(*error_rows(error)))
        if kind >= UNAVAILABLE and not error.reason:
            self.err.print(f"The allocator was expected at {words.clean(self.address)}.")
        if kind >= UNAVAILABLE and error.request_id and self.repeatable:
            again = " ".join(["--request-id", error.request_id, *self.repeat_with])
            self.err.print(f"To send it again safely, add: {words.clean(again)}", soft_wrap=True)


pass_session = click.make_pass_decorator(Session)
