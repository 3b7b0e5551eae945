"""What the clients are told: whom to call, how many of them there are, and what chance is to choose."""

import json
import random
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from earmark import Price


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a load is made from. The same plan makes the same choices, as far as the answers are the same."""

    addresses: list[str]
    """Of the allocators, each `host:port`."""
    redis_url: str
    notice_prefix: str
    seed: int
    folder: str
    """An existing one, where the histories go."""
    organizations: int = 24
    callers: int = 12
    """Half of them use the SDK."""
    calls_per_second: float = 220.0
    """Of all callers together, while everything is well."""
    silence_seconds: float = 12.0
    """After which a watcher takes its connection for dead: more than the allocators' heartbeat."""

    @staticmethod
    def read(text: str) -> "Plan":
        """Raises ValueError or TypeError where it is none."""
        return Plan(**json.loads(text))

    @property
    def path(self) -> Path:
        return Path(self.folder)

    @property
    def organization_ids(self) -> list[str]:
        return [f"o{number:02}" for number in range(1, self.organizations + 1)]

    def chance(self, name: str) -> random.Random:
        """Of whoever has this name."""
        return random.Random(f"{self.seed}:{name}")


@dataclass(frozen=True, slots=True)
class Offered:
    """An offering, and how many units of it somebody may want."""

    price: Price
    units_max: int


CATALOG: Final = {
    "app": Offered(Price(credits_per_block=Decimal(10)), 30),
    "sensor": Offered(Price(credits_per_block=Decimal("2.5")), 100),
    "storage": Offered(Price(credits_per_block=Decimal("0.05"), block_units=10, max_credits=60), 20_000),
    "suite": Offered(Price(credits_per_block=Decimal(100), max_credits=250), 4),
    "beacon": Offered(Price(credits_per_block=Decimal(0)), 100),
}
PLACES: Final = 3
"""Allocations of each offering that an organization may have."""
BASE: Final = "base"
"""The subscription of each organization that outlives the campaign."""
BASE_CREDITS: Final = (100, 250)
"""Between these. All that may be wanted needs several times as many."""


def allocation_ids() -> list[str]:
    return [f"{offering}~{place}" for offering in CATALOG for place in range(1, PLACES + 1)]
