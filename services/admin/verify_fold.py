"""The fold over an organization's entries, in revision order: what each entry should be, by those before it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

Row = Mapping[str, Any]

PROBLEMS_NAMED_MAX: Final = 50
"""Of one organization: a single altered entry can make all that follow look wrong."""
PERCENTS: Final = (75, 90, 100)
ARMED_AGAIN_BELOW: Final = 5
FIGURES: Final = ("valid", "grace", "allocated", "suspended")
COUNTED: Final = {
    ("SUBSCRIPTION", "ACTIVE"): ("valid", "credits"),
    ("SUBSCRIPTION", "GRACE"): ("grace", "credits"),
    ("ALLOCATION", "ENABLED"): ("allocated", "credits"),
    ("ALLOCATION", "SUSPENDED"): ("suspended", "suspended_credits"),
}
"""What a resource in a state adds to which figure."""
COLLECTIONS: Final = {"SUBSCRIPTION": "subscriptions", "ALLOCATION": "allocations"}


@dataclass
class Problems:
    organization: str
    first: list[str] = field(default_factory=list)
    total: int = 0

    def add(self, where: str, what: str) -> None:
        self.total += 1
        if self.total <= PROBLEMS_NAMED_MAX:
            self.first.append(f"organizations/{self.organization} {where}: {what}")

    def differs(self, where: str, what: str, present: object, expected: object) -> None:
        if present != expected:
            self.add(where, f"{what} is {_shown(present)}, should be {_shown(expected)}")

    def named(self) -> list[str]:
        more = self.total - len(self.first)
        return [*self.first, *([f"organizations/{self.organization}: {more} more problems"] if more else [])]


@dataclass
class Fold:
    """What the entries so far come to."""

    organization: str
    problems: Problems = field(init=False)
    entries: int = 0
    newest: Row | None = None
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIGURES, 0))
    overdraft: tuple[int, bool] = (0, False)
    """(overdraft_limit, overdraft_unlimited)"""
    own: dict[str, Any] = field(default_factory=dict)
    """The organization's own fields."""
    resources: dict[tuple[str, str], str] = field(default_factory=dict)
    """By (SUBSCRIPTION or ALLOCATION, id): the newest entry's `after`, as JSON."""
    open_allocations: int = 0
    reached: frozenset[int] = frozenset()
    """The percents that were crossed and are not armed again."""
    crossing: int | None = None
    """What the open call or settled instant says that it crossed."""

    def __post_init__(self) -> None:
        self.problems = Problems(self.organization)

    @property
    def threshold_percent(self) -> int:
        return max(self.reached, default=0)

    def take(self, row: Row) -> None:
        """The next entry."""
        where = f"entry {row['revision']}"
        before = dict(self.sums)
        self._check_order(where, row)
        self._check_digest(where, row)
        try:
            self._apply(where, row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.problems.add(where, f"after or detail is not what {row['kind']} has ({error!r})")
        self._check_figures(where, row, before)
        self.newest = row
        self.entries += 1
        if row["last"]:
            self._end_group(where)

    def not_compared(self) -> list[str]:
        """The names of the resources that no row was found for; whoever compares one removes it."""
        return sorted(f"{COLLECTIONS[kind]}/{name}" for kind, name in self.resources)

    def _check_order(self, where: str, row: Row) -> None:
        newest = self.newest
        self.problems.differs(where, "revision", row["revision"], newest["revision"] + 1 if newest else 1)
        if row["effective_time"] > row["recorded_time"]:
            self.problems.add(where, "took effect after it was recorded")
        if newest is None:
            return
        for time in ("effective_time", "recorded_time"):
            if row[time] < newest[time]:
                self.problems.add(where, f"{time} is {row[time]}, earlier than that of the entry before")
        if not newest["last"]:
            for same in ("effective_time", "recorded_time", "actor", "request_id"):
                self.problems.differs(where, f"{same} (of the same call as the entry before)", row[same], newest[same])

    def _check_digest(self, where: str, row: Row) -> None:
        before = self.newest["digest"] if self.newest else bytes(32)
        self.problems.differs(where, "digest", row["digest"], digest(self.organization, row, before))

    def _apply(self, where: str, row: Row) -> None:
        """Counts what the entry's resource is after it in place of what it was."""
        collection, after = row["kind"].partition("_")[0], json.loads(row["after"])
        if collection in COLLECTIONS:
            key = (collection, row["resource"])
            before = json.loads(self.resources[key]) if key in self.resources else None
            self._check_after(where, row, before, after)
            self._count(collection, before, -1)
            self._count(collection, after, +1)
            self.resources[key] = row["after"]
        elif collection == "ORGANIZATION":
            self.problems.differs(where, "after.changed_revision", after["changed_revision"], row["revision"])
            self.own = after
            self.overdraft = (row["overdraft_limit"], row["overdraft_unlimited"])
        elif collection == "THRESHOLD":
            self.crossing = json.loads(row["detail"])["percent"]
        else:
            self.problems.add(where, f"{row['kind']} is no kind of entry")

    def _check_after(self, where: str, row: Row, before: Row | None, after: Row) -> None:
        if row["kind"] == "SUBSCRIPTION_ENDING_SOON":
            self.problems.differs(where, "after", after, before)
            return
        self.problems.differs(where, "after.changed_revision", after["changed_revision"], row["revision"])
        if row["kind"].startswith("ALLOCATION_"):
            was_open = before is not None and before["state"] != "DISABLED"
            is_open = after["state"] != "DISABLED"
            self.open_allocations += is_open - was_open
            if is_open:
                enabled = before["enabled_revision"] if before and was_open else row["revision"]
                self.problems.differs(where, "after.enabled_revision", after["enabled_revision"], enabled)

    def _count(self, collection: str, resource: Row | None, sign: int) -> None:
        if resource is not None and (collection, resource["state"]) in COUNTED:
            figure, credits = COUNTED[collection, resource["state"]]
            self.sums[figure] += sign * resource[credits]

    def _check_figures(self, where: str, row: Row, before: Mapping[str, int]) -> None:
        differs = self.problems.differs
        for figure, total in self.sums.items():
            differs(where, f"{figure}_credits", row[f"{figure}_credits"], total)
            differs(where, f"{figure}_delta", row[f"{figure}_delta"], total - before[figure])
        limit, unlimited = self.overdraft
        differs(where, "overdraft_limit", row["overdraft_limit"], limit)
        differs(where, "overdraft_unlimited", row["overdraft_unlimited"], unlimited)
        coverage = self.sums["valid"] + self.sums["grace"] + limit
        if not unlimited and self.sums["allocated"] > coverage:
            self.problems.add(where, f"{self.sums['allocated']} credits are allocated, covered are {coverage}")

    def _end_group(self, where: str) -> None:
        """The end of a call or of a settled instant: here the thresholds are judged."""
        crossed, valid = None, self.sums["valid"]
        if valid:
            held = 100 * self.sums["allocated"]
            now = {percent for percent in PERCENTS if held >= percent * valid}
            kept = {percent for percent in self.reached if held > (percent - ARMED_AGAIN_BELOW) * valid}
            crossed = max(now - self.reached, default=None)
            self.reached = frozenset(now | kept)
        self.problems.differs(where, "the percent crossed by its end", self.crossing, crossed)
        self.crossing = None


def digest(organization: str, row: Row, digest_before: bytes) -> bytes:
    """What docs/ledger.md says that an entry's digest is taken over."""
    content = {
        "encoding": 1,
        "organization": organization,
        "after": json.loads(row["after"]),
        "detail": json.loads(row["detail"]),
        "deltas": {figure: row[f"{figure}_delta"] for figure in FIGURES},
        "figures": {
            **{figure: row[f"{figure}_credits"] for figure in FIGURES},
            "overdraft_limit": row["overdraft_limit"],
            "overdraft_unlimited": row["overdraft_unlimited"],
        },
        "effective_time": instant_text(row["effective_time"]),
        "recorded_time": instant_text(row["recorded_time"]),
    }
    for column in ("revision", "kind", "resource", "actor", "request_id", "causes", "cause_count", "last"):
        content[column] = row[column]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return sha256(digest_before + text.encode("ascii")).digest()


def instant_text(instant: datetime) -> str:
    """`2027-01-31T00:00:00.000000Z`; the database gives instants in UTC."""
    return f"{instant:%Y-%m-%dT%H:%M:%S.%f}Z"


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
