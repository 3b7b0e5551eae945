"""One run of the command line: the client, the two outputs, and how it ends."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import click
import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from rich.console import Console, RenderableType

from earmark.cli import words
from earmark.cli.table import card
from earmark.client import Client
from earmark.errors import EarmarkError

INTERNAL = 7
EXIT_CODES = {
    grpc.StatusCode.FAILED_PRECONDITION: 3,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 3,
    grpc.StatusCode.ALREADY_EXISTS: 3,
    grpc.StatusCode.ABORTED: 3,
    grpc.StatusCode.NOT_FOUND: 4,
    grpc.StatusCode.INVALID_ARGUMENT: 5,
    grpc.StatusCode.OUT_OF_RANGE: 5,
    grpc.StatusCode.UNAVAILABLE: 6,
    grpc.StatusCode.DEADLINE_EXCEEDED: 6,
}
TITLES = {3: "Refused", 4: "Not found", 5: "Invalid", 6: "Unavailable", INTERNAL: "Failed"}
# Width where the output is no terminal, and no COLUMNS says otherwise.
PIPE_WIDTH = 200

Answer = TypeVar("Answer", bound=Message)
Result = TypeVar("Result")


class Session:
    """What the global options say. `repeat_with` are the options that repeat the present call exactly."""

    def __init__(self, client: Callable[[], Client], *, address: str, as_json: bool) -> None:
        self._client = client
        self.address = address
        self.as_json = as_json
        self.repeat_with: list[str] = []
        self.out = _console(stderr=False)
        self.err = _console(stderr=True)

    def run(self, work: Callable[[Client], Coroutine[Any, Any, Result]]) -> Result:
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

    def answer(
        self,
        work: Callable[[Client], Coroutine[Any, Any, Answer]],
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
        items: Callable[[Client], AsyncIterator[Answer]],
        render: Callable[[Sequence[Answer]], RenderableType],
        *,
        noun: str,
        limit: int | None,
    ) -> None:
        """Shows a list: as one table, or as it comes with an object on each line."""
        found: list[Answer] = []

        async def gather(client: Client) -> bool:
            shown = 0
            async for item in items(client):
                if shown == limit:
                    return True
                shown += 1
                if self.as_json:
                    click.echo(to_json(item))
                else:
                    found.append(item)
            return False

        more = self.run(gather)
        if not self.as_json:
            self.out.print(render(found) if found else f"No {noun}s.")
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
