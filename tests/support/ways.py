"""The two ways in which a small call is carried out, as a relay sees them."""

from enum import Enum
from typing import Final

import pytest

from services.ledger import lane
from tests.support.proxy import Fate, Proxy, Trap

GUARDED: Final = "WITH locked"
"""The statement that locks, writes and commits what was decided without a lock."""


class Way(Enum):
    TOGETHER = "together"
    """Decided without a lock; with whatever else waits."""
    ALONE = "alone"
    """In a transaction of its own, under the lock from the beginning."""

    def go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on calls go this way, as far as they can."""
        if self is Way.ALONE:
            monkeypatch.setattr(lane, "TOGETHER_OPERATIONS_MAX", 0)

    def at_commit(self, proxy: Proxy, fate: Fate, *, for_good: bool = False) -> Trap:
        """A trap at the statement that commits."""
        if self is Way.ALONE:
            return proxy.at("COMMIT", fate, for_good=for_good)
        return proxy.at(GUARDED, fate, for_good=for_good, run=True)
