"""What was measured: of each key the values of all rounds, and what is to be said beside it."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass
class Figures:
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    details: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    """What one number does not say: by table, by process."""
    failures: list[str] = field(default_factory=list)
    """Rows that could not be measured, and why."""

    def add(self, measured: Mapping[str, float]) -> None:
        for key, value in measured.items():
            self.values[key].append(value)

    def median(self, key: str) -> float | None:
        found = self.values.get(key)
        return median(found) if found else None

    def known(self, key: str) -> float:
        """The median. Raises KeyError if it was not measured."""
        found = self.median(key)
        if found is None:
            raise KeyError(key)
        return found

    def last(self, key: str) -> float | None:
        """Of the newest round."""
        found = self.values.get(key)
        return found[-1] if found else None

    def as_json(self) -> dict[str, Any]:
        return {
            key: {
                "median": rounded(median(found)),
                "min": rounded(min(found)),
                "max": rounded(max(found)),
                "rounds": len(found),
                **self.details.get(key, {}),
            }
            for key, found in self.values.items()
        }


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def rounded(value: float) -> float:
    """To four figures, but never coarser than whole numbers."""
    if value == 0:
        return 0
    places = max(0, 3 - math.floor(math.log10(abs(value))))
    return round(value, places) if places else round(value)
