"""The final ledger, as the checks look at it."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from tests.chaos.checks.values import micros
from tests.chaos.history import Entry

Key = tuple[str, str, str]
"""Whose an entry is: (organization, request id, actor); the actor only where there is no request id."""

Resource = tuple[str, str]
"""(SUBSCRIPTION, ALLOCATION or ORGANIZATION, id)"""


def key_of(organization: str, request_id: str, actor: str) -> Key:
    return (organization, request_id, "" if request_id else actor)


def resource_of(entry: Entry) -> Resource:
    return (entry.kind.partition("_")[0], entry.resource)


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive entries of one call or settled instant, up to one that says that it is the last."""

    entries: Sequence[Entry]

    @property
    def first(self) -> Entry:
        return self.entries[0]

    @property
    def last(self) -> Entry:
        return self.entries[-1]

    @property
    def key(self) -> Key:
        return key_of(self.first.organization, self.first.request_id, self.first.actor)

    @property
    def by_time(self) -> bool:
        """Nobody asked."""
        return is_by_time(self.first)

    @property
    def words(self) -> str:
        return f"{self.first.organization}, revisions {self.first.revision} to {self.last.revision}"


def is_by_time(entry: Entry) -> bool:
    return not entry.actor and not entry.request_id


@dataclass
class Ledger:
    """That of one organization, in the order of its revisions."""

    organization: str
    entries: list[Entry]
    runs: list[Run] = field(init=False)
    by_revision: dict[int, int] = field(init=False)
    """The index of the entry, of the last of those with that number."""
    effective: list[int] = field(init=False)
    """Of each entry, in microseconds."""
    histories: dict[Resource, tuple[list[int], list[Entry]]] = field(init=False)
    """Of each resource the entries about it, and their revisions."""

    def __post_init__(self) -> None:
        self.runs = list(_runs(self.entries))
        self.by_revision = {entry.revision: index for index, entry in enumerate(self.entries)}
        self.effective = [micros(entry.effective_time) for entry in self.entries]
        self.histories = defaultdict(lambda: ([], []))
        for entry in self.entries:
            revisions, entries = self.histories[resource_of(entry)]
            revisions.append(entry.revision)
            entries.append(entry)

    @property
    def last_revision(self) -> int:
        return self.entries[-1].revision if self.entries else 0

    def at(self, revision: int) -> Entry | None:
        """The entry of that number."""
        index = self.by_revision.get(revision)
        return None if index is None else self.entries[index]

    def about(self, resource: Resource, revision: int) -> Entry | None:
        """The newest entry about it, up to and with a revision."""
        if resource not in self.histories:
            return None
        revisions, entries = self.histories[resource]
        index = bisect_right(revisions, revision)
        return entries[index - 1] if index else None

    def lapsed_after(self, revision: int, instant_micros: int) -> Entry | None:
        """The next entry, where it is one of time that had come due by then: whoever looked then was to see it."""
        following = self.at(revision + 1)
        if following is None or not is_by_time(following):
            return None
        return following if self.effective[self.by_revision[revision + 1]] <= instant_micros else None


def _runs(entries: Iterable[Entry]) -> Iterable[Run]:
    for _, same in groupby(entries, lambda entry: (entry.actor, entry.request_id)):
        run: list[Entry] = []
        for entry in same:
            run.append(entry)
            if entry.last:
                yield Run(run)
                run = []
        if run:
            yield Run(run)


def ledgers_of(entries: Iterable[Entry]) -> dict[str, Ledger]:
    """By organization."""
    of: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        of[entry.organization].append(entry)
    return {name: Ledger(name, sorted(some, key=lambda entry: entry.revision)) for name, some in of.items()}
