"""Random lives of an organization, as plain data: the same seed always gives the same steps.

A step says how far time moves before it (`wait`, in microseconds), which call is made then, and with which
arguments. While it is made, a life is lived once in the model, only to aim: at instants at which
something falls due (or one microsecond beside them), at ids that exist, at credits that nearly suffice.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.model.honest import HonestOrganization
from tests.model.state import instants
from tests.model.words import (
    ACTIVE,
    DAY,
    ENABLED,
    GRACE,
    SCHEDULED,
    SUSPENDED,
    Catalogue,
    Refused,
    Result,
    Subscription,
)

BEGIN = 1_893_456_000 * 1_000_000  # the first instant of 2030
HOUR = DAY // 24
OFFERINGS = ("sensor", "retention", "accounts", "free", "big", "second")
ALLOCATIONS = (*OFFERINGS, "accounts-1", "accounts-2", "sensor~web", "x")
SUBSCRIPTIONS = ("s1", "s2", "s3", "s4", "s5")


@dataclass(frozen=True)
class Step:
    wait: int
    call: str
    arguments: dict[str, object] = field(default_factory=dict)


def small_catalogue(now: int = BEGIN) -> Catalogue:
    catalogue = Catalogue()
    catalogue.create(now, "sensor", "20")
    catalogue.create(now, "retention", "0.05")
    catalogue.create(now, "accounts", "100", block_units=50, max_credits=800)
    catalogue.create(now, "free", "0")
    catalogue.create(now, "big", "333.333333")
    catalogue.create(now, "second", "7.5", block_units=3)
    return catalogue


def take(
    model: HonestOrganization, catalogue: Catalogue, now: int, step: Step
) -> Result | list[Result | Refused] | Refused | None:
    """Make a step's call on the model at `now`; None is the answer of what has none."""
    arguments = dict(step.arguments)
    try:
        if step.call == "settle":
            model.settle(now)
            return None
        if step.call == "change_price":
            catalogue.change_price(now, **arguments)  # type: ignore[arg-type]
            return None
        if step.call == "retire":
            catalogue.retire(**arguments)  # type: ignore[arg-type]
            return None
        answer: Result | list[Result | Refused] = getattr(model, step.call)(now, **arguments)
        return answer
    except Refused as refusal:
        return refusal


def life(seed: int, steps: int, begin: int = BEGIN) -> list[Step]:
    return _Life(seed, begin).steps(steps)


