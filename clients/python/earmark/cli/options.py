"""The options that many commands share. An option's name is the keyword of the client's method."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from earmark.cli import parse
from earmark.cli.session import Session

Command = TypeVar("Command", bound=Callable[..., Any])


def _set_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    session = ctx.find_object(Session)
    if value and session:
        session.as_json = True


def output(command: Command) -> Command:
    """`--json` is understood after the command as well as before it."""
    return click.option(
        "--json", is_flag=True, expose_value=False, callback=_set_json, help="Answer in JSON, for scripts."
    )(command)


def mutation(command: Command) -> Command:
    request_id = click.option(
        "--request-id", default="", metavar="ID", help="Repeats the call that was sent with this id, safely."
    )
    validate_only = click.option("--validate-only", is_flag=True, help="Say what would happen; change nothing.")
    return output(validate_only(request_id(command)))


def etag(command: Command) -> Command:
    return click.option("--etag", default="", help="Refuse unless this is still the current one.")(command)


def force(command: Command) -> Command:
    return click.option("--force", is_flag=True, help="Even if that suspends allocations.")(command)


def labels(command: Command) -> Command:
    return click.option(
        "--label",
        "labels",
        metavar="KEY=VALUE",
        multiple=True,
        callback=parse.labels,
        help="May be repeated.",
    )(command)


def new_labels(command: Command) -> Command:
    """For updates: labels are replaced as a whole."""
    clear = click.option("--clear-labels", is_flag=True, help="Remove all labels.")
    return labels(clear(command))


def chosen_labels(labels: dict[str, str] | None, clear: bool) -> dict[str, str] | None:
    """The labels that an update sets; None to leave them."""
    if labels and clear:
        raise click.UsageError("--label and --clear-labels exclude each other.")
    return {} if clear else labels


def listing(command: Command) -> Command:
    return output(click.option("--limit", type=parse.count, help="Stop after so many. Default: all.")(command))


def state(enum: Any) -> Callable[[Command], Command]:
    """`--state` as a number of that enum."""
    choices = [name for name, value in enum.items() if value]

    def number(ctx: click.Context, param: click.Parameter, value: str | None) -> int:
        return enum.Value(value) if value else 0

    return click.option(
        "--state", type=click.Choice(choices, case_sensitive=False), callback=number, help="Only these."
    )


def kinds(enum: Any) -> Callable[[Command], Command]:
    """`--kind`, as often as wanted, as numbers of that enum; `allocation-enabled` is ALLOCATION_ENABLED."""
    choices = {name.lower().replace("_", "-"): value for name, value in enum.items() if value}

    def numbers(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[int]:
        return [choices[value] for value in values]

    return click.option(
        "--kind",
        "kinds",
        multiple=True,
        type=click.Choice(list(choices), case_sensitive=False),
        callback=numbers,
        help="Only of this kind; may be repeated.",
    )
