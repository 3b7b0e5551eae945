"""Answers as text and tables for people."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from earmark import names
from earmark.cli import words
from earmark.v1.resources_pb2 import Allocation, AllocationNames, Balance, Consequences, Subscription
from earmark.v1.usage_service_pb2 import SubscriptionUsage

STATE_STYLES = {
    "ENABLED": "green",
    "ACTIVE": "green",
    "SCHEDULED": "cyan",
    "GRACE": "yellow",
    "SUSPENDED": "red",
    "DISABLED": "dim",
    "EXPIRED": "dim",
    "CANCELLED": "dim",
}
NAMES_SHOWN = 10


class Line:
    """Pieces of text in one line, or in as few as fit, those after the first indented; a piece is never broken."""

    def __init__(self, *pieces: Text | str, indent: int = 0) -> None:
        self.pieces = [piece if isinstance(piece, Text) else Text(words.clean(piece)) for piece in pieces]
        self.indent = " " * indent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        line = Text(overflow="fold")
        for piece in self.pieces:
            if line and line.cell_len + 2 + piece.cell_len > options.max_width:
                yield line
                line = Text(self.indent, overflow="fold").append_text(piece)
            else:
                line.append("  " if line else "").append_text(piece)
        yield line

    def whole(self) -> Text:
        """In one line, however long."""
        return Text("  ").join(self.pieces)


def state(enum: Any, value: int) -> Text:
    name = words.enum_name(enum, value)
    return Text(name, style=STATE_STYLES.get(name, ""))


def allocation_state(allocation: Allocation) -> Text:
    return state(Allocation.State, allocation.state)


def subscription_state(subscription: Subscription | SubscriptionUsage) -> Text:
    return state(Subscription.State, subscription.state)


def labels(value: Any) -> str:
    return ", ".join(f"{key}={value[key]}" for key in sorted(value))


def stamp(holder: Any, field: str, as_of: Timestamp) -> str:
    """An instant of an answer; empty where it is not set."""
    return words.instant(getattr(holder, field), as_of) if holder.HasField(field) else ""


def overdraft(holder: Any) -> str:
    return "unlimited" if holder.overdraft_unlimited else words.number(holder.overdraft_limit)


def noticed(credits: int, style: str) -> Text:
    """A figure that stands out where it is not zero."""
    return Text(words.number(credits), style=style if credits else "")


def available(value: Balance) -> Text:
    return Text(words.number(value.available_credits), style="red" if value.available_credits < 0 else "")


def balance(value: Balance) -> Line:
    """`valid 10,000  in grace 0  allocated 2,000  available 8,000  suspended 0  overdraft 0`."""
    figures = (
        ("valid", Text(words.number(value.valid_credits))),
        ("in grace", noticed(value.grace_credits, "yellow")),
        ("allocated", Text(words.number(value.allocated_credits))),
        ("available", available(value)),
        ("suspended", noticed(value.suspended_credits, "red")),
        ("overdraft", Text(overdraft(value))),
    )
    return Line(*(Text.assemble((label, "dim"), " ", text) for label, text in figures))


def consequences(value: Consequences) -> list[RenderableType]:
    """What a change of coverage resumed, suspended, or left waiting: a line for each that there is."""
    kinds = (
        ("resumed", value.resumed, "green"),
        ("suspended", value.suspended, "red"),
        ("still waits", value.waiting, "yellow"),
    )
    return [listed(label, found, style) for label, found, style in kinds if found.total_size]


def listed(label: str, found: AllocationNames, style: str) -> Line:
    """`suspended 12  a  b  c  and 9 more`."""
    shown = [names.id_of(name) for name in found.names[:NAMES_SHOWN]]
    more = found.total_size - len(shown)
    rest = [f"and {words.number(more)} more"] if more else []
    return Line(Text(f"{label} {words.number(found.total_size)}", style=style), *shown, *rest)