class _Life:
    def __init__(self, seed: int, begin: int) -> None:
        self.dice = random.Random(seed)
        self.now = begin
        self.catalogue = small_catalogue(begin)
        self.model = HonestOrganization(self.catalogue, begin)
        self.ids_made = 0
        self.used: dict[str, tuple[int, Step]] = {}
        self.slow = self.dice.random() < 0.5  # half of all lives stay within their terms for long

    def steps(self, number: int) -> list[Step]:
        made: list[Step] = []
        while len(made) < number:
            wait = self._wait()
            self.now += wait
            self.model.settle(self.now)
            step = self._step(wait)
            take(self.model, self.catalogue, self.now, step)
            self._note_ids(step)
            made.append(step)
        return made

    def _wait(self) -> int:
        dice = self.dice
        if dice.random() < (0.8 if self.slow else 0.55):
            return dice.choice((0, 0, 1, HOUR, dice.randrange(DAY)))
        there = self.model.state.subscriptions.values()
        ahead = sorted({t for s in there for t in instants(s) if t > self.now})
        if ahead and dice.random() < 0.8:
            aim = dice.choice(ahead[:3]) + dice.choice((0, 0, 0, -1, 1))
            return max(0, aim - self.now)
        return dice.randrange(40 * DAY)

    def _step(self, wait: int) -> Step:
        if self.used and self.dice.random() < 0.05:
            replay = self._replay(wait)
            if replay is not None:
                return replay
        live = any(not s.over for s in self.model.state.subscriptions.values())
        if not live and self.dice.random() < 0.6:
            return self._named(wait, *self._create())
        made = self.dice.choices(
            (
                self._enable,
                self._adjust,
                self._disable,
                self._update_allocation,
                self._apply,
                self._create,
                self._amend,
                self._cancel,
                self._organization,
                self._catalogue_change,
                self._settle,
            ),
            (24, 14, 3, 4, 13, 9, 14, 3, 5, 1, 4),
        )[0]
        return self._named(wait, *made())

    def _named(self, wait: int, call: str, arguments: dict[str, object]) -> Step:
        """The step, sometimes with a request id, sometimes only to see what would happen."""
        if call in ("settle", "change_price", "retire"):
            return Step(wait, call, arguments)
        if call not in ("adjust", "apply") and "request_id" not in arguments and self.dice.random() < 0.3:
            arguments["request_id"] = self._new_id()
        if self.dice.random() < 0.06:
            arguments["validate_only"] = True
        return Step(wait, call, arguments)

    def _replay(self, wait: int) -> Step | None:
        """The same request id again, less than a day after it was first sent, mostly as it was."""
        recent = [step for at, step in self.used.values() if self.now - at < DAY]
        if not recent:
            return None
        old = self.dice.choice(recent)
        arguments = dict(old.arguments)
        arguments.pop("validate_only", None)
        if self.dice.random() < 0.3:
            for name, other in (("units", 3), ("delta_units", 2), ("credits", 777), ("force", True)):
                if name in arguments:
                    arguments[name] = other
        if old.call in ("enable", "adjust", "disable") and self.dice.random() < 0.2:
            return Step(wait, "apply", {"operations": [{"op": old.call, **arguments}], "allow_partial": True})
        return Step(wait, old.call, arguments)

    def _note_ids(self, step: Step) -> None:
        """Remember when each request id was first sent, lest one be sent again after it may be forgotten."""
        operations = step.arguments.get("operations", [])
        assert isinstance(operations, list)
        for sent in (step.arguments, *operations):
            request_id = sent.get("request_id")
            if isinstance(request_id, str):
                self.used.setdefault(request_id, (self.now, step))

    def _new_id(self) -> str:
        self.ids_made += 1
        return f"request-{self.ids_made}"

    # What the operations are made of.

    def _offering(self) -> str:
        return "nothing" if self.dice.random() < 0.02 else self.dice.choice(OFFERINGS)

    def _units(self, offering: str) -> int:
        """Often about as many as there are credits left for."""
        dice = self.dice
        if dice.random() < 0.02:
            return dice.choice((0, -1, 10**12, 10**12 + 1))
        if offering in self.catalogue.offerings and dice.random() < 0.5:
            price = self.catalogue.price_at(offering, self.now)
            left = max(0, self.model.state.valid - self.model.state.allocated)
            if price.credits_per_block:
                some = int(left / price.credits_per_block) * price.block_units
                return max(1, min(10**9, some) + dice.choice((-1, 0, 0, 1)))
        return dice.choice((1, 1, 2, 3, 5, 10, 30, 51, 120))

    def _allocation(self, *states: str) -> str:
        there = sorted(a.id for a in self.model.state.allocations.values() if a.state in states or not states)
        if there and self.dice.random() < 0.96:
            return self.dice.choice(there)
        return self.dice.choice(sorted(self.model.state.allocations) or ALLOCATIONS)

    def _enable(self) -> tuple[str, dict[str, object]]:
        dice = self.dice
        suspended = [a for a in self.model.state.allocations.values() if a.state == SUSPENDED]
        offering = self._offering()
        arguments: dict[str, object] = {"offering": offering}
        if suspended and dice.random() < 0.4:
            one = dice.choice(sorted(suspended, key=lambda a: a.id))
            arguments = {"offering": one.offering, "allocation_id": one.id}
            offering = one.offering
        elif dice.random() < 0.4:
            fitting = [a for a in ALLOCATIONS if a.startswith(offering)]
            arguments["allocation_id"] = dice.choice([*fitting, *fitting, *fitting, "x"])
        arguments["units"] = self._units(offering)
        if dice.random() < 0.25:
            arguments["priority"] = dice.choice((0, 1, 5, -1))
        if dice.random() < 0.15:
            arguments["labels"] = dice.choice(({"team": "a"}, {"team": "b", "site": "n"}, {}))
        return "enable", arguments

    def _adjust(self) -> tuple[str, dict[str, object]]:
        name = self._allocation(*self.dice.choice(((ENABLED,), (ENABLED,), (SUSPENDED,), ())))
        there = self.model.state.allocations.get(name)
        deltas = [1, 1, 2, -1, -1, 0, 10]
        if there is not None:
            deltas += [-there.units, -there.units - 1, there.units, there.units]
        arguments: dict[str, object] = {"allocation_id": name, "delta_units": self.dice.choice(deltas)}
        if self.dice.random() < 0.98:
            arguments["request_id"] = self._new_id()
        return "adjust", arguments

    def _disable(self) -> tuple[str, dict[str, object]]:
        return "disable", {"allocation_id": self._allocation(ENABLED, SUSPENDED)}

    def _update_allocation(self) -> tuple[str, dict[str, object]]:
        arguments: dict[str, object] = {"allocation_id": self._allocation()}
        if self.dice.random() < 0.8:
            arguments["priority"] = self.dice.choice((0, 1, 5, -1))
        if self.dice.random() < 0.3:
            arguments["labels"] = self.dice.choice(({"team": "a"}, {}))
        return "update_allocation", arguments

    def _apply(self) -> tuple[str, dict[str, object]]:
        partial = self.dice.random() < 0.35
        operations: list[dict[str, object]] = []
        for _ in range(self.dice.choice((1, 2, 2, 3, 4))):
            kind, fields = self.dice.choice((self._enable, self._adjust, self._disable))()
            if not partial:
                fields.pop("request_id", None)
            elif kind != "adjust" and self.dice.random() < 0.2:
                fields["request_id"] = self._new_id()
            operations.append({"op": kind, **fields})
        arguments: dict[str, object] = {"operations": operations}
        if partial:
            arguments["allow_partial"] = True
        elif self.dice.random() < 0.95:
            arguments["request_id"] = self._new_id()
        return "apply", arguments

    def _subscription(self) -> Subscription | None:
        there = sorted(self.model.state.subscriptions.values(), key=lambda s: s.id)
        live = [s for s in there if not s.over]
        if live and self.dice.random() < 0.93:
            return self.dice.choice(live)
        return self.dice.choice(there) if there else None

    def _create(self) -> tuple[str, dict[str, object]]:
        dice = self.dice
        old = self._subscription()
        start: int | None = None
        arguments: dict[str, object] = {"credits": dice.choice((100, 250, 500, 1000, 1000, 5000))}
        term = dice.choice((1, DAY, 7 * DAY, 30 * DAY, 31 * DAY, 95 * DAY, 365 * DAY))
        begins = self.now
        if old is not None and dice.random() < 0.5:
            arguments["renews"] = old.id
            begins = max(self.now, old.end)
        if dice.random() < 0.4:
            choices = [self.now - DAY, self.now, self.now + 1, self.now + 3 * DAY, self.now + 40 * DAY]
            choices += [old.end, old.grace_end] if old else []
            start = dice.choice(choices)
            begins = max(self.now, start)
            arguments["start"] = start
        arguments["end"] = begins + dice.choice((term, term, term, term, 0))
        if dice.random() < 0.6:
            arguments["grace"] = dice.choice((0, 0, 1, DAY, 7 * DAY, 8 * DAY, 30 * DAY))
        if dice.random() < 0.9:
            arguments["subscription_id"] = f"s{len(self.model.state.subscriptions) + 1}"
            if dice.random() < 0.1:
                arguments["subscription_id"] = dice.choice(SUBSCRIPTIONS)
        else:
            arguments["request_id"] = self._new_id()
            arguments["made_id"] = f"made-{self.ids_made}"
        return "create_subscription", arguments

    def _amend(self) -> tuple[str, dict[str, object]]:
        dice = self.dice
        old = self._subscription()
        if old is None:
            return "update_subscription", {"subscription_id": "s1", "credits": 100}
        arguments: dict[str, object] = {"subscription_id": old.id}
        fields = {
            ACTIVE: ("credits", "end", "grace"),
            GRACE: ("credits", "end", "end", "grace"),
            SCHEDULED: ("credits", "start", "start", "end", "grace"),
        }.get(old.state, ("credits", "start", "end", "grace"))
        for name in dice.sample(fields, dice.choice((1, 1, 2))):
            arguments[name] = self._amended(name, old)
        if dice.random() < 0.05:
            arguments["start"] = dice.choice((old.start, self.now))
        if dice.random() < 0.3:
            arguments["force"] = True
        return "update_subscription", arguments

    def _amended(self, name: str, old: Subscription) -> int:
        now, dice = self.now, self.dice
        if dice.random() < 0.08:
            return int(getattr(old, name))
        if name == "credits":
            return dice.choice((old.credits * 2, old.credits + 100, max(1, old.credits // 2), 100, 1000))
        if name == "grace":
            over = max(0, now - old.end)
            return dice.choice((0, 1, DAY, 7 * DAY, 8 * DAY, 30 * DAY, over, over + 1))
        if name == "start":
            return dice.choice((now, now - 1, now + 1, now + DAY, old.start + DAY, old.end - 1))
        near = [now, now + 1, now + DAY, now + 7 * DAY, now + 30 * DAY]
        return dice.choice([*near, old.end + DAY, old.end + 60 * DAY, old.end - DAY])

    def _cancel(self) -> tuple[str, dict[str, object]]:
        old = self._subscription()
        arguments: dict[str, object] = {"subscription_id": old.id if old else "s1"}
        if self.dice.random() < 0.5:
            arguments["force"] = True
        return "cancel_subscription", arguments

    def _organization(self) -> tuple[str, dict[str, object]]:
        arguments: dict[str, object] = {}
        if self.dice.random() < 0.8:
            arguments["overdraft_limit"] = self.dice.choice((0, 0, 50, 100, 500))
        if self.dice.random() < 0.3:
            arguments["overdraft_unlimited"] = self.dice.random() < 0.3
        if self.dice.random() < 0.2:
            arguments["display_name"] = self.dice.choice(("", "An organization"))
        if self.dice.random() < 0.5:
            arguments["force"] = True
        return "update_organization", arguments

    def _catalogue_change(self) -> tuple[str, dict[str, object]]:
        offering = self.dice.choice(OFFERINGS)
        if self.dice.random() < 0.2:
            return "retire", {"offering": offering}
        arguments: dict[str, object] = {
            "offering": offering,
            "price": self.dice.choice(("0", "0.3", "25", "40")),
        }
        if self.dice.random() < 0.4:
            arguments["since"] = self.now + self.dice.choice((0, 1, DAY))
        return "change_price", arguments

    def _settle(self) -> tuple[str, dict[str, object]]:
        return "settle", {}
