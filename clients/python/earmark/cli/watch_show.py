"""What a watch brings, in lines."""

from collections.abc import Iterator

from rich.text import Text

from earmark import names
from earmark.cli import entry_show, show, words
from earmark.v1.resources_pb2 import Balance
from earmark.v1.usage_service_pb2 import UsageSnapshot, WatchUsageResponse


def lines(message: WatchUsageResponse) -> Iterator[show.Line]:
    """None for a heartbeat."""
    if message.HasField("snapshot"):
        yield _snapshot(message.snapshot)
    for entry in message.entries.entries:
        yield entry_show.line(entry)


def _snapshot(snapshot: UsageSnapshot) -> show.Line:
    balance = snapshot.balance
    return show.Line(
        *_moment(balance),
        Text("now", style="bold"),
        *show.balance(balance).pieces,
        words.plural(len(snapshot.offerings), "offering"),
        indent=entry_show.INDENT,
    )


def balance(value: Balance) -> show.Line:
    """`2027-01-31 09:00:00Z  #12  my-organization  valid 10,000  ...`."""
    return show.Line(
        *_moment(value),
        Text(words.clean(names.id_of(value.organization)), style="bold"),
        *show.balance(value).pieces,
        indent=entry_show.INDENT,
    )


def _moment(value: Balance) -> list[Text | str]:
    return [Text(words.second(value.as_of), style="dim"), f"#{value.revision}"]
