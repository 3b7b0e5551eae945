"""The fold over an organization's entries, in revision order: what each entry should be, by those before it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from json import JSONEncoder
from operator import itemgetter
from typing import Any, Final

from services.admin.verify_prices import Prices
from services.admin.verify_problems import NONSENSE, Problems, Row, instant_text, parsed
from services.admin.verify_usage import Usage

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
_FIGURES_OF_ENTRY: Final = itemgetter(
    "valid_credits",
    "grace_credits",
    "allocated_credits",
    "suspended_credits",
    "valid_delta",
    "grace_delta",
    "allocated_delta",
    "suspended_delta",
    "overdraft_limit",
    "overdraft_unlimited",
)
_CANONICAL: Final = JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode
COLLECTIONS: Final = {"SUBSCRIPTION": "subscriptions", "ALLOCATION": "allocations"}

Key = tuple[str, str]
"""(SUBSCRIPTION, ALLOCATION or ORGANIZATION, id)"""


@dataclass
class Group:
    """What the entries of one call or settled instant did so far."""

    replaced: dict[Key, list[str | None]] = field(default_factory=dict)
    """What each resource was before each of its entries, as JSON; None before its first."""
    suspended: list[str] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)


@dataclass
class Fold:
    """What the entries so far come to."""

    organization: str
    prices: Prices = field(default_factory=Prices)
    usage: Usage = field(default_factory=Usage)
    problems: Problems = field(init=False)
    entries: int = 0
    newest: Row | None = None
    group: Group = field(default_factory=Group)
    """That of the newest entry."""
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIGURES, 0))
    overdraft: tuple[int, bool] = (0, False)
    """(overdraft_limit, overdraft_unlimited)"""
    own: dict[str, Any] = field(default_factory=dict)
    """The organization's own fields."""
    resources: dict[Key, str] = field(default_factory=dict)
    """The newest entry's `after`, as JSON."""
    waiting: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    """The suspended allocations, by id, with what sorts those first that resume first."""
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

    @property
    def figures(self) -> dict[str, Any]:
        limit, unlimited = self.overdraft
        return {**self.sums, "overdraft_limit": limit, "overdraft_unlimited": unlimited}

    def take(self, row: Row) -> None:
        """The next entry."""
        where = f"entry {row['revision']}"
        before = dict(self.sums)
        self._check_order(where, row)
        if self.newest is None or self.newest["last"]:
            self.group = Group()
        try:
            after, detail = parsed(row["after"]), parsed(row["detail"])
            self._check_digest(where, row, after, detail)
            self._apply(where, row, after, detail)
        except NONSENSE as error:
            self.problems.add(where, f"after or detail is not what {row['kind']} has ({error!r})")
        self._check_figures(where, row, before)
        if self.usage.counts(row["revision"]):
            self.usage.count_hour(row, self.sums["valid"], self.sums["allocated"])
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

    def _check_digest(self, where: str, row: Row, after: Any, detail: Any) -> None:
        before = self.newest["digest"] if self.newest else bytes(32)
        self.problems.differs(where, "digest", row["digest"], _digest(self.organization, row, after, detail, before))

    def _apply(self, where: str, row: Row, after: Any, detail: Any) -> None:
        """Counts what the entry's resource is after it in place of what it was."""
        collection = row["kind"].partition("_")[0]
        key = (collection, row["resource"])
        if collection in COLLECTIONS:
            text = self.resources.get(key)
            before = parsed(text) if text is not None else None
            self._replacing(key, text)
            self._check_after(where, row, before, after)
            if collection == "ALLOCATION":
                self._apply_allocation(where, row, before, after)
            self._count(collection, before, -1)
            self._count(collection, after, +1)
            self.resources[key] = row["after"]
        elif collection == "ORGANIZATION":
            self.problems.differs(where, "after.changed_revision", after["changed_revision"], row["revision"])
            self._replacing(key, None)
            self.own = after
            self.overdraft = (row["overdraft_limit"], row["overdraft_unlimited"])
        elif collection == "THRESHOLD":
            self.problems.differs(where, "after", after, self.own)
            self.crossing = detail["percent"]
        else:
            self.problems.add(where, f"{row['kind']} is no kind of entry")

    def _replacing(self, key: Key, text: str | None) -> None:
        self.group.replaced.setdefault(key, []).append(text)

    def _check_after(self, where: str, row: Row, before: Row | None, after: Row) -> None:
        if row["kind"] == "SUBSCRIPTION_ENDING_SOON":
            self.problems.differs(where, "after", after, before)
        else:
            self.problems.differs(where, "after.changed_revision", after["changed_revision"], row["revision"])

    def _apply_allocation(self, where: str, row: Row, before: Row | None, after: Row) -> None:
        """All but the figures."""
        was_open = before is not None and before["state"] != "DISABLED"
        is_open = after["state"] != "DISABLED"
        self.open_allocations += is_open - was_open
        if is_open:
            enabled = before["enabled_revision"] if before and was_open else row["revision"]
            self.problems.differs(where, "after.enabled_revision", after["enabled_revision"], enabled)
        self.prices.check(self.problems, where, row, before, after)
        if self.usage.counts(row["revision"]):
            self.usage.count(before, -1)
            self.usage.count(after, +1)
        name = row["resource"]
        self.waiting.pop(name, None)
        if after["state"] == "SUSPENDED":
            self.waiting[name] = (-after["priority"], after["enabled_revision"], name)
        if row["kind"] == "ALLOCATION_SUSPENDED":
            self.group.suspended.append(name)
        elif row["kind"] == "ALLOCATION_RESUMED":
            self.group.resumed.append(name)

    def _count(self, collection: str, resource: Row | None, sign: int) -> None:
        if resource is not None and (collection, resource["state"]) in COUNTED:
            figure, credits = COUNTED[collection, resource["state"]]
            self.sums[figure] += sign * resource[credits]

    def _check_figures(self, where: str, row: Row, before: Mapping[str, int]) -> None:
        limit, unlimited = self.overdraft
        deltas = {figure: total - before[figure] for figure, total in self.sums.items()}
        if _FIGURES_OF_ENTRY(row) != (*self.sums.values(), *deltas.values(), limit, unlimited):
            differs = self.problems.differs
            for figure, total in self.sums.items():
                differs(where, f"{figure}_credits", row[f"{figure}_credits"], total)
                differs(where, f"{figure}_delta", row[f"{figure}_delta"], deltas[figure])
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
    return _digest(organization, row, parsed(row["after"]), parsed(row["detail"]), digest_before)


def _digest(organization: str, row: Row, after: Any, detail: Any, digest_before: bytes) -> bytes:
    content = {  # In the order in which it is written, which then costs less to sort.
        "actor": row["actor"],
        "after": after,
        "cause_count": row["cause_count"],
        "causes": row["causes"],
        "deltas": {
            "allocated": row["allocated_delta"],
            "grace": row["grace_delta"],
            "suspended": row["suspended_delta"],
            "valid": row["valid_delta"],
        },
        "detail": detail,
        "effective_time": instant_text(row["effective_time"]),
        "encoding": 1,
        "figures": {
            "allocated": row["allocated_credits"],
            "grace": row["grace_credits"],
            "overdraft_limit": row["overdraft_limit"],
            "overdraft_unlimited": row["overdraft_unlimited"],
            "suspended": row["suspended_credits"],
            "valid": row["valid_credits"],
        },
        "kind": row["kind"],
        "last": row["last"],
        "organization": organization,
        "recorded_time": instant_text(row["recorded_time"]),
        "request_id": row["request_id"],
        "resource": row["resource"],
        "revision": row["revision"],
    }
    return sha256(digest_before + _CANONICAL(content).encode("ascii")).digest()
