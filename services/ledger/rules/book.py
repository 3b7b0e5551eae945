"""The book of one organization while one transaction has it open: what was read, and what is to be written.

The rules (settle, decide) read and change nothing but a book, so they are pure: the same book, calls and instant give
the same entries. What is large is read only when a rule asks for it: the rule then raises `NotLoaded`, and the caller
opens the book again with more in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from services.ledger.rules.answers import Answer, Balance
from services.ledger.rules.encoding import allocation_json, entry_digest, subscription_json
from services.ledger.rules.limits import CAUSES_LISTED_MAX
from services.ledger.rules.model import (
    Allocation,
    AllocationState,
    Entry,
    EntryKind,
    Figures,
    Organization,
    Subscription,
)
from services.ledger.rules.price import Offering


class Shelf(Enum):
    """The large parts of an organization."""

    SUSPENDED = auto()
    """Every SUSPENDED allocation."""
    HOLDING = auto()
    """Every ENABLED allocation that holds credits."""


class NotLoaded(Exception):
    """A rule needs a shelf that the book was opened without."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf.name)
        self.shelf = shelf


class Remembered(Struct, frozen=True):
    """A request id that was used: for what, and what was answered."""

    request_id: str
    meaning: bytes
    answer: Answer


class Moment(Struct, frozen=True):
    """When an entry takes effect and is recorded, and whose call it belongs to; time's own has no call."""

    effective_time: datetime
    recorded_time: datetime
    actor: str = ""
    request_id: str = ""


class Mark(Struct, frozen=True):
    """A point that the book can be put back to."""

    organization: Organization | None
    entry_count: int
    journal_length: int


