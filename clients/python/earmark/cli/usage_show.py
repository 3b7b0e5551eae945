"""What an organization has and what holds it, on one screen."""

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from earmark import names
from earmark.cli import show, subscription_show, words
from earmark.cli.blocks import as_ascii, bar, fill
from earmark.cli.table import Column, Rows
from earmark.v1.resources_pb2 import Balance, Subscription
from earmark.v1.usage_service_pb2 import EndingCredits, OfferingUsage, SubscriptionUsage, Usage

FILL_WIDTH_MAX = 100


def details(usage: Usage) -> list[RenderableType]:
    balance = usage.balance
    as_of = Text(f"revision {words.number(balance.revision)}, {words.second(balance.as_of)}", style="dim")
    return [
        show.Line(Text(words.clean(names.id_of(balance.organization)), style="bold"), as_of),
        "",
        figures(balance),
        Fill(balance),
        "",
        Offerings(usage.offerings) if usage.offerings else "Nothing is switched on.",
        "",
        *_ending(usage.ending),
        "",
        _subscriptions(usage) if usage.subscriptions else "No subscriptions.",
    ]


def figures(balance: Balance) -> Rows:
    """Those that are always of interest, and those that are there."""
    columns = (
        Column("VALID", number=True),
        Column("IN GRACE", number=True),
        Column("ALLOCATED", number=True),
        Column("AVAILABLE", number=True),
        Column("SUSPENDED", number=True, optional=True),
        Column("OVERDRAFT", number=True, optional=True),
    )
    row: list[Text | str] = [
        words.number(balance.valid_credits),
        show.noticed(balance.grace_credits, "yellow"),
        words.number(balance.allocated_credits),
        show.available(balance),
        show.noticed(balance.suspended_credits, "red"),
        show.overdraft(balance),
    ]
    return Rows(columns, [row])


class Fill:
    """A bar across the terminal: how much of what is valid is allocated."""

    def __init__(self, balance: Balance) -> None:
        self.balance = balance

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        said = self._said()
        width = max(10, min(FILL_WIDTH_MAX, options.max_width - len(said) - 2))
        drawn = fill(self.balance.allocated_credits, self.balance.valid_credits, width)
        yield show.Line(as_ascii(drawn) if options.ascii_only else drawn, said)

    def _said(self) -> str:
        balance = self.balance
        if balance.valid_credits <= 0:
            return "nothing is valid"
        return f"{words.percent(balance.allocated_credits, balance.valid_credits)} allocated"


_OFFERING_COLUMNS = (
    Column("OFFERING", folds=True),
    Column("CREDITS", number=True),
    Column(""),
    Column("SHARE", number=True),
    Column("UNITS", number=True),
    Column("ALLOCATIONS", number=True),
)


class Offerings:
    """The dearest first, each with its share of all that is allocated; what is suspended has a row below it."""

    def __init__(self, offerings: Sequence[OfferingUsage]) -> None:
        self.offerings = sorted(offerings, key=lambda each: (-each.enabled_credits, -each.suspended_credits))
        self.total = sum(each.enabled_credits for each in offerings)
        self.most = max(max(each.enabled_credits, each.suspended_credits) for each in offerings)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        width = 10 if options.max_width < 100 else 20 if options.max_width < 140 else 40
        rows = [row for each in self.offerings for row in self._rows(each, width)]
        if options.ascii_only:
            rows = [[*row[:2], as_ascii(row[2]), *row[3:]] for row in rows]
        yield Rows(_OFFERING_COLUMNS, rows)

    def _rows(self, usage: OfferingUsage, width: int) -> Iterator[list[Text]]:
        yield [
            Text(words.clean(names.id_of(usage.offering))),
            Text(words.number(usage.enabled_credits)),
            Text(bar(usage.enabled_credits, self.most, width), style="green"),
            Text(words.percent(usage.enabled_credits, self.total)),
            Text(words.number(usage.enabled_units)),
            Text(words.number(usage.enabled_allocations)),
        ]
        if usage.suspended_allocations:
            yield [
                Text("  suspended", style="red"),
                Text(f"({words.number(usage.suspended_credits)})", style="red"),
                Text(bar(usage.suspended_credits, self.most, width).replace("█", "▒"), style="red"),
                Text(),
                Text(words.number(usage.suspended_units), style="red"),
                Text(words.number(usage.suspended_allocations), style="red"),
            ]


_ENDING_COLUMNS = (
    Column("ENDS WITHIN"),
    Column("CREDITS", number=True),
    Column("RENEWED", number=True),
    Column("NOT RENEWED", number=True),
)


def _ending(ending: Sequence[EndingCredits]) -> list[RenderableType]:
    if not any(each.credits for each in ending):
        longest = max((each.within_days for each in ending), default=0)
        return [f"No valid credits end within {longest} days."]
    return [Rows(_ENDING_COLUMNS, [_ending_row(each) for each in ending])]


def _ending_row(ending: EndingCredits) -> list[Text | str]:
    return [
        f"{ending.within_days} days",
        words.number(ending.credits),
        words.number(ending.renewed_credits),
        show.noticed(ending.credits - ending.renewed_credits, "yellow"),
    ]


_SUBSCRIPTION_COLUMNS = (
    Column("SUBSCRIPTION", folds=True),
    Column("STATE"),
    Column("CREDITS", number=True),
    Column("STARTS"),
    Column("ENDS"),
    Column("CHANGES", folds=True),
    Column("RENEWED BY", folds=True),
)


def _subscriptions(usage: Usage) -> Rows:
    """The one that ends first comes first."""
    by_end = sorted(usage.subscriptions, key=lambda each: words.moment(each.end_time))
    return Rows(_SUBSCRIPTION_COLUMNS, [_subscription(each, usage.balance) for each in by_end])


def _subscription(subscription: SubscriptionUsage, balance: Balance) -> list[Text | str]:
    ending = subscription.state in (Subscription.ACTIVE, Subscription.GRACE)
    return [
        names.id_of(subscription.name),
        show.subscription_state(subscription),
        words.number(subscription.credits),
        words.date(subscription.start_time),
        words.date(subscription.end_time),
        words.relative(subscription_show.change_time(subscription), balance.as_of),
        names.id_of(subscription.renewal) or (Text("nothing", style="yellow") if ending else ""),
    ]
