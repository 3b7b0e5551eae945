"""What switching offerings on would take. Pure; allocates nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.ledger.rules import names
from services.ledger.rules.limits import CREDITS_MAX
from services.ledger.rules.model import Figures
from services.ledger.rules.price import Offering
from services.ledger.rules.refusal import limit_exceeded, offering_not_found


@dataclass(frozen=True, slots=True)
class Line:
    """So many units of an offering: an allocation of its own."""

    offering: str
    units: int


@dataclass(frozen=True, slots=True)
class EstimatedLine:
    line: Line
    credits: int
    price_version: int
    retired: bool


def estimate(lines: Sequence[Line], offerings: Mapping[str, Offering], now: datetime) -> list[EstimatedLine]:
    """Each line at the price in force. Raises Refused, naming the line."""
    return [_estimated(index, line, offerings.get(line.offering), now) for index, line in enumerate(lines)]


def recommended_purchase(required: int, figures: Figures) -> int:
    """Buying so many is always enough for what is required and for all that is suspended to come back."""
    return max(0, required + figures.suspended - figures.available)


def _estimated(index: int, line: Line, offering: Offering | None, now: datetime) -> EstimatedLine:
    if offering is None:
        raise offering_not_found(line.offering).at_line(index)
    price = offering.price_at(now)
    credits = price.credits(line.units)
    if credits > CREDITS_MAX:
        name = names.offering_name(line.offering)
        raise limit_exceeded("credits of one allocation", credits, CREDITS_MAX, name).at_line(index)
    return EstimatedLine(line, credits, price.version, offering.retired)
