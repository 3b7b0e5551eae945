"""The books of an organization that nobody keeps: entries, and what a watcher and a listener see of them.

Nothing is checked, so that they may also become such as an honest service would never allow.
"""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from tests.chaos.history import Entry, Heard, Message, Seen

ORGANIZATION: Final = "o-1"
NAME: Final = f"organizations/{ORGANIZATION}"
PRICE: Final = 5
"""Credits of a unit."""
BEGIN: Final = datetime(2027, 1, 1, tzinfo=UTC)

Figures = tuple[int, int, int, int]
"""(valid, in grace, allocated, suspended)"""
Write = tuple[str, str, Message, tuple[str, ...]]
"""(kind, id of the resource, the resource after it, causes)"""


def text(at: float) -> str:
    """The instant so many seconds after the beginning."""
    return (BEGIN + timedelta(seconds=round(at, 6))).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def name_of(subscription: str) -> str:
    return f"{NAME}/subscriptions/{subscription}"


@dataclass
class MadeUpLedger:
    """Time moves only by `at`, in seconds."""

    at: float = 100.0
    entries: list[Entry] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    allocations: dict[str, Message] = field(default_factory=dict)
    subscriptions: dict[str, Message] = field(default_factory=dict)
    overdraft: int = 0
    left_out: int = 0
    """So many revisions were passed over."""

    def __post_init__(self) -> None:
        self.heard.append(Heard(self.at, "connected", "", 0, None))
        self.seen.append(Seen("w-1", ORGANIZATION, self.at, "began", 0, None))

    @property
    def revision(self) -> int:
        return len(self.entries) + self.left_out

    def settle(self) -> None:
        """Applies what has come due."""
        while due := [(instant, name) for name in self.subscriptions for instant in self._due(name)]:
            instant = min(due)[0]
            writes: list[Write] = []
            for _, name in sorted(each for each in due if each[0] == instant):
                writes += self.lapsing(name)
            self.post(writes, "", "", instant)

    def lapsing(self, name: str) -> list[Write]:
        """What the next instant of a subscription brings."""
        now = self.subscriptions[name]
        if now["state"] == "SCHEDULED":
            spendable = self.valid + now["credits"] + self.overdraft
            started: Write = ("SUBSCRIPTION_STARTED", name, {**now, "state": "ACTIVE"}, ())
            return [started, *self.resumptions(spendable, name_of(name))]
        if now["state"] == "ACTIVE" and now["grace_microseconds"]:
            return [("SUBSCRIPTION_ENDED", name, {**now, "state": "GRACE"}, ())]
        left = self.valid + self.grace + self.overdraft - now["credits"]
        expired: Write = ("SUBSCRIPTION_EXPIRED", name, {**now, "state": "EXPIRED"}, ())
        return [*self.suspensions(left, name_of(name)), expired]

    def post(self, writes: list[Write], actor: str, request_id: str, at: float) -> None:
        """One transaction: its entries, the notice and what the watcher sees."""
        for index, (kind, name, after, causes) in enumerate(writes):
            before = self.figures
            if kind.startswith("ALLOCATION"):
                self.allocations[name] = after
            elif kind.startswith("SUBSCRIPTION"):
                self.subscriptions[name] = after
            last = index == len(writes) - 1
            self._append(kind, name, after, causes, actor, request_id, at, before, last=last)
        if writes:
            self.heard.append(Heard(self.at, "notice", ORGANIZATION, self.revision, self.balance(at)))

    @property
    def valid(self) -> int:
        return sum(each["credits"] for each in self.subscriptions.values() if each["state"] == "ACTIVE")

    @property
    def grace(self) -> int:
        return sum(each["credits"] for each in self.subscriptions.values() if each["state"] == "GRACE")

    @property
    def figures(self) -> Figures:
        held = sum(each["credits"] for each in self.allocations.values())
        return self.valid, self.grace, held, sum(each["suspended_credits"] for each in self.allocations.values())

    def balance(self, at: float) -> Message:
        valid, grace, held, suspended = self.figures
        return {
            "organization": NAME,
            "revision": str(self.revision),
            "as_of": text(at),
            "valid_credits": str(valid),
            "grace_credits": str(grace),
            "allocated_credits": str(held),
            "suspended_credits": str(suspended),
            "available_credits": str(valid - held),
            "overdraft_limit": str(self.overdraft),
            "overdraft_unlimited": False,
            "spendable_credits": str(valid + self.overdraft),
            "coverage_credits": str(valid + grace + self.overdraft),
        }

    def enabling(self, name: str, units: int) -> list[Write]:
        """Nothing where it is enabled so already."""
        now = self.allocations.get(name, {"state": "DISABLED", "units": 0})
        if (now["state"], now["units"]) == ("ENABLED", units):
            return []
        kinds = {"DISABLED": "ALLOCATION_ENABLED", "SUSPENDED": "ALLOCATION_RESUMED"}
        kind = kinds.get(now["state"], "ALLOCATION_ADJUSTED")
        return [(kind, name, allocated("ENABLED", units, now.get("enabled_revision", self.revision + 1)), ())]

    def disabling(self, name: str) -> list[Write]:
        now = self.allocations[name]
        if now["state"] == "DISABLED":
            return []
        return [("ALLOCATION_DISABLED", name, allocated("DISABLED", 0, now["enabled_revision"]), ())]

    def suspensions(self, coverage: int, cause: str) -> list[Write]:
        """Of what no longer fits, beginning with what is enabled already."""
        writes: list[Write] = []
        for name, now in self._in_state("ENABLED"):
            coverage -= now["credits"]
            if coverage < 0:
                coverage += now["credits"]
                after = allocated("SUSPENDED", now["units"], now["enabled_revision"])
                writes.append(("ALLOCATION_SUSPENDED", name, after, (cause,)))
        return writes

    def resumptions(self, spendable: int, cause: str) -> list[Write]:
        room, writes = spendable - self.figures[2], list[Write]()
        for name, now in self._in_state("SUSPENDED"):
            if now["suspended_credits"] <= room:
                room -= now["suspended_credits"]
                after = allocated("ENABLED", now["units"], now["enabled_revision"])
                writes.append(("ALLOCATION_RESUMED", name, after, (cause,)))
        return writes

    def _in_state(self, state: str) -> list[tuple[str, Message]]:
        return [(name, each) for name, each in self.allocations.items() if each["state"] == state]

    def _due(self, name: str) -> Iterator[float]:
        """The next instant of its state, if it has come."""
        now = self.subscriptions[name]
        end = seconds(now["end_time"])
        instants = {"SCHEDULED": seconds(now["start_time"]), "ACTIVE": end}
        instants["GRACE"] = end + now["grace_microseconds"] / 1_000_000
        if instants.get(now["state"], self.at + 1) <= self.at:
            yield instants[now["state"]]

    def _append(
        self,
        kind: str,
        name: str,
        after: Message,
        causes: tuple[str, ...],
        actor: str,
        request_id: str,
        at: float,
        before: Figures,
        *,
        last: bool,
    ) -> None:
        revision, now = self.revision + 1, self.figures
        deltas = [new - old for new, old in zip(now, before, strict=True)]
        digest = sha256(f"{revision} {kind}".encode())
        entry = Entry(
            organization=ORGANIZATION,
            revision=revision,
            kind=kind,
            resource=name,
            effective_time=text(at),
            recorded_time=text(self.at),
            actor=actor,
            request_id=request_id,
            causes=list(causes),
            after=after,
            valid_delta=deltas[0],
            grace_delta=deltas[1],
            allocated_delta=deltas[2],
            suspended_delta=deltas[3],
            valid_credits=now[0],
            grace_credits=now[1],
            allocated_credits=now[2],
            suspended_credits=now[3],
            overdraft_limit=self.overdraft,
            overdraft_unlimited=False,
            last=last,
            digest=digest.hexdigest(),
        )
        self.entries.append(entry)
        collection = kind.partition("_")[0].lower() + "s"
        message = {
            "revision": str(revision),
            "kind": kind,
            "resource": f"{NAME}/{collection}/{name}" if name else NAME,
            "effective_time": entry.effective_time,
            "recorded_time": entry.recorded_time,
            "actor": actor,
            "request_id": request_id,
            "last": last,
            "digest": b64encode(digest.digest()).decode(),
            "balance": self.balance(at),
        }
        self.seen.append(Seen("w-1", ORGANIZATION, self.at, "entry", revision, message))


def allocated(state: str, units: int, enabled_revision: int) -> Message:
    """An allocation, as an entry has it."""
    credits = units * PRICE
    return {
        "offering": "sensor",
        "state": state,
        "units": units,
        "credits": credits if state == "ENABLED" else 0,
        "suspended_credits": credits if state == "SUSPENDED" else 0,
        "priority": 0,
        "labels": {},
        "enabled_revision": enabled_revision,
    }


def seconds(instant: str) -> float:
    return round((datetime.fromisoformat(instant) - BEGIN).total_seconds(), 6)
