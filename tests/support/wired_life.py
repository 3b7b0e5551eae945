"""One life of an organization, lived over the wire and in the model, and compared after every step."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg

from services.ledger.store.database import Connection
from tests.model import words
from tests.model.honest import HonestOrganization
from tests.model.lives import BEGIN, Step, small_catalogue, take
from tests.support import wire_answers as wire
from tests.support.frozen_clock import FrozenClock
from tests.support.reflected import ReflectedClient, Refusal, refusal_of
from tests.support.wire_requests import Fields, Wording, price_is_new

Shown = dict[str, Any]


class WiredLife:
    def __init__(self, client: ReflectedClient, clock: FrozenClock, connection: Connection, seed: int) -> None:
        self.now = BEGIN
        self.catalogue = small_catalogue(BEGIN)
        self.model = HonestOrganization(self.catalogue, BEGIN)
        self.wording = Wording(f"life-{seed}", f"l{seed}.")
        self._client, self._clock, self._connection = client, clock, connection
        self._first_answers: dict[str, bytes] = {}
        self._creation: Fields = {}
        self._created: Any = None

    async def begin(self, *, overdraft_limit: int = 0, overdraft_unlimited: bool = False, request_id: str = "") -> None:
        await self._clock.set(self.now)
        offered = self.catalogue.offerings.items()
        await asyncio.gather(*(self._client.call("CreateOffering", **self.wording.creation(*each)) for each in offered))
        overdraft: Fields = {"overdraft_limit": overdraft_limit, "overdraft_unlimited": overdraft_unlimited}
        self.model = HonestOrganization(self.catalogue, self.now, **overdraft, request_id=request_id or None)
        named = {"organization_id": self.wording.organization, "organization": overdraft}
        self._creation = {**named, "request_id": request_id}
        self._created = await self._client.call("CreateOrganization", **self._creation)

    async def create_again(self) -> None:
        """The same call is answered as it was first; one under another id finds that it is there already."""
        assert await self._ask("CreateOrganization", self._creation) == self._created
        answer = await self._ask("CreateOrganization", {**self._creation, "request_id": "another"})
        assert isinstance(answer, Refusal)
        assert answer.reason == "ORGANIZATION_ALREADY_EXISTS"
        self.model.settle(self.now)

    async def move(self, wait: int) -> None:
        """Time passes, so many microseconds, and nobody calls."""
        self.now += wait
        await self._clock.set(self.now)

    async def take(self, step: Step, number: int) -> Any:
        """Both take the step: the answer on the wire, or the Refusal.

        Raises AssertionError where they come to differ.
        """
        if step.wait:
            await self.move(step.wait)
        method, fields = self.wording.request(step, number)
        answer = await self._ask(method, fields)
        if step.call == "change_price":
            self._compare_price(step, answer)
        elif step.call == "retire":
            take(self.model, self.catalogue, self.now, step)
            assert answer.retired
        elif step.call == "settle":
            self.model.settle(self.now)
            _same(wire.figures(answer.balance), self.model.figures())
            assert wire.instant(answer.balance.as_of) == self.now
        else:
            self._compare(step, answer)
            self._compare_replay(fields, answer)
        return answer

    async def compare_at_the_end(self) -> None:
        """Every entry, every list and every single resource."""
        balance = (await self._client.call("GetOrganization", name=self.wording.parent)).balance
        self.model.settle(self.now)
        _same(wire.figures(balance), self.model.figures())
        rows = await _entries(self._connection, self.wording.organization)
        ours = [wire.entry(row, self.wording) for row in rows]
        for mine, theirs in zip(ours, map(wire.model_entry, self.model.entries), strict=True):
            _same(mine, theirs)
        await self._compare_allocations()
        await self._compare_subscriptions()

    async def _ask(self, method: str, fields: Fields) -> Any:
        """The answer or the Refusal."""
        try:
            return await self._client.call(method, **fields)
        except Refusal as refused:
            return refused

    # One call.

    def _compare(self, step: Step, answer: Any) -> None:
        said = take(self.model, self.catalogue, self.now, self._told(step, answer))
        if isinstance(said, words.Refused):
            assert isinstance(answer, Refusal), f"the model refuses: {said}"
            _compare_refusals(wire.refusal(answer, self.wording), said)
        elif step.arguments.get("allow_partial"):
            assert isinstance(said, list)
            assert not isinstance(answer, Refusal), answer
            self._compare_each(said, answer)
            accepted = [each.figures for each in said if isinstance(each, words.Result)]
            would_be = accepted[-1] if accepted and step.arguments.get("validate_only") else self.model.figures()
            _same(wire.figures(answer.balance), would_be)
        else:
            assert not isinstance(answer, Refusal), answer
            results: Any = said if isinstance(said, list) else [said]
            several = step.call == "apply"
            _same(wire.answer(answer, self.wording), wire.model_answer(results, several=several))
            assert wire.instant(answer.balance.as_of) <= self.now

    def _compare_each(self, said: Sequence[object], answer: Any) -> None:
        assert len(said) == len(answer.results)
        for theirs, ours in zip(said, answer.results, strict=True):
            if isinstance(theirs, words.Refused):
                refused = refusal_of(ours.status)
                assert refused.size <= 2048
                assert {field.name for field, _ in ours.ListFields()} == {"status"}
                _compare_refusals(wire.refusal(refused, self.wording), theirs)
            else:
                assert isinstance(theirs, words.Result)
                assert ours.status.code == 0
                _same(wire.answer(ours, self.wording), wire.model_answer([theirs], several=True))

    def _compare_replay(self, fields: Fields, answer: Any) -> None:
        """The same request id is answered with the same bytes again."""
        key = fields.get("request_id")
        if not key or fields.get("validate_only") or isinstance(answer, Refusal):
            return
        data = answer.SerializeToString(deterministic=True)
        assert self._first_answers.setdefault(f"{answer.DESCRIPTOR.name} {key}", data) == data

    def _compare_price(self, step: Step, answer: Any) -> None:
        """A price that would be in force anyway adds no version, which is the catalogue's affair."""
        arguments: Any = step.arguments
        offering = self.catalogue.offerings[arguments["offering"]]
        if price_is_new(offering, arguments, self.now):
            take(self.model, self.catalogue, self.now, step)
        assert len(answer.prices) == len(offering.prices)
        assert answer.price.version == self.catalogue.price_at(arguments["offering"], self.now).version
        assert [wire.instant(each.effective_time) for each in answer.prices] == [p.since for p in offering.prices]

    # Ids that the server makes.

    def _told(self, step: Step, answer: Any) -> Step:
        """The step with the ids that the server made, now and before."""
        arguments = dict(step.arguments)
        for key in ("subscription_id", "renews"):
            if key in arguments:
                arguments[key] = self.wording.made.get(str(arguments[key]), arguments[key])
        made = arguments.get("made_id")
        if isinstance(made, str) and not isinstance(answer, Refusal):
            arguments["made_id"] = answer.subscription.name.rpartition("/")[2]
            if not arguments.get("validate_only"):
                self.wording.made[made] = str(arguments["made_id"])
        return Step(step.wait, step.call, _with_ids(step.call, arguments))

    # Lists.

    async def _compare_allocations(self) -> None:
        expected = [
            wire.model_resource(f"allocations/{each.id}", each.shown())
            for each in sorted(self.model.state.allocations.values(), key=lambda each: each.id)
        ]
        assert await self._list("ListAllocations", "allocations") == expected
        for state, number in (("ENABLED", 1), ("SUSPENDED", 2), ("DISABLED", 3)):
            found = await self._list("ListAllocations", "allocations", state=number)
            assert found == [each for each in expected if each["state"] == state]
        for offering in self.catalogue.offerings:
            those = [each for each in expected if each["offering"] == offering]
            for parent in (self.wording.parent, "organizations/-"):
                sent = {"parent": parent, "offering": self.wording.offering(offering)}
                assert await self._list("ListAllocations", "allocations", **sent) == those
        labelled = await self._list("ListAllocations", "allocations", labels={"team": "a"})
        assert labelled == [each for each in expected if each["labels"].get("team") == "a"]
        for each in expected:
            name = self.wording.allocation(each["name"].rpartition("/")[2])
            got = await self._client.call("GetAllocation", name=name)
            assert wire.allocation(got, self.wording) == each

    async def _compare_subscriptions(self) -> None:
        expected = [
            {"name": f"subscriptions/{each.id}", **each.shown()}
            for each in sorted(self.model.state.subscriptions.values(), key=lambda each: each.id)
        ]
        assert await self._list("ListSubscriptions", "subscriptions") == expected
        states = (words.SCHEDULED, words.ACTIVE, words.GRACE, words.EXPIRED, words.CANCELLED)
        for number, state in enumerate(states, 1):
            found = await self._list("ListSubscriptions", "subscriptions", state=number)
            assert found == [each for each in expected if each["state"] == state]
        for each in expected:
            got = await self._client.call("GetSubscription", name=f"{self.wording.parent}/{each['name']}")
            assert wire.subscription(got) == each

    async def _list(self, method: str, items: str, **fields: Any) -> list[Shown]:
        """All pages of two; every item holds at this instant."""
        found: list[Shown] = []
        token = ""
        while True:
            sent = {"parent": self.wording.parent, "page_size": 2, "page_token": token, **fields}
            answer = await self._client.call(method, **sent)
            for each in getattr(answer, items):
                assert wire.instant(each.as_of) == self.now
                shown = wire.allocation(each, self.wording) if items == "allocations" else wire.subscription(each)
                found.append(shown)
            token = answer.next_page_token
            if not token:
                return found
            assert len(getattr(answer, items)) == 2