@dataclass
class Book:
    organization: Organization | None
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    """Every one that is not over, and those that the calls name."""
    allocations: dict[str, Allocation] = field(default_factory=dict)
    """Those that the calls name, and the loaded shelves."""
    offerings: Mapping[str, Offering] = field(default_factory=dict)
    """Those that the calls name or the loaded allocations are of."""
    requests: dict[str, Remembered] = field(default_factory=dict)
    """Those that the calls name."""
    shelves: frozenset[Shelf] = frozenset()

    entries: list[Entry] = field(default_factory=list)
    """To be written, in order."""
    changed_subscriptions: set[str] = field(default_factory=set)
    changed_allocations: dict[str, Allocation | None] = field(default_factory=dict)
    """As each was when the book was opened; None for one that is new."""
    remembered: list[Remembered] = field(default_factory=list)
    """To be written."""
    _group_start: int = 0
    _journal: list[tuple[dict[str, Any], str, Any]] = field(default_factory=list)

    @property
    def state(self) -> Organization:
        """The organization, which the caller knows to exist."""
        assert self.organization is not None
        return self.organization

    def live_subscriptions(self) -> list[Subscription]:
        return [each for each in self.subscriptions.values() if not each.state.over]

    def renewal_of(self, subscription: str) -> Subscription | None:
        """The renewal of it that is not itself over."""
        renewals = (each for each in self.subscriptions.values() if each.renews == subscription and not each.state.over)
        return next(renewals, None)

    def suspended(self) -> list[Allocation]:
        """Every SUSPENDED allocation, in the order in which they resume."""
        if self.state.figures.suspended and Shelf.SUSPENDED not in self.shelves:
            raise NotLoaded(Shelf.SUSPENDED)
        found = [each for each in self.allocations.values() if each.state is AllocationState.SUSPENDED]
        return self._in_keeping_order(found)

    def holding(self) -> list[Allocation]:
        """Every ENABLED allocation that holds credits, in the order in which they are kept."""
        if self.state.figures.allocated and Shelf.HOLDING not in self.shelves:
            raise NotLoaded(Shelf.HOLDING)
        return self._in_keeping_order([each for each in self.allocations.values() if each.credits])

    def balance(self, as_of: datetime) -> Balance:
        state = self.state
        return Balance(state.organization, state.revision, as_of, state.figures)

    # What follows writes.

    def post(
        self,
        kind: EntryKind,
        moment: Moment,
        resource: str,
        after: Mapping[str, Any],
        figures: Figures,
        causes: Sequence[str] = (),
        detail: Mapping[str, Any] | None = None,
        opened: int = 0,
    ) -> None:
        """Appends an entry at the next revision; `figures` are those after it, `causes` are names, `opened` is by how
        many there are more allocations that are not DISABLED."""
        state = self.state
        self.entries.append(
            Entry(
                organization=state.organization,
                revision=state.revision + 1,
                kind=kind,
                resource=resource,
                effective_time=moment.effective_time,
                recorded_time=moment.recorded_time,
                actor=moment.actor,
                request_id=moment.request_id,
                causes=tuple(causes[:CAUSES_LISTED_MAX]),
                cause_count=len(causes),
                after=after,
                detail=detail or {},
                before=state.figures,
                figures=figures,
            )
        )
        self.organization = replace(
            state,
            revision=state.revision + 1,
            figures=figures,
            open_allocations=state.open_allocations + opened,
        )

    def post_allocation(
        self, kind: EntryKind, moment: Moment, allocation: Allocation, causes: Sequence[str] = ()
    ) -> Allocation:
        """Puts the allocation as it is to be and posts its entry; the figures follow from the difference."""
        old = self.allocations.get(allocation.allocation)
        old_held = (old.credits, old.suspended_credits) if old else (0, 0)
        was_open = old is not None and old.state is not AllocationState.DISABLED
        is_open = allocation.state is not AllocationState.DISABLED
        revision = self.state.revision + 1
        new = replace(
            allocation,
            changed_revision=revision,
            update_time=moment.effective_time,
            enabled_revision=revision if is_open and not was_open else allocation.enabled_revision,
        )
        figures = replace(
            self.state.figures,
            allocated=self.state.figures.allocated + new.credits - old_held[0],
            suspended=self.state.figures.suspended + new.suspended_credits - old_held[1],
        )
        content = self._allocation_content(new)
        self.post(kind, moment, new.allocation, content, figures, causes, opened=is_open - was_open)
        self._put(self.allocations, new.allocation, new)
        return new

    def post_subscription(
        self,
        kind: EntryKind,
        moment: Moment,
        subscription: Subscription,
        detail: Mapping[str, Any] | None = None,
    ) -> Subscription:
        """Puts the subscription as it is to be and posts its entry; the figures follow from the difference."""
        old = self.subscriptions.get(subscription.subscription)
        new = subscription
        if subscription != old:
            new = replace(subscription, changed_revision=self.state.revision + 1, update_time=moment.effective_time)
            self._put(self.subscriptions, new.subscription, new)
        figures = self.figures_with(new, old)
        self.post(kind, moment, new.subscription, subscription_json(new), figures, detail=detail)
        return new

    def figures_with(self, new: Subscription, old: Subscription | None) -> Figures:
        """The figures when `new` takes the place of `old`."""
        figures = self.state.figures
        return replace(
            figures,
            valid=figures.valid + new.valid - (old.valid if old else 0),
            grace=figures.grace + new.grace - (old.grace if old else 0),
        )

    def remember(self, remembered: Remembered) -> None:
        self.requests[remembered.request_id] = remembered
        self.remembered.append(remembered)

    def has_posted(self) -> bool:
        """Whether the open call or instant has written anything."""
        return len(self.entries) > self._group_start

    def close(self) -> None:
        """Ends the open call or instant: marks its last entry, chains the digests, keeps what changed."""
        if self.has_posted():
            digest = self.state.digest
            for index in range(self._group_start, len(self.entries)):
                last = index == len(self.entries) - 1
                digest = self._digest(self.entries[index], digest, last=last)
                self.entries[index] = replace(self.entries[index], last=last, digest=digest)
            self.organization = replace(self.state, digest=digest)
            self._group_start = len(self.entries)
        for shelf, key, old in self._journal:
            if shelf is self.subscriptions:
                self.changed_subscriptions.add(key)
            else:
                self.changed_allocations.setdefault(key, old)
        self._journal.clear()

    def hand_over(self) -> list[Entry]:
        """The entries of what is closed; from here on it is as if they had been written."""
        handed, self.entries, self._group_start = self.entries, [], 0
        return handed

    def mark(self) -> Mark:
        return Mark(self.organization, len(self.entries), len(self._journal))

    def back_to(self, mark: Mark) -> None:
        """Undoes all since the mark, which was made in the open call."""
        self.organization = mark.organization
        del self.entries[mark.entry_count :]
        for shelf, key, old in reversed(self._journal[mark.journal_length :]):
            if old is None:
                del shelf[key]
            else:
                shelf[key] = old
        del self._journal[mark.journal_length :]

    def _in_keeping_order(self, allocations: list[Allocation]) -> list[Allocation]:
        """What is kept and resumed first comes first. Given are some of the book's, in the order that it has."""
        return sorted(allocations, key=lambda each: each.keeping_order)

    def _allocation_content(self, allocation: Allocation) -> Mapping[str, Any]:
        return allocation_json(allocation)

    def _digest(self, entry: Entry, digest_before: bytes, *, last: bool) -> bytes:
        return entry_digest(entry, digest_before, last=last)

    def _put(self, shelf: dict[str, Any], key: str, value: Any) -> None:
        self._journal.append((shelf, key, shelf.get(key)))
        shelf[key] = value
