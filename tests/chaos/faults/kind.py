"""What every fault is made of."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import Any, Final

from tests.chaos.history import Fault
from tests.chaos.world import World

Chances = Mapping[str, Any]
"""What the seed decided about one fault, by name: numbers, names and booleans."""

CATCH_SECONDS: Final = 6.0
"""So long is waited for a commit, or a piece, that a fault is to hit."""


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    group: str
    """Even a short campaign has one of each."""
    do: Callable[[World, Chances], Awaitable[Fault]]
    """Does it, waits, mends it, and says what it hit."""
    draw: Callable[[Random], dict[str, Any]]
    goes_beside: bool = False
    """Whether it may go on while another fault happens."""


class Doing:
    """One fault as it is done."""

    def __init__(self, kind: str, target: str, *disturbs: str) -> None:
        self._kind = kind
        self._target = target
        self._disturbs = list(disturbs)
        self._began = monotonic()

    def began(self) -> None:
        """Until now it only waited for its moment."""
        self._began = monotonic()

    def ended(self, hits: int, proof: str) -> Fault:
        return Fault(self._kind, self._target, self._began, monotonic(), self._disturbs, hits, proof)

    def missed(self, why: str) -> Fault:
        return self.ended(0, why)


def seconds_between(random: Random, least: float, most: float) -> float:
    return round(random.uniform(least, most), 2)