def _with_ids(call: str, arguments: Fields) -> Fields:
    """The service asks for no id where nothing is changed; the model always does."""
    if not arguments.get("validate_only"):
        return arguments
    if arguments.get("allow_partial"):
        operations = [{"request_id": "any", **each} for each in arguments["operations"]]
        return {**arguments, "operations": operations}
    return {"request_id": "any", **arguments} if call in ("adjust", "apply") else arguments


def _compare_refusals(ours: Shown, refused: words.Refused) -> None:
    theirs = wire.model_refusal(refused)
    if isinstance(refused, words.Malformed):
        # The model stops at the first bad operation and at a missing id; the service names all bad fields at once.
        assert ours["reason"] == theirs["reason"]
        assert ours["fields"] >= theirs["fields"]
        return
    _same(ours, theirs)


def _same(ours: Shown, theirs: Shown) -> None:
    differing = {
        key: f"{ours.get(key)} is {theirs.get(key)} in the model"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    }
    assert not differing, differing


async def _entries(connection: Connection, organization: str) -> list[asyncpg.Record]:
    return await connection.fetch(
        """
        SELECT revision, kind, resource, effective_time, recorded_time, request_id, causes, cause_count, after, detail,
               valid_delta, grace_delta, allocated_delta, suspended_delta, valid_credits, grace_credits,
               allocated_credits, suspended_credits, overdraft_limit, overdraft_unlimited, last
        FROM entry WHERE organization = $1 ORDER BY revision
        """,
        organization,
    )
