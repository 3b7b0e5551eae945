"""Which faults a campaign has, in which order and how hard: all of it follows from the seed, nothing from the clock."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from tests.chaos.faults import Kind

PAUSE_SECONDS: Final = (0.3, 1.2)
BESIDE: Final = 0.25
"""So often something else goes on at the same time."""


@dataclass(frozen=True, slots=True)
class Step:
    """One fault to come."""

    kind: Kind
    chances: Mapping[str, Any]
    pause_seconds: float
    """Before it: the system has so long to itself."""
    beside: "Step | None" = None
    """A fault of the network that begins at the same time."""


def schedule(seed: int, kinds: Sequence[Kind]) -> Iterator[Step]:
    """Without an end, unless there are no kinds.

    The first faults are one of each group, then comes every other kind once; then all, again and again, each time in
    another order: so the beginning of a long campaign is a short campaign.
    """
    random = Random(seed)
    yield from _steps(random, _first_round(random, kinds), kinds)
    while kinds:
        yield from _steps(random, _shuffled(random, kinds), kinds)


def _first_round(random: Random, kinds: Sequence[Kind]) -> list[Kind]:
    shuffled = _shuffled(random, kinds)
    first = list({kind.group: kind for kind in shuffled}.values())
    return [*_shuffled(random, first), *(kind for kind in shuffled if kind not in first)]


def _shuffled(random: Random, kinds: Sequence[Kind]) -> list[Kind]:
    return random.sample(kinds, len(kinds))


def _steps(random: Random, order: Sequence[Kind], kinds: Sequence[Kind]) -> Iterator[Step]:
    quiet = [kind for kind in kinds if kind.goes_beside]
    for kind in order:
        beside = None
        if random.random() < BESIDE and quiet and not kind.name.endswith("callers") and not kind.goes_beside:
            other = random.choice(quiet)
            beside = Step(other, other.draw(random), 0.0)
        yield Step(kind, kind.draw(random), round(random.uniform(*PAUSE_SECONDS), 2), beside)
