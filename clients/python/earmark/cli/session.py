"""One run of the command line: the client, the two outputs, and how it ends."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import click
import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from rich.console import Console, RenderableType

from earmark.cli import words
from earmark.cli.show import Line
from earmark.cli.table import card
from earmark.errors import EarmarkError
from earmark.messages.client import MessageClient

REFUSED = 3
INTERNAL = 7
EXIT_CODES = {
    grpc.StatusCode.FAILED_PRECONDITION: REFUSED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: REFUSED,
    grpc.StatusCode.ALREADY_EXISTS: REFUSED,
    grpc.StatusCode.ABORTED: REFUSED,
    grpc.StatusCode.NOT_FOUND: 4,
    grpc.StatusCode.INVALID_ARGUMENT: 5,
    grpc.StatusCode.OUT_OF_RANGE: 5,
    grpc.StatusCode.UNAVAILABLE: 6,
    grpc.StatusCode.DEADLINE_EXCEEDED: 6,
}
TITLES = {REFUSED: "Refused", 4: "Not found", 5: "Invalid", 6: "Unavailable", INTERNAL: "Failed"}
# Width where the output is no terminal, and no COLUMNS says otherwise.
PIPE_WIDTH = 200

Answer = TypeVar("Answer", bound=Message)
Result = TypeVar("Result")


class Session:
    """What the global options say. `repeat_with` are the options that repeat the present call exactly."""

    def __init__(self, client: Callable[[], MessageClient], *, address: str, as_json: bool) -> None:
        self._client = client
        self.address = address
        self.as_json = as_json
        self.repeat_with: list[str] = []
        self._lost = False
        self.out = _console(stderr=False)
        self.err = _console(stderr=True)

    def run(self, work: Callable[[MessageClient], Coroutine[Any, Any, Result]]) -> Result:
        """Ends the program with the exit code of its kind if a call does not succeed."""

        async def with_client() -> Result:
            async with self._client() as client:
                return await work(client)

        try:
            return asyncio.run(with_client())
        except EarmarkError as error:
            self.report(error)
            raise click.exceptions.Exit(exit_code(error)) from error
        except ValueError as error:
            raise click.UsageError(f"Nothing was sent: {error}") from error

    def until_interrupted(self, work: Callable[[MessageClient], Coroutine[Any, Any, None]]) -> None:
        """Work that never ends by itself: Ctrl-C is its regular end."""
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
            self.out.print("Nothing was changed; this is what would be:", style="bold")
        for part in render(answer):
            self.out.print(part)
        return answer

    def each(
        self,
        items: Callable[[MessageClient], AsyncIterator[Answer]],
        render: Callable[[Sequence[Answer]], RenderableType],
        *,
        noun: str,
        limit: int | None,
    ) -> None:
        """Shows a list: as one table, or as it comes with an object on each line."""
        found: list[Answer] = []
        more = self.run(lambda client: self._take(items(client), found.append, limit))
        if not self.as_json:
            self.out.print(render(found) if found else f"No {noun}s.")
        self._tell_of_more(more, limit)

    def each_line(
        self,
        items: Callable[[MessageClient], Coroutine[Any, Any, AsyncIterator[Answer]]],
        render: Callable[[Answer], Line],
        *,
        limit: int | None,
    ) -> None:
        """Shows a long list as it comes, each in a line of its own."""

        async def work(client: MessageClient) -> bool:
            return await self._take(await items(client), lambda item: self.line(render(item)), limit)

        self._tell_of_more(self.run(work), limit)

    def line(self, line: Line) -> None:
        """At once. On a terminal in as few lines as fit, elsewhere in one."""
        if self.out.is_terminal:
            self.out.print(line)
        else:
            self.out.print(line.whole(), soft_wrap=True)

    def lost(self, error: EarmarkError) -> None:
        """A watch has lost its connection; said once, however long it takes to come back."""
        if not self._lost:
            self.aside(f"Connection lost, reconnecting: {error.message}")
        self._lost = True

    def heard(self) -> None:
        """A message has come."""
        if self._lost:
            self.aside("Connected again.")
        self._lost = False

    def aside(self, text: str) -> None:
        """A remark that belongs to no answer."""
        if not self.as_json:
            self.err.print(words.clean(text), style="dim", soft_wrap=True)

    async def _take(self, items: AsyncIterator[Answer], show: Callable[[Answer], object], limit: int | None) -> bool:
        """Whether the limit left any out."""
        shown = 0
        async for item in items:
            if shown == limit:
                return True
            shown += 1
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
            click.echo(_error_json(error), err=True)
            return
        kind = exit_code(error)
        self.err.print(f"{TITLES[kind]}: {words.clean(error.message)}", style="bold red")
        self.err.print(card(*error_rows(error)))
        if kind >= 6 and not error.reason:
            self.err.print(f"The allocator was expected at {words.clean(self.address)}.")
        if kind >= 6 and error.request_id:
            again = " ".join(["--request-id", error.request_id, *self.repeat_with])
            self.err.print(f"To send it again safely, add: {words.clean(again)}", soft_wrap=True)


def exit_code(error: EarmarkError) -> int:
    return EXIT_CODES.get(error.code, INTERNAL)


def to_json(message: Message) -> str:
    """Proto3 JSON on one line. Zeros are spelled out: a script should not have to know the defaults."""
    return MessageToJson(message, indent=None, always_print_fields_with_no_presence=True)


def error_rows(error: EarmarkError) -> list[tuple[str, str]]:
    rows = [("reason", error.reason) if error.reason else ("code", error.code.name)]
    rows += [(key, words.figure(error.metadata[key])) for key in sorted(error.metadata)]
    for detail in error.details:
        if isinstance(detail, error_details_pb2.BadRequest):
            rows += [(violation.field, violation.description) for violation in detail.field_violations]
    return rows


def _error_json(error: EarmarkError) -> str:
    return json.dumps(
        {
            "reason": error.reason,
            "code": error.code.name,
            "message": error.message,
            "metadata": error.metadata,
            "details": [json.loads(to_json(detail)) for detail in error.details if not isinstance(detail, AnyMessage)],
            "requestId": error.request_id,
        }
    )


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


pass_session = click.make_pass_decorator(Session)
