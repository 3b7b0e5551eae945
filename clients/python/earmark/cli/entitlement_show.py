"""Whether something may be used, in words."""

from rich.console import RenderableType
from rich.text import Text

from earmark import names
from earmark.cli import show, words
from earmark.v1.allocation_service_pb2 import Entitlement

_WORDS = {
    Entitlement.ENTITLED: ("may be used", "green"),
    Entitlement.IN_GRACE: ("may be used, carried by grace", "yellow"),
    Entitlement.SUSPENDED: ("is suspended", "red"),
    Entitlement.NOT_ENABLED: ("is not switched on", "red"),
}


def found(target: str, entitlement: Entitlement) -> list[RenderableType]:
    """`endpoint-sensor may be used: 100 units, until 2027-01-31 09:00:00Z (in 29 days)`, as far as it is known."""
    said, style = _WORDS.get(entitlement.state, (words.enum_name(Entitlement.State, entitlement.state), ""))
    pieces: list[Text | str] = [Text.assemble(words.clean(names.id_of(target)), " ", (said, style))]
    if entitlement.units:
        pieces.append(words.plural(entitlement.units, "unit"))
    if entitlement.HasField("covered_until"):
        pieces.append(f"covered until {words.instant(entitlement.covered_until, entitlement.as_of)}")
    return [show.Line(*pieces)]
