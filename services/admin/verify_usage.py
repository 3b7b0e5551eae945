"""The sums of usage, by offering and by hour, as the entries come to; and the rows held against them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from services.admin.verify_problems import Problems, Row, instant_text

SUMS: Final = (
    "enabled_allocations",
    "enabled_units",
    "enabled_credits",
    "free_units",
    "suspended_allocations",
    "suspended_units",
    "suspended_credits",
)
NOTHING: Final = (0,) * len(SUMS)


@dataclass
class Usage:
    up_to: int | None = None
    """The revision up to which the rows are kept; None: all."""
    offerings: dict[str, list[int]] = field(default_factory=dict)
    """By offering: a number for each of SUMS."""
    hours: dict[datetime, dict[str, Any]] = field(default_factory=dict)
    """By the hour's start: its columns."""

    def counts(self, revision: int) -> bool:
        """Whether an entry is in the sums."""
        return self.up_to is None or revision <= self.up_to

    def count(self, allocation: Row | None, sign: int) -> None:
        """Adds, or takes away, what one allocation holds."""
        if allocation is None or allocation["state"] == "DISABLED":
            return
        units, credits = allocation["units"], allocation["credits"]
        if allocation["state"] == "ENABLED":
            held = (1, units, credits, 0 if credits else units, 0, 0, 0)
        else:
            held = (0, 0, 0, 0, 1, units, allocation["suspended_credits"])
        sums = self.offerings.setdefault(allocation["offering"], list(NOTHING))
        for index, value in enumerate(held):
            sums[index] += sign * value

    def count_hour(self, row: Row, valid: int, allocated: int) -> None:
        """An entry's hour, given the figures after it; a peak counts at the end of a call or settled instant."""
        start = row["effective_time"].replace(minute=0, second=0, microsecond=0)
        hour = self.hours.setdefault(
            start,
            {
                "peak_allocated_credits": 0,
                "begins_at_start": row["effective_time"] == start,
                "first_revision": row["revision"],
            },
        )
        hour |= {"valid_credits": valid, "allocated_credits": allocated, "last_revision": row["revision"]}
        if row["last"]:
            hour["peak_allocated_credits"] = max(hour["peak_allocated_credits"], allocated)

    def compare_offering(self, problems: Problems, row: Row) -> None:
        """A row that says nothing is as good as none."""
        expected = self.offerings.pop(row["offering"], NOTHING)
        for column, value in zip(SUMS, expected, strict=True):
            problems.differs(_of_offering(row["offering"]), column, row[column], value)

    def compare_hour(self, problems: Problems, row: Row) -> None:
        expected = self.hours.pop(row["hour"], None)
        if expected is None:
            problems.add(_of_hour(row["hour"]), "has a row, but nothing took effect in it")
            return
        for column, value in expected.items():
            problems.differs(_of_hour(row["hour"]), column, row[column], value)

    def missing(self, problems: Problems) -> None:
        """Of what was not compared: what should have a row."""
        for offering, sums in sorted(self.offerings.items()):
            if any(sums):
                problems.add(_of_offering(offering), "has entries, but no row")
        for hour in sorted(self.hours):
            problems.add(_of_hour(hour), "has entries, but no row")


def _of_offering(offering: str) -> str:
    return f"usage of offerings/{offering}"


def _of_hour(hour: datetime) -> str:
    return f"usage in the hour from {instant_text(hour)}"
