"""A machine that Hypothesis drives: the real service over the wire, beside the honest model.

Here is how each of its lives begins, passes and ends; `stateful_looks` has the looks and `stateful_calls` the calls.
"""

import asyncio
import itertools
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar
from uuid import UUID

import grpc
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from services.admin.verify import verify
from services.ledger.store.database import Connection
from tests.model.lives import Step
from tests.model.state import instants
from tests.support import stateful_arguments as some
from tests.support.frozen_clock import FrozenClock
from tests.support.reflected import ReflectedClient
from tests.support.stateful_arguments import Arguments
from tests.support.watching import Watching, check_gapless, raw_watch
from tests.support.wired_life import WiredLife
from tests.support.wired_looks import WiredLooks

PATIENCE_SECONDS: Final = 60.0

T = TypeVar("T")


@dataclass
class World:
    """The service that all examples share. Its loop runs in another thread than the machine."""

    loop: asyncio.AbstractEventLoop
    client: ReflectedClient
    channel: grpc.aio.Channel
    clock: FrozenClock
    connection: Connection
    thorough: bool = True
    """Whether each life is gone through once more at its end; not while what differs before is made smaller."""
    differed: bool = False
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _dice: random.Random = field(default_factory=random.Random)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_SECONDS)

    def new_life(self) -> WiredLife:
        """With an organization and offerings of its own; the ids that the service makes up are those of any other."""
        self._dice.seed(0)
        return WiredLife(self.client, self.clock, self.connection, next(self._numbers))

    def note_difference(self, *, at_the_end: bool) -> None:
        """Of the first, on which Hypothesis then works."""
        if not self.differed:
            self.differed, self.thorough = True, at_the_end

    def made_up_id(self) -> UUID:
        return UUID(int=self._dice.getrandbits(128))


@dataclass(frozen=True)
class Sent:
    """A call that was made with a request id, and when."""

    at: int
    step: Step


class LivedBoth(RuleBasedStateMachine):
    """One organization's life in the service and in the model; AssertionError is raised where they differ."""

    allocations: Bundle[str] = Bundle("allocations")
    subscriptions: Bundle[str] = Bundle("subscriptions")
    requests: Bundle[str] = Bundle("requests")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.lived = world.new_life()
        self.looks = WiredLooks(world.client, self.lived, 0)
        self.sent: dict[str, Sent] = {}
        """By request id, and by what was bought or enabled."""
        self._watch: Watching | None = None
        self._differs = False
        self._taken = itertools.count()
        self._ids = itertools.count(1)

    # How it begins and ends.

    async def start(self, overdraft: int, unlimited: bool) -> None:
        """An organization that has bought nothing; somebody watches it from the start."""
        await self.lived.begin(overdraft_limit=overdraft, overdraft_unlimited=unlimited, request_id="created")
        organization = self.lived.wording.organization
        if self.world.thorough:
            self._watch = Watching(raw_watch(self.world.channel, organization, after_revision=0))

    def teardown(self) -> None:
        if self._watch is None:
            return
        try:
            if not self._differs:
                self.world.run(self._agree_at_the_end(self._watch))
        except BaseException:
            self.world.note_difference(at_the_end=True)
            raise
        finally:
            self.world.run(self._watch.close())

    async def _agree_at_the_end(self, watch: Watching) -> None:
        """On every entry and every resource; the watcher has seen each revision once."""
        await self.lived.compare_at_the_end()
        await self.looks.look_back()
        newest = len(self.lived.model.entries)
        await watch.reaches(newest)
        check_gapless(watch, after=0, up_to=newest)
        report = await verify(self.world.connection, self.lived.wording.organization)
        assert (report.problems, report.entries) == ([], newest)

    @invariant()
    def they_agree(self) -> None:
        """On all figures; and as long as nobody calls, time alone has written nothing."""
        self.do(self._nothing_else_is_written())
        if self.lived.model.state.time == self.now:
            self.do(self.looks.look_at_usage())

    async def _nothing_else_is_written(self) -> None:
        stored = await self.world.connection.fetchrow(
            """
            SELECT valid_credits, grace_credits, allocated_credits, suspended_credits,
                valid_credits - allocated_credits AS available_credits, overdraft_limit, overdraft_unlimited, revision
            FROM organization WHERE organization = $1
            """,
            self.lived.wording.organization,
        )
        assert stored is not None
        assert dict(stored) == self.lived.model.figures()

    # Time.

    @rule(by=some.WAITS)
    def wait(self, by: int) -> None:
        self.do(self.lived.move(by))

    @precondition(lambda self: self.ahead())
    @rule(which=st.integers(0, 3), beside=st.sampled_from((0, -1, 1)))
    def wait_until_something_is_due(self, which: int, beside: int) -> None:
        """To the very microsecond, to the one before, or to the one after."""
        ahead = self.ahead()
        self.do(self.lived.move(max(0, ahead[which % len(ahead)] + beside - self.now)))

    # What calls are made of.

    @property
    def now(self) -> int:
        return self.lived.now

    def ahead(self) -> list[int]:
        """Instants at which something falls due, in order."""
        there = self.lived.model.state.subscriptions.values()
        return sorted({each for one in there for each in instants(one) if each > self.now})

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self.world.run(work)
        except BaseException:
            self._differs = True
            self.world.note_difference(at_the_end=False)
            raise

    def take(self, step: Step) -> Any:
        """The answer on the wire, or the Refusal."""
        return self.do(self.lived.take(step, next(self._taken)))

    def call(self, call: str, arguments: Arguments, way: str, known_as: str = "") -> tuple[Any, str]:
        """As `take`, and the request id or "". What was sent with an id is kept, by that or by what it is known as."""
        arguments = {key: value for key, value in arguments.items() if value is not None}
        request_id = ""
        if way == some.WITH_AN_ID or needs_an_id(call, arguments):
            request_id = arguments["request_id"] = self.new_id()
        step = Step(0, call, arguments)
        foretold = self._ask_first(step) if way == some.ASKED_FIRST else None
        answer = self.take(step)
        if foretold is not None:
            assert getattr(foretold, "reason", None) == getattr(answer, "reason", None)
        if request_id:
            self.sent[known_as or request_id] = Sent(self.now, step)
        return answer, request_id

    def new_id(self) -> str:
        return f"r{next(self._ids)}"

    def _ask_first(self, step: Step) -> Any:
        """What would happen, and nothing does."""
        foretold = self.take(replace(step, arguments={**step.arguments, "validate_only": True}))
        self.do(self._nothing_else_is_written())
        return foretold


def needs_an_id(call: str, arguments: Arguments) -> bool:
    if call == "create_subscription":
        return "subscription_id" not in arguments
    return call == "adjust" or (call == "apply" and not arguments.get("allow_partial"))
