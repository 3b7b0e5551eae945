"""The calls of the machine that Hypothesis drives: one rule for every method that changes something, or nearly."""

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import initialize, multiple, precondition, rule

from tests.model.lives import BEGIN, OFFERINGS, Step
from tests.model.words import DAY
from tests.support import stateful_arguments as some
from tests.support.reflected import Refusal
from tests.support.stateful import LivedBoth
from tests.support.stateful_arguments import Arguments
from tests.support.stateful_looks import LookedAt

allocations, requests = LivedBoth.allocations, LivedBoth.requests
later_subscriptions = LivedBoth.subscriptions
subscriptions: Final = st.one_of(st.just("s1"), later_subscriptions)
"""The first is always there."""


class Called(LivedBoth):
    @initialize(
        target=allocations,
        overdraft=some.OVERDRAFTS,
        unlimited=st.sampled_from((False, False, False, True)),
        credits=some.CREDITS,
        term=some.TERMS.filter(bool),
        grace=some.GRACES,
        held=st.one_of(st.just([]), some.several()),
    )
    def begin(
        self, overdraft: int, unlimited: bool, credits: int, term: int, grace: int | None, held: list[Arguments]
    ) -> Any:
        """An organization, its first credits, and mostly something that holds some of them."""
        self.do(self.start(overdraft, unlimited))
        self._bought({"credits": credits, "end": self.now + term, "grace": grace}, some.PLAIN)
        return self._held(held, partial=True) if held else multiple()

    # The organization.

    @precondition(lambda self: self.now < BEGIN + DAY)
    @rule()
    def create_again(self) -> None:
        """Within a day: so long is the request id remembered."""
        self.do(self.lived.create_again())

    @rule(
        target=requests,
        overdraft=some.OVERDRAFTS,
        unlimited=st.sampled_from((None, None, False, True)),
        force=st.booleans(),
        way=some.WAYS,
    )
    def change_overdraft(self, overdraft: int, unlimited: bool | None, force: bool, way: str) -> Any:
        arguments = {"overdraft_limit": overdraft, "overdraft_unlimited": unlimited, "force": force}
        return self._sent("update_organization", arguments, way)

    # Subscriptions.

    @rule(
        target=later_subscriptions,
        credits=some.CREDITS,
        start=some.STARTS,
        term=some.TERMS,
        grace=some.GRACES,
        renews=st.one_of(st.none(), subscriptions),
        way=some.WAYS,
        named=st.sampled_from((True, True, False)),
    )
    def buy(
        self,
        credits: int,
        start: int | None,
        term: int,
        grace: int | None,
        renews: str | None,
        way: str,
        named: bool,
    ) -> Any:
        begins = self.now + max(start or 0, 0)
        if renews is not None and start is None:
            begins = max(begins, self._subscription(renews).end)
        arguments: Arguments = {"credits": credits, "end": begins + term, "grace": grace, "renews": renews}
        arguments["start"] = None if start is None else self.now + start
        return self._bought(arguments, way, named=named)

    def _bought(self, arguments: Arguments, way: str, *, named: bool = True) -> Any:
        """Its id, or what we call the id that the service makes."""
        name = f"s{len(self.lived.model.state.subscriptions) + 1}"
        arguments = {**arguments, "subscription_id" if named else "made_id": name}
        answer, _ = self.call("create_subscription", arguments, way, known_as=name)
        return multiple() if isinstance(answer, Refusal) else name

    @rule(target=requests, of=subscriptions, change=some.AMENDMENTS, force=st.booleans(), way=some.WAYS)
    def amend(self, of: str, change: dict[str, int], force: bool, way: str) -> Any:
        old = self._subscription(of)
        values = {field: some.amended(field, which, old, self.now) for field, which in sorted(change.items())}
        return self._sent("update_subscription", {"subscription_id": of, "force": force, **values}, way)

    @rule(target=requests, of=subscriptions, force=st.booleans(), way=some.WAYS)
    def cancel(self, of: str, force: bool, way: str) -> Any:
        return self._sent("cancel_subscription", {"subscription_id": of, "force": force}, way)

    # Allocations.

    @rule(
        target=allocations,
        offering=st.sampled_from((*OFFERINGS, "nothing")),
        other_id=st.booleans(),
        units=some.UNITS,
        priority=some.PRIORITIES,
        labels=some.LABELS,
        way=some.WAYS,
    )
    def enable(
        self,
        offering: str,
        other_id: bool,
        units: int | str,
        priority: int | None,
        labels: dict[str, str] | None,
        way: str,
    ) -> Any:
        name = f"{offering}~2" if other_id else offering
        arguments = {"offering": offering, "allocation_id": name if other_id else None, "units": units}
        answer = self._enable({**arguments, "priority": priority, "labels": labels}, way, known_as=name)
        return multiple() if isinstance(answer, Refusal) else name

    @rule(target=allocations, wanted=some.several(), partial=st.booleans())
    def enable_several(self, wanted: list[Arguments], partial: bool) -> Any:
        return self._held(wanted, partial=partial)

    def _held(self, wanted: list[Arguments], *, partial: bool) -> Any:
        """Enabled in one call: those of them that are there."""
        asked = [self._operation(each) for each in wanted]
        way = {"allow_partial": True} if partial else {}
        self.call("apply", {"operations": asked, **way}, some.PLAIN)
        there = self.lived.model.state.allocations
        return multiple(*(each["allocation_id"] for each in asked if each["allocation_id"] in there))

    @rule(of=allocations, units=some.UNITS, priority=some.PRIORITIES, way=some.WAYS)
    def enable_again(self, of: str, units: int | str, priority: int | None, way: str) -> None:
        offering = self.lived.model.state.allocations[of].offering
        self._enable({"offering": offering, "allocation_id": of, "units": units, "priority": priority}, way, of)

    def _enable(self, arguments: Arguments, way: str, known_as: str) -> Any:
        return self.call("enable", self._operation(arguments), way, known_as)[0]

    @rule(target=requests, of=allocations, delta=some.DELTAS, way=some.WAYS)
    def adjust(self, of: str, delta: int | str, way: str) -> Any:
        operation = self._operation({"allocation_id": of, "delta_units": delta})
        return self._sent("adjust", operation, way)

    @rule(target=requests, of=allocations, way=some.WAYS)
    def disable(self, of: str, way: str) -> Any:
        return self._sent("disable", {"allocation_id": of}, way)

    @rule(target=requests, of=allocations, priority=some.PRIORITIES, labels=some.LABELS, way=some.WAYS)
    def update_allocation(self, of: str, priority: int | None, labels: dict[str, str] | None, way: str) -> Any:
        arguments = {"allocation_id": of, "priority": priority, "labels": labels}
        return self._sent("update_allocation", arguments, way)

    @rule(target=requests, operations=some.operations(), partial=st.booleans(), way=some.WAYS)
    def apply(self, operations: list[Arguments], partial: bool, way: str) -> Any:
        """All or nothing; or each for itself, under an id of its own where it needs one."""
        meant = [self._operation(each) for each in operations]
        if not partial:
            return self._sent("apply", {"operations": meant}, way)
        asked = [each | ({"request_id": self.new_id()} if each["op"] == "adjust" else {}) for each in meant]
        self.call("apply", {"operations": asked, "allow_partial": True}, some.PLAIN if way == some.WITH_AN_ID else way)
        return multiple()

    # Once more.

    @rule(of=st.one_of(requests, allocations, subscriptions), other=st.booleans())
    def repeat(self, of: str, other: bool) -> None:
        """The same request id within a day, with the same meaning or with another."""
        sent = self.sent.get(of)
        if sent is None or self.now - sent.at >= DAY:
            return
        arguments = dict(sent.step.arguments)
        for field, value in (("units", 3), ("delta_units", 2), ("credits", 777), ("priority", 4), ("force", True)):
            if other and field in arguments:
                arguments[field] = value
        self.take(Step(0, sent.step.call, arguments))

    # What is meant.

    def _sent(self, call: str, arguments: Arguments, way: str) -> Any:
        """The request id, if there was one."""
        _, request_id = self.call(call, arguments, way)
        return request_id or multiple()

    def _operation(self, told: Arguments) -> Arguments:
        """With the numbers that were meant, and without what is absent."""
        state = self.lived.model.state
        meant = {key: value for key, value in told.items() if value is not None}
        if "units" in told:
            catalogue = self.lived.catalogue
            meant["units"] = some.units_meant(told["units"], told["offering"], state, catalogue, self.now)
        if "delta_units" in told:
            meant["delta_units"] = some.delta_meant(told["delta_units"], told["allocation_id"], state)
        return meant

    def _subscription(self, name: str) -> Any:
        """As the model knows it, by the id that the service made."""
        return self.lived.model.state.subscriptions[self.lived.wording.made.get(name, name)]


class Agreement(Called, LookedAt):
    """All that can be done and seen, in a catalogue that changes."""

    @rule(
        offering=st.sampled_from(OFFERINGS),
        price=st.sampled_from(("0", "0.3", "25", "40", None)),
        ahead=st.sampled_from((None, 0, 1, DAY)),
    )
    def change_offering(self, offering: str, price: str | None, ahead: int | None) -> None:
        """A new version of the price, now or from then on; or it is retired."""
        if price is None:
            self.take(Step(0, "retire", {"offering": offering}))
            return
        since = {} if ahead is None else {"since": self.now + ahead}
        self.take(Step(0, "change_price", {"offering": offering, "price": price, **since}))
