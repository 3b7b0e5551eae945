"""An honest organization: the promises of Earmark's sections 1 to 5 for one organization, in memory.

It is slow and plain on purpose: it sums every figure anew, and it is held against the real service after
every step of random lives. Times are whole microseconds; the caller always says what time it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.model import form
from tests.model.allocating import judge, perform, relabelled
from tests.model.changing import Done, amend, cancel, purchase, update
from tests.model.form import Operation
from tests.model.reading import Entitlement, entitlement
from tests.model.state import State
from tests.model.words import (
    MOST_OPERATIONS,
    SUSPENDED,
    Catalogue,
    Entry,
    Malformed,
    Refused,
    Result,
)


class HonestOrganization:
    """Each call settles first, then returns what it did or raises Refused and changes nothing.

    A request that is bad in itself (its form and bounds) is refused before anything is settled.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        now: int,
        *,
        overdraft_limit: int = 0,
        overdraft_unlimited: bool = False,
        display_name: str = "",
        request_id: str | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.state = State(now, {}, {}, overdraft_limit, overdraft_unlimited, display_name)
        self._remembered: dict[str, tuple[str, list[Result]]] = {}
        self.state.write("organization_created", "organization", now, now, request_id=request_id)
        self.state.close(0)

    @property
    def entries(self) -> list[Entry]:
        return self.state.entries

    def figures(self) -> dict[str, object]:
        return self.state.figures()

    # Time.

    def settle(self, now: int) -> None:
        """Apply everything that has come due, instant by instant. Time never runs backwards."""
        now = max(now, self.state.time)
        while (instant := self.state.next_instant()) is not None and instant <= now:
            self.state.settle_next(now)
        self.state.time = now
        self.state.check()

    def forecast(self, now: int, until: int) -> list[Entry]:
        """What settling would write if nobody called, `until` included."""
        self.settle(now)
        with self._undone(True):
            known = len(self.entries)
            self.state = self.state.copy()
            self.settle(until)
            return self.entries[known:]

    # Allocations.

    def enable(
        self,
        now: int,
        offering: str,
        units: int,
        *,
        allocation_id: str | None = None,
        priority: int | None = None,
        labels: dict[str, str] | None = None,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Result:
        op = {
            "op": "enable",
            "offering": offering,
            "units": units,
            "allocation_id": allocation_id,
            "priority": priority,
            "labels": labels,
            "request_id": request_id,
        }
        return self._single(now, op, validate_only)

    def adjust(
        self,
        now: int,
        allocation_id: str,
        delta_units: int,
        *,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Result:
        op = {
            "op": "adjust",
            "allocation_id": allocation_id,
            "delta_units": delta_units,
            "request_id": request_id,
        }
        return self._single(now, op, validate_only)

    def disable(
        self, now: int, allocation_id: str, *, request_id: str | None = None, validate_only: bool = False
    ) -> Result:
        op = {"op": "disable", "allocation_id": allocation_id, "request_id": request_id}
        return self._single(now, op, validate_only)

    def _single(self, now: int, op: Operation, validate_only: bool) -> Result:
        _form(form.operation_faults(op))
        self.settle(now)
        with self._undone(validate_only):
            return self._one(op, validate_only)

    def _one(self, op: Operation, validate_only: bool) -> Result:
        sent_id = op.get("request_id")
        request_id = str(sent_id) if sent_id is not None else None
        return self._call(
            form.operation_meaning(op),
            request_id,
            validate_only,
            lambda work: self._perform_all(work, [op], request_id, several=False),
        )[0]

    def apply(
        self,
        now: int,
        operations: Sequence[Operation],
        *,
        allow_partial: bool = False,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> list[Result | Refused]:
        """All or nothing: one result per operation, or Refused is raised with the operation's index.

        With `allow_partial`: a result or a refusal per operation, each a call of its own.
        """
        if not 1 <= len(operations) <= MOST_OPERATIONS:
            raise Malformed("INVALID_ARGUMENT", {"fields": ["operations"]})
        _form(form.faults({"request_id": request_id}))
        if allow_partial:
            _form(["request_id"] if request_id is not None else [])
            return self._apply_each(now, operations, validate_only)
        for index, op in enumerate(operations):
            bad = ["request_id"] if op.get("request_id") is not None else []
            _form(bad + form.operation_faults({**op, "request_id": request_id}), index)
        meant = form.operations_meaning(list(operations))
        self.settle(now)
        with self._undone(validate_only):
            results = self._call(
                meant,
                request_id,
                validate_only,
                lambda work: self._perform_all(work, list(operations), request_id, several=True),
            )
            return list(results)

    def _apply_each(
        self,
        now: int,
        operations: Sequence[Operation],
        validate_only: bool,
    ) -> list[Result | Refused]:
        self.settle(now)
        verdicts: list[Result | Refused] = []
        with self._undone(validate_only):
            for op in operations:
                try:
                    _form(form.operation_faults(op))
                    verdicts.append(self._one(op, validate_only))
                except Refused as refusal:
                    verdicts.append(refusal)
        return verdicts

    def _perform_all(
        self, work: State, operations: list[Operation], request_id: str | None, several: bool
    ) -> list[Done]:
        judge(work, self.catalogue, work.time, operations, several)
        done = []
        for op in operations:
            changed, new = perform(work, self.catalogue, work.time, op, request_id)
            done.append(Done(changed, f"allocations/{new.id}", new.shown()))
        return done

    def update_allocation(
        self,
        now: int,
        allocation_id: str,
        *,
        priority: int | None = None,
        labels: dict[str, str] | None = None,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Result:
        """None is a field outside the mask; an empty map of labels removes them all."""

        def act(work: State) -> Done:
            old = work.allocations.get(allocation_id)
            if old is None:
                raise Refused("ALLOCATION_NOT_FOUND", {"allocation": allocation_id})
            name = f"allocations/{allocation_id}"
            new = relabelled(old, priority, labels)
            if new != old:
                work.allocations[allocation_id] = new
                work.write("allocation_updated", name, work.time, work.time, request_id=request_id)
            return Done(new != old, name, work.shown(name))

        fields: dict[str, object] = {"allocation_id": allocation_id, "priority": priority, "labels": labels}
        return self._framed(now, "update_allocation", fields, request_id, validate_only, act)

    # Subscriptions.

    def create_subscription(
        self,
        now: int,
        credits: int,
        end: int,
        *,
        start: int | None = None,
        grace: int | None = None,
        subscription_id: str | None = None,
        renews: str | None = None,
        request_id: str | None = None,
        validate_only: bool = False,
        made_id: str | None = None,
    ) -> Result:
        """`made_id` is the id that the service made where none was given: no part of the request."""

        def act(work: State) -> Done:
            name = subscription_id or made_id or f"made-{len(work.entries) + 1}"
            return purchase(work, name, credits, start, end, grace, renews, request_id)

        fields: dict[str, object] = {
            "credits": credits,
            "end": end,
            "start": start,
            "grace": grace,
            "subscription_id": subscription_id,
            "renews": renews,
        }
        _form(["request_id"] if subscription_id is None and request_id is None else [])
        return self._framed(now, "create_subscription", fields, request_id, validate_only, act)

    def update_subscription(
        self,
        now: int,
        subscription_id: str,
        *,
        credits: int | None = None,
        start: int | None = None,
        end: int | None = None,
        grace: int | None = None,
        force: bool = False,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Result:
        """None is a field outside the mask."""
        all_fields = {"credits": credits, "start": start, "end": end, "grace": grace}
        sent = {name: value for name, value in all_fields.items() if value is not None}
        fields: dict[str, object] = {"subscription_id": subscription_id, "force": force, **sent}

        def act(work: State) -> Done:
            return amend(work, subscription_id, sent, force, request_id)

        return self._framed(now, "update_subscription", fields, request_id, validate_only, act)

    def cancel_subscription(
        self,
        now: int,
        subscription_id: str,
        *,
        force: bool = False,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Result:
        def act(work: State) -> Done:
            return cancel(work, subscription_id, force, request_id)

        fields: dict[str, object] = {"subscription_id": subscription_id, "force": force}
        return self._framed(now, "cancel_subscription", fields, request_id, validate_only, act)

    # The organization itself.

    def update_organization(
        self,
        now: int,
        *,
        overdraft_limit: int | None = None,
        overdraft_unlimited: bool | None = None,
        display_name: str | None = None,
        force: bool = False,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Result:
        """None is a field outside the mask."""
        all_fields = {
            "overdraft_limit": overdraft_limit,
            "overdraft_unlimited": overdraft_unlimited,
            "display_name": display_name,
        }
        sent = {name: value for name, value in all_fields.items() if value is not None}

        def act(work: State) -> Done:
            return update(work, sent, force, request_id)

        fields: dict[str, object] = {"force": force, **sent}
        return self._framed(now, "update_organization", fields, request_id, validate_only, act)

    # Reading.

    def check_entitlement(
        self, now: int, *, offering: str | None = None, allocation_id: str | None = None
    ) -> Entitlement:
        """Of an offering (all its allocations: the best state, and the units in it) or of one allocation."""
        if offering is not None and offering not in self.catalogue.offerings:
            raise Refused("OFFERING_NOT_FOUND", {"offering": offering})
        self.settle(now)
        return entitlement(self.state, offering, allocation_id)

    # The frame of every call.

    def _framed(
        self,
        now: int,
        method: str,
        fields: dict[str, object],
        request_id: str | None,
        validate_only: bool,
        act: Callable[[State], Done],
    ) -> Result:
        _form(form.faults({**fields, "request_id": request_id}) + form.term_faults(fields))
        meant = form.meaning(method, fields)
        self.settle(now)
        with self._undone(validate_only):
            return self._call(meant, request_id, validate_only, lambda work: [act(work)])[0]

    def _call(
        self,
        meant: str,
        request_id: str | None,
        validate_only: bool,
        act: Callable[[State], list[Done]],
    ) -> list[Result]:
        """Look the request id up, act on a copy, judge the threshold, keep it all, remember the answer."""
        remembered_as = None if validate_only else request_id
        if remembered_as is not None and remembered_as in self._remembered:
            first_meaning, first_answer = self._remembered[remembered_as]
            if first_meaning != meant:
                raise Refused("REQUEST_ID_REUSED", {"request_id": remembered_as})
            return first_answer
        work = self.state.copy()
        known = len(work.entries)
        done = act(work)
        work.judge_threshold(work.time, work.time, request_id)
        work.close(known)
        work.check()
        line = tuple(a.id for a in work.ranked(SUSPENDED))
        figures = work.figures()
        answer = [Result(d.changed, d.name, d.resource, figures, d.resumed, d.suspended, line) for d in done]
        self.state = work
        if remembered_as is not None:
            self._remembered[remembered_as] = (meant, answer)
        return answer

    @contextmanager
    def _undone(self, validate_only: bool) -> Iterator[None]:
        """With `validate_only`, forget what happens inside; what was settled before stays."""
        before = self.state
        try:
            yield
        finally:
            if validate_only:
                self.state = before


def _form(bad: list[str], index: int | None = None) -> None:
    if bad:
        raise Malformed("INVALID_ARGUMENT", {"fields": bad}, index)
