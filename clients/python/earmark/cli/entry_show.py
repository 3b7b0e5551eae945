"""An entry of the ledger in words, on one line."""

from collections.abc import Iterator

from rich.text import Text

from earmark import names
from earmark.cli import show, words
from earmark.v1.resources_pb2 import Entry

_STYLES = {
    Entry.ALLOCATION_SUSPENDED: "red",
    Entry.ALLOCATION_RESUMED: "green",
    Entry.SUBSCRIPTION_ENDED: "yellow",
    Entry.SUBSCRIPTION_EXPIRED: "yellow",
    Entry.SUBSCRIPTION_ENDING_SOON: "yellow",
    Entry.THRESHOLD_CROSSED: "yellow",
}
INDENT = 4


def line(entry: Entry, *, everywhere: bool = False) -> show.Line:
    """`2027-01-31 09:00:00Z  #12  allocation enabled  endpoint-sensor  100 units  +2,000 credits  ...`."""
    kind = words.enum_name(Entry.Kind, entry.kind).lower().replace("_", " ")
    start: list[Text | str] = [Text(words.second(entry.effective_time), style="dim")]
    if everywhere:
        start.append(names.organization_of(entry.name))
    return show.Line(
        *start,
        f"#{entry.revision}",
        Text(kind, style=_STYLES.get(entry.kind, "bold")),
        *_subject(entry),
        *_deltas(entry),
        f"{words.number(entry.balance.available_credits)} available",
        *_source(entry),
        indent=INDENT,
    )


def _subject(entry: Entry) -> Iterator[str]:
    """What it is about, and how that is now."""
    if not entry.HasField("organization"):
        yield names.id_of(entry.resource)
    if entry.HasField("allocation"):
        yield words.plural(entry.allocation.units, "unit")
    if entry.HasField("subscription"):
        term = entry.subscription
        yield words.plural(term.credits, "credit")
        yield f"{words.date(term.start_time)} to {words.date(term.end_time)}"
    if entry.threshold_percent:
        yield f"{entry.threshold_percent} % of the valid credits are allocated"
    if entry.HasField("ending_soon"):
        soon = entry.ending_soon
        what = words.enum_name(type(soon).Ending, soon.ending).lower()
        yield f"{words.plural(soon.days, 'day')} of {what} left, {'renewed' if soon.renewed else 'not renewed'}"


def _deltas(entry: Entry) -> Iterator[str]:
    deltas = (
        (entry.valid_delta, "valid"),
        (entry.grace_delta, "in grace"),
        (entry.allocated_delta, "credits"),
        (entry.suspended_delta, "suspended"),
    )
    return (f"{words.signed(delta)} {noun}" for delta, noun in deltas if delta)


def _source(entry: Entry) -> Iterator[str]:
    if entry.actor:
        yield f"by {entry.actor}"
    if entry.causes:
        more = entry.cause_count - len(entry.causes)
        rest = f" and {words.number(more)} more" if more > 0 else ""
        yield f"because of {', '.join(names.id_of(cause) for cause in entry.causes)}{rest}"
