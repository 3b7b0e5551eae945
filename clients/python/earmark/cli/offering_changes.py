"""What would make a catalogue say what a file says."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from rich.text import Text

from earmark import names
from earmark.cli import offering_show, show
from earmark.cli.offering_file import OFFERINGS_MAX, TEXTS, Row
from earmark.messages import MessageClient, price
from earmark.v1.resources_pb2 import Offering, Price

PRICE_VERSIONS_MAX: Final = 100
CREATED: Final = "created"
UPDATED: Final = "updated"


@dataclass(frozen=True)
class Change:
    """A row that the catalogue does not say yet. before: None: it is new."""

    row: Row
    before: Offering | None
    texts: Mapping[str, str]
    price: Price | None

    @property
    def verb(self) -> str:
        return UPDATED if self.before else CREATED

    async def make(self, client: MessageClient, *, validate_only: bool = False) -> Offering:
        """Raises EarmarkError, ETAG_MISMATCH where the offering is no longer as it was."""
        fields: dict[str, Any] = {**self.texts, "price": self.price, "validate_only": validate_only}
        if not validate_only:
            fields["request_id"] = self._request_id()
        if self.before is None:
            return await client.create_offering(self.row.offering, **fields)
        return await client.update_offering(self.row.offering, etag=self.before.etag, **fields)

    def _request_id(self) -> str:
        """The same whenever the same change is made to the same offering: one that is still under way is not made
        again."""
        sent = {
            "offering": self.row.offering,
            "etag": self.before.etag if self.before else "",
            "texts": dict(self.texts),
            "price": self.price.SerializeToString(deterministic=True).hex() if self.price else "",
        }
        return f"load-{hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest()[:40]}"

    def line(self) -> show.Line:
        """`updated  data  0.06 credits per GB (was 0.05 credits per GB)`."""
        style = "yellow" if self.before else "green"
        return show.Line(Text(self.verb, style=style), self.row.offering, *self._told(), indent=4)

    def _told(self) -> Iterator[str]:
        if self.price:
            was = f" (was {_priced(self.before.price, self.before.unit)})" if self.before else ""
            yield f"{_priced(self.price, self.row.unit)}{was}"
        for name, text in self.texts.items():
            if self.before:
                yield f"{name.replace('_', ' ')} {text!r} (was {getattr(self.before, name)!r})"


def find(rows: Sequence[Row], present: Mapping[str, Offering]) -> list[Change]:
    """In the order of the rows. What is in the catalogue and not in the file stays as it is."""
    return [change for row in rows if (change := _change(row, present.get(row.offering)))]


def problems(changes: Sequence[Change], present: Mapping[str, Offering]) -> Iterator[str]:
    """What the catalogue has no room for."""
    count = len(present) + sum(change.before is None for change in changes)
    if count > OFFERINGS_MAX:
        yield f"There would be {count:,} offerings in the catalogue; it holds {OFFERINGS_MAX:,}."
    for change in changes:
        if change.before and change.price and len(change.before.prices) >= PRICE_VERSIONS_MAX:
            yield f"Line {change.row.line}: the price has {PRICE_VERSIONS_MAX} versions already, and may have no more."


def _change(row: Row, before: Offering | None) -> Change | None:
    wanted = price(row.credits_per_block, block_units=row.block_units, max_credits=row.max_credits)
    if before is None:
        return Change(row, None, {name: getattr(row, name) for name in TEXTS}, wanted)
    texts = {name: getattr(row, name) for name in TEXTS if getattr(row, name) != getattr(before, name)}
    same_price = _terms(before.price) == _terms(wanted)
    if same_price and not texts:
        return None
    return Change(row, before, texts, None if same_price else wanted)


def _terms(value: Price) -> tuple[Decimal, int, int | None]:
    at_most = value.max_credits if value.HasField("max_credits") else None
    return Decimal(value.credits_per_block), value.block_units or 1, at_most


def _priced(value: Price, unit: str) -> str:
    """`20 credits per deployment`, `1,000 credits per 500 servers, at most 8,000`."""
    credits, per, at_most = offering_show.price_cells(value, unit)
    return f"{credits} credits per {per}" + (f", at most {at_most}" if at_most else "")


def ids(changes: Sequence[Change], verb: str) -> list[str]:
    return [change.row.offering for change in changes if change.verb == verb]


def by_id(offerings: Sequence[Offering]) -> dict[str, Offering]:
    return {names.id_of(each.name): each for each in offerings}
