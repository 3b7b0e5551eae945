"""Faults for the running service, one at a time; each is one that a hurried change could well bring."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import pytest

from services.ledger.rules.book import Book
from services.ledger.rules.model import Allocation, Figures, Organization

Fault = Callable[[pytest.MonkeyPatch], None]


def grace_is_spendable(patch: pytest.MonkeyPatch) -> None:
    """Credits in grace let one enable more."""
    patch.setattr(Figures, "spendable", property(lambda self: self.coverage))


def the_last_comes_back_first(patch: pytest.MonkeyPatch) -> None:
    """Suspended allocations resume in the wrong order."""
    in_order = Book.suspended

    def backwards(self: Book) -> list[Allocation]:
        return in_order(self)[::-1]

    patch.setattr(Book, "suspended", backwards)


def a_repetition_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A request id is no use."""
    patch.setattr(Book, "remember", lambda self, remembered: None)


def a_microsecond_late(patch: pytest.MonkeyPatch) -> None:
    """What falls due at this very instant is not settled yet."""
    is_due = Organization.is_due

    def late(self: Organization, now: datetime) -> bool:
        return is_due(self, now - timedelta(microseconds=1))

    patch.setattr(Organization, "is_due", late)


FAULTS: Final[tuple[Fault, ...]] = (
    grace_is_spendable,
    the_last_comes_back_first,
    a_repetition_is_forgotten,
    a_microsecond_late,
)
