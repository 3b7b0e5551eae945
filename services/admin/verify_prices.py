"""What units cost by the stored prices: credits that an entry says are held must follow from them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from services.admin.verify_problems import Problems, Row


@dataclass(frozen=True, slots=True)
class Terms:
    """One version of an offering's price."""

    effective_time: datetime
    numerator: int
    denominator: int
    """Credits for a block of units: numerator / denominator."""
    block_units: int
    max_credits: int | None

    def credits(self, units: int) -> int:
        """Blocks that are begun count whole, and so does a credit that is begun."""
        blocks, begun = divmod(units, self.block_units)
        credits, rest = divmod((blocks + bool(begun)) * self.numerator, self.denominator)
        credits += bool(rest)
        return credits if self.max_credits is None else min(credits, self.max_credits)


@dataclass(frozen=True, slots=True)
class Prices:
    """Every version of every offering's price. Versions are only ever added."""

    versions: dict[tuple[str, int], Terms] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Prices":
        """From the rows of the catalogue's table."""
        versions = {}
        for row in rows:
            price = Fraction(row["credits_per_block"])
            key = row["offering"], row["version"]
            versions[key] = Terms(
                row["effective_time"], price.numerator, price.denominator, row["block_units"], row["max_credits"]
            )
        return cls(versions)

    def check(self, problems: Problems, where: str, row: Row, before: Row | None, after: Row) -> None:
        """An allocation's entry: the price version that it names, and the credits that follow."""
        state, version = after["state"], after["price_version"]
        terms = self.versions.get((after["offering"], version))
        if terms is None:
            problems.add(where, f"offerings/{after['offering']} has no price version {version}")
            return
        credits = terms.credits(after["units"])
        problems.differs(where, "after.credits", after["credits"], credits if state == "ENABLED" else 0)
        suspended = credits if state == "SUSPENDED" else 0
        problems.differs(where, "after.suspended_credits", after["suspended_credits"], suspended)
        if before is not None:
            problems.differs(where, "after.offering", after["offering"], before["offering"])
        if before is not None and before["state"] != "DISABLED":
            problems.differs(where, "after.price_version", version, before["price_version"])
        elif version > 1 and row["effective_time"] < terms.effective_time:
            problems.add(where, f"price version {version} takes effect only at {terms.effective_time}")
