"""The table of `earmark monitor`, as high as the terminal."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from earmark import names
from earmark.cli import show, words
from earmark.cli.blocks import as_ascii, fill
from earmark.cli.table import Column, Rows
from earmark.errors import EarmarkError
from earmark.v1.resources_pb2 import Balance
from earmark.v1.usage_service_pb2 import WatchBalancesResponse

# The heading, and the line below.
MARGIN_LINES = 2

_COLUMNS = (
    Column("ORGANIZATION", folds=True),
    Column("VALID", number=True),
    Column("GRACE", number=True, optional=True),
    Column("ALLOCATED", number=True),
    Column(""),
    Column("", number=True),
    Column("AVAILABLE", number=True),
    Column("SUSPENDED", number=True, optional=True),
)


class Board:
    """The newest balance of each organization; those with the least room come first."""

    def __init__(self) -> None:
        self.balances: dict[str, Balance] = {}
        self.state = Text("connecting", style="dim")

    def take(self, message: WatchBalancesResponse) -> None:
        for balance in message.balances:
            self.balances[balance.organization] = balance
        self.state = Text()

    def disconnected(self, error: EarmarkError) -> None:
        self.state = Text(f"reconnecting: {words.clean(error.message)}", style="yellow")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        shown = sorted(self.balances.values(), key=_room)[: max(1, options.size.height - MARGIN_LINES)]
        width = 10 if options.max_width < 120 else 30
        if shown:
            yield Rows(_COLUMNS, [_row(each, width, ascii_only=options.ascii_only) for each in shown])
        more = len(self.balances) - len(shown)
        said = words.plural(len(self.balances), "organization") + (f", {words.number(more)} below" if more else "")
        yield show.Line(Text(said, style="dim"), self.state)


def _room(balance: Balance) -> tuple[bool, int, str]:
    """What is suspended first, then by how much of what is valid is allocated."""
    permille = balance.allocated_credits * 1000 // max(1, balance.valid_credits)
    return not balance.suspended_credits, -permille, balance.organization


def _row(balance: Balance, width: int, *, ascii_only: bool) -> list[Text | str]:
    drawn = fill(balance.allocated_credits, balance.valid_credits, width)
    return [
        names.id_of(balance.organization),
        words.number(balance.valid_credits),
        show.noticed(balance.grace_credits, "yellow"),
        words.number(balance.allocated_credits),
        as_ascii(drawn) if ascii_only else drawn,
        words.percent(balance.allocated_credits, balance.valid_credits),
        show.available(balance),
        show.noticed(balance.suspended_credits, "red"),
    ]
