"""What units cost: exact decimals in, whole credits out."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Price:
    """One version of an offering's price, in force from `effective_time` until a later one is."""

    version: int
    effective_time: datetime
    credits_per_block: Decimal
    block_units: int
    max_credits: int | None

    def credits(self, units: int) -> int:
        """The whole credits that `units` of one allocation hold; 0 for 0 units."""
        blocks = -(-units // self.block_units)
        numerator, denominator = self.credits_per_block.as_integer_ratio()
        cost = -(-blocks * numerator // denominator)
        return cost if self.max_credits is None else min(cost, self.max_credits)

    def same_terms(self, other: "Price") -> bool:
        """Whether both ask the same credits for any number of units, from whatever instant on."""
        return (self.credits_per_block, self.block_units, self.max_credits) == (
            other.credits_per_block,
            other.block_units,
            other.max_credits,
        )


@dataclass(frozen=True, slots=True)
class Offering:
    """Something that can be switched on, with every version of its price."""

    offering: str
    display_name: str
    solution: str
    unit: str
    retired: bool
    prices: tuple[Price, ...]
    """By version; the first was in force when the offering was created."""
    changes: int
    """How often it was changed, for the etag."""
    create_time: datetime
    update_time: datetime

    def price_at(self, instant: datetime) -> Price:
        """The version in force: the newest of those with the latest effective time that is not after `instant`."""
        if len(self.prices) == 1:
            return self.prices[0]
        begun = [price for price in self.prices if price.effective_time <= instant]
        return max(begun or self.prices[:1], key=lambda price: (price.effective_time, price.version))

    def price_version(self, version: int) -> Price:
        """The price with that number."""
        return self.prices[version - 1]

    @property
    def etag(self) -> str:
        return str(self.changes)
