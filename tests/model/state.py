"""The state of one organization, with every figure summed anew each time it is asked for, and settling."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.model.words import (
    ACTIVE,
    DAY,
    DISABLED,
    ENABLED,
    EXPIRED,
    GRACE,
    SCHEDULED,
    SUSPENDED,
    UNBOUNDED,
    Allocation,
    Entry,
    Subscription,
)

PERCENTS = (75, 90, 100)
DAYS_BEFORE_END = (90, 30, 7, 1)
DAYS_BEFORE_GRACE_END = (7, 1)
SUMS = ("valid_credits", "grace_credits", "allocated_credits", "suspended_credits")


@dataclass
class State:
    time: int  # everything up to and including this instant is settled
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    overdraft_limit: int = 0
    overdraft_unlimited: bool = False
    display_name: str = ""
    reached: frozenset[int] = frozenset()  # the percents that were crossed and are not armed again
    entries: list[Entry] = field(default_factory=list)

    def copy(self) -> State:
        return replace(
            self,
            subscriptions=dict(self.subscriptions),
            allocations=dict(self.allocations),
            entries=list(self.entries),
        )

    # The figures.

    def subscribed(self, state: str) -> list[Subscription]:
        return sorted((s for s in self.subscriptions.values() if s.state == state), key=lambda s: s.id)

    def ranked(self, state: str) -> list[Allocation]:
        return sorted((a for a in self.allocations.values() if a.state == state), key=lambda a: a.rank)

    @property
    def valid(self) -> int:
        return sum(s.credits for s in self.subscribed(ACTIVE))

    @property
    def in_grace(self) -> int:
        return sum(s.credits for s in self.subscribed(GRACE))

    @property
    def allocated(self) -> int:
        return sum(a.credits for a in self.allocations.values())

    @property
    def suspended(self) -> int:
        return sum(a.needs for a in self.allocations.values())

    @property
    def overdraft(self) -> int:
        return UNBOUNDED if self.overdraft_unlimited else self.overdraft_limit

    @property
    def spendable(self) -> int:
        return self.valid + self.overdraft

    @property
    def coverage(self) -> int:
        return self.valid + self.in_grace + self.overdraft

    def figures(self) -> dict[str, object]:
        return {
            "valid_credits": self.valid,
            "grace_credits": self.in_grace,
            "allocated_credits": self.allocated,
            "suspended_credits": self.suspended,
            "available_credits": self.valid - self.allocated,
            "overdraft_limit": self.overdraft_limit,
            "overdraft_unlimited": self.overdraft_unlimited,
            "revision": len(self.entries),
        }

    # The figures of the future, from the terms alone.

    def spendable_at(self, instant: int) -> int:
        """What will be spendable if nobody calls; `instant` is now or later."""
        live = [s for s in self.subscriptions.values() if not s.over]
        return sum(s.credits for s in live if s.start <= instant < s.end) + self.overdraft

    def coverage_at(self, instant: int) -> int:
        """What coverage will be if nobody calls; `instant` is now or later."""
        live = [s for s in self.subscriptions.values() if not s.over]
        return sum(s.credits for s in live if s.start <= instant < s.grace_end) + self.overdraft

    def turns(self) -> list[int]:
        """The instants after now at which coverage may change."""
        live = [s for s in self.subscriptions.values() if not s.over]
        return sorted({t for s in live for t in (s.start, s.end, s.grace_end) if t > self.time})

    def covered_until(self) -> int | None:
        """The first fall of coverage, by time alone, below all that is held and all that waits."""
        for instant in self.turns():
            after = self.coverage_at(instant)
            if after < self.coverage_at(instant - 1) and after < self.allocated + self.suspended:
                return instant
        return None

    # Writing.

    def write(
        self,
        kind: str,
        resource: str,
        effective: int,
        recorded: int,
        *,
        causes: list[str] | None = None,
        request_id: str | None = None,
        percent: int | None = None,
        days: int | None = None,
        renewed: bool | None = None,
    ) -> None:
        """Append one entry about the resource as it is now, and hold the invariant."""
        assert self.allocated <= self.coverage, (kind, resource, self.figures())
        earlier = self.entries[-1] if self.entries else None
        assert earlier is None or (earlier.effective <= effective and earlier.recorded <= recorded)
        revision = len(self.entries) + 1
        figures = self.figures() | {"revision": revision}
        after = self.shown(resource)
        before: dict[str, object] = earlier.figures if earlier else dict.fromkeys(SUMS, 0)
        deltas = {name: _int(figures[name]) - _int(before[name]) for name in SUMS}
        if resource.startswith("allocations/"):
            of_it = [e.after["units"] for e in self.entries if e.resource == resource]
            deltas["units"] = _int(after["units"]) - (_int(of_it[-1]) if of_it else 0)
        causes = causes or []
        entry = Entry(
            revision, kind, resource, effective, recorded, after, deltas, figures,
            tuple(causes[:5]), len(causes), request_id, percent, days, renewed,
        )  # fmt: skip
        self.entries.append(entry)

    def shown(self, resource: str) -> dict[str, object]:
        collection, _, name = resource.partition("/")
        if collection == "subscriptions":
            return self.subscriptions[name].shown()
        if collection == "allocations":
            return self.allocations[name].shown()
        return {
            "display_name": self.display_name,
            "overdraft_limit": self.overdraft_limit,
            "overdraft_unlimited": self.overdraft_unlimited,
        }

    def close(self, first: int) -> None:
        """Mark the last of the entries from index `first` on, if there are any."""
        if len(self.entries) > first:
            self.entries[-1] = replace(self.entries[-1], last=True)

    # Consequences.

    def must_go(self, coverage: int) -> list[Allocation]:
        """What no longer fits into that much coverage, lowest first."""
        held = 0
        gone = []
        for allocation in self.ranked(ENABLED):
            if allocation.credits == 0 or held + allocation.credits <= coverage:
                held += allocation.credits
            else:
                gone.append(allocation)
        return gone[::-1]

    def suspend(
        self, coverage: int, causes: list[str], effective: int, recorded: int, request_id: str | None = None
    ) -> list[str]:
        gone = self.must_go(coverage)
        for allocation in gone:
            self.allocations[allocation.id] = replace(allocation, state=SUSPENDED)
            self.write(
                "allocation_suspended", f"allocations/{allocation.id}", effective, recorded,
                causes=causes, request_id=request_id,
            )  # fmt: skip
        return [allocation.id for allocation in gone]

    def resume(self, effective: int, recorded: int, request_id: str | None = None) -> list[str]:
        back = []
        for allocation in self.ranked(SUSPENDED):
            if self.allocated + allocation.needs <= self.spendable:
                self.allocations[allocation.id] = replace(allocation, state=ENABLED)
                self.write(
                    "allocation_resumed", f"allocations/{allocation.id}", effective, recorded,
                    request_id=request_id,
                )  # fmt: skip
                back.append(allocation.id)
        assert all(self.allocated + a.needs > self.spendable for a in self.ranked(SUSPENDED))
        return back

    def judge_threshold(self, effective: int, recorded: int, request_id: str | None = None) -> None:
        if self.valid == 0:
            return
        held = self.allocated * 100
        now_reached = {percent for percent in PERCENTS if held >= percent * self.valid}
        still_reached = {percent for percent in self.reached if held > (percent - 5) * self.valid}
        new = now_reached - self.reached
        self.reached = frozenset(now_reached | still_reached)
        if new:
            self.write(
                "threshold_crossed", "organization", effective, recorded,
                request_id=request_id, percent=max(new),
            )  # fmt: skip

    def renewed(self, subscription: str) -> bool:
        return any(s.renews == subscription and not s.over for s in self.subscriptions.values())

    # Settling.

    def next_instant(self) -> int | None:
        """The next instant at which time alone may write something."""
        to_come = [t for s in self.subscriptions.values() for t in instants(s) if t > self.time]
        return min(to_come, default=None)

    def settle_next(self, recorded: int) -> None:
        """Settle the one instant that comes next."""
        instant = self.next_instant()
        assert instant is not None
        assert instant <= recorded
        first = len(self.entries)
        starting = [s for s in self.subscribed(SCHEDULED) if s.start == instant]
        ending = [s for s in self.subscribed(ACTIVE) if s.end == instant and s.grace > 0]
        expiring = [s for s in self.subscribed(ACTIVE) if s.end == instant and s.grace == 0]
        expiring += [s for s in self.subscribed(GRACE) if s.grace_end == instant]

        for s in starting:
            self._turn(s, ACTIVE, "subscription_started", instant, recorded)
        causes = sorted(f"subscriptions/{s.id}" for s in expiring)
        self.suspend(self.coverage_at(instant), causes, instant, recorded)
        for s in sorted(ending + expiring, key=lambda s: s.id):
            if s in ending:
                self._turn(s, GRACE, "subscription_ended", instant, recorded)
            else:
                self._turn(s, EXPIRED, "subscription_expired", instant, recorded)
        if starting:
            self.resume(instant, recorded)
        self.judge_threshold(instant, recorded)
        self._remind(instant, recorded)
        self.close(first)
        self.time = instant
        assert self.coverage == self.coverage_at(instant)
        assert self.spendable == self.spendable_at(instant)

    def _turn(self, s: Subscription, state: str, kind: str, instant: int, recorded: int) -> None:
        self.subscriptions[s.id] = replace(s, state=state)
        self.write(kind, f"subscriptions/{s.id}", instant, recorded)

    def _remind(self, instant: int, recorded: int) -> None:
        for s in sorted(self.subscriptions.values(), key=lambda s: s.id):
            for days in DAYS_BEFORE_END if s.state == ACTIVE else DAYS_BEFORE_GRACE_END:
                over = s.end if s.state == ACTIVE else s.grace_end
                if s.state in (ACTIVE, GRACE) and over - days * DAY == instant:
                    self.write(
                        "subscription_ending_soon", f"subscriptions/{s.id}", instant, recorded,
                        days=days, renewed=self.renewed(s.id),
                    )  # fmt: skip

    def check(self) -> None:
        """What must hold after every call."""
        assert self.coverage == self.coverage_at(self.time)
        assert self.spendable == self.spendable_at(self.time)
        assert all(a.state != DISABLED or a.units == 0 for a in self.allocations.values())
        assert [e.revision for e in self.entries] == list(range(1, len(self.entries) + 1))
        assert self.entries[-1].last
        newest = {e.resource: e.after for e in self.entries}
        assert all(newest[name] == self.shown(name) for name in newest)
        names = {f"subscriptions/{i}" for i in self.subscriptions}
        names |= {f"allocations/{i}" for i in self.allocations} | {"organization"}
        assert names == set(newest)
        assert self.entries[-1].figures == self.figures()


def instants(s: Subscription) -> list[int]:
    """Every instant at which time may have something to write about a subscription."""
    if s.over:
        return []
    reminders = [s.end - days * DAY for days in DAYS_BEFORE_END]
    reminders += [s.grace_end - days * DAY for days in DAYS_BEFORE_GRACE_END]
    return [s.start, s.end, s.grace_end, *reminders]


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
