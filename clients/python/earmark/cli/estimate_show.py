"""What switching offerings on would take, as tables."""

from rich.console import RenderableType
from rich.text import Text

from earmark import names
from earmark.cli import show, words
from earmark.cli.table import Column, Rows, card
from earmark.v1.usage_service_pb2 import EstimateCreditsResponse, EstimatedLine, EstimatedPurchase

_COLUMNS = (
    Column("#", number=True),
    Column("OFFERING", folds=True),
    Column("UNITS", number=True),
    Column("CREDITS", number=True),
    Column("PRICE VERSION", number=True),
    Column("RETIRED", optional=True),
)


def details(answer: EstimateCreditsResponse) -> list[RenderableType]:
    rows = [_row(number, line) for number, line in enumerate(answer.lines, start=1)]
    parts: list[RenderableType] = [
        Rows(_COLUMNS, rows),
        "",
        show.Line(
            Text(f"{words.plural(answer.required_credits, 'credit')} in all", style="bold"),
            Text(f"at the prices of {words.second(answer.as_of)}", style="dim"),
        ),
    ]
    if answer.HasField("purchase"):
        parts += ["", *_purchase(answer.purchase)]
    if any(line.retired for line in answer.lines):
        parts.append(Text("What is retired cannot be switched on.", style="yellow"))
    return parts


def _row(number: int, line: EstimatedLine) -> list[Text | str]:
    return [
        str(number),
        names.id_of(line.offering),
        words.number(line.units),
        words.number(line.credits),
        str(line.price_version),
        Text("retired", style="yellow") if line.retired else "",
    ]


def _purchase(purchase: EstimatedPurchase) -> list[RenderableType]:
    balance = purchase.balance
    remains, recommended = purchase.remaining_credits, purchase.recommended_credits
    buy = words.plural(recommended, "credit") if recommended else "nothing"
    return [
        card(
            ("organization", names.id_of(balance.organization)),
            ("available", show.available(balance)),
            ("suspended", show.noticed(balance.suspended_credits, "red")),
            ("would remain", Text(words.number(remains), style="red" if remains < 0 else "")),
            ("to buy", Text(buy, style="bold")),
        )
    ]
