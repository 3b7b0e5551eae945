"""Everybody who takes part: who calls, who watches and who listens, and how they end."""

import asyncio
import json
import os
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import earmark
from earmark import names
from earmark.v1.organization_service_pb2 import GetOrganizationRequest
from tests.chaos.load.calling import AT_ONCE, MANY_AT_ONCE, Caller, Client
from tests.chaos.load.listening import Listener, look_after_notices
from tests.chaos.load.plain import Plain, channel_to
from tests.chaos.load.plan import Plan
from tests.chaos.load.preparing import prepare, quiet_down
from tests.chaos.load.recording import Recorder, Wish
from tests.chaos.load.sdk import CoalescingSdk, Sdk
from tests.chaos.load.watching import Watched, a_start, catch_up, watch_by_sdk, watch_plainly
from tests.chaos.load.wishing import Wisher

QUIET_SECONDS: Final = 20.0
CATCH_UP_SECONDS: Final = 20.0
ASK_SECONDS: Final = 5.0
LATECOMER_SECONDS: Final = 1.5
"""From one that begins to watch to the next."""
REPORT_SECONDS: Final = 0.2


async def work(plan: Plan, recorder: Recorder, drain: asyncio.Event) -> None:
    """Prepares, says that it is ready, and lets them all work until it is to drain; then it waits for the watchers.

    By then no time writes entries any more: what the watchers have seen is all that the ledgers have.
    """
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        listener = Listener(plan.redis_url, plan.notice_prefix, recorder)
        listening = group.create_task(listener.run())
        await listener.connected.wait()
        client = await stack.enter_async_context(earmark.Client(plan.addresses))
        watchers = Watchers(plan, recorder, client)
        plain = [await _plain(stack, address) for address in plan.addresses]
        revisions = await prepare(plan, Client("prepare", recorder), plain[0])
        forever = [
            *(
                look_after_notices(listener, Client(f"after-notice-{n}", recorder), way)
                for n, way in enumerate(plain, 1)
            ),
            *watchers.of_the_sdk(revisions),
            watchers.latecomers(plain, drain),
        ]
        background = [listening, *(group.create_task(each) for each in forever)]
        callers = [await _caller(plan, recorder, stack, number) for number in range(1, plan.callers + 1)]
        say(ready=True)
        background.append(group.create_task(_report(recorder)))
        calling = [group.create_task(each.run(drain)) for each in callers]
        await drain.wait()
        await asyncio.wait(calling)
        await quiet_down(plan, Client("quiet", recorder), Sdk(client), QUIET_SECONDS)
        behind = await catch_up(list(watchers.watched), watchers.newest, CATCH_UP_SECONDS)
        for task in background:
            task.cancel()
    say(**asdict(recorder.counts), behind=len(behind))


def say(**line: object) -> None:
    """At once, on the standard output."""
    os.write(1, json.dumps(line).encode() + b"\n")


@dataclass
class Watchers:
    plan: Plan
    recorder: Recorder
    client: earmark.Client
    watched: list[Watched] = field(default_factory=list)

    def of_the_sdk(self, revisions: dict[str, int]) -> list[Coroutine[Any, Any, None]]:
        """One for each organization, which has this revision by now."""
        chance = self.plan.chance("watchers")
        watching = [self._watched(f"sdk-{each}", each, a_start(chance, revisions[each])) for each in revisions]
        return [watch_by_sdk(self.client, each, self.plan.silence_seconds) for each in watching]

    async def latecomers(self, plain: list[Plain], drain: asyncio.Event) -> None:
        """One after the other they come, to half of the organizations, and watch for ever. None comes to a draining."""
        chance = self.plan.chance("latecomers")
        async with asyncio.TaskGroup() as group:
            for organization in self.plan.organization_ids[::2]:
                await asyncio.sleep(LATECOMER_SECONDS)
                revision = await self.newest(organization)
                if drain.is_set():
                    break
                watched = self._watched(f"plain-{organization}", organization, a_start(chance, revision or 0))
                group.create_task(watch_plainly(plain, watched, chance, self.plan.silence_seconds))

    async def newest(self, organization: str) -> int | None:
        """The newest revision of an organization; None where it cannot be found out."""
        wish = Wish("GetOrganization", organization, GetOrganizationRequest(name=names.organization(organization)))
        made = await self._asking.make(wish, Sdk(self.client), ASK_SECONDS)
        return made.answer.balance.revision if made.answer is not None else None

    def __post_init__(self) -> None:
        self._asking = Client("watchers", self.recorder)

    def _watched(self, watcher: str, organization: str, after: int) -> Watched:
        watched = Watched(watcher, organization, after, self.recorder)
        self.watched.append(watched)
        return watched


async def _caller(plan: Plan, recorder: Recorder, stack: AsyncExitStack, number: int) -> Caller:
    """By turns of the SDK and plain; the first one of the SDK lets calls travel together."""
    by_sdk, coalesces = number % 2 == 1, number == 1
    name = f"{'together' if coalesces else 'sdk' if by_sdk else 'plain'}-{number}"
    chance = plan.chance(name)
    ways: list[Sdk | Plain]
    if by_sdk:
        client = await stack.enter_async_context(earmark.Client(plan.addresses, coalesce=coalesces))
        ways = [CoalescingSdk(client) if coalesces else Sdk(client)]
    else:
        first = number // 2 % len(plan.addresses)
        ways = [await _plain(stack, address) for address in plan.addresses[first:] + plan.addresses[:first]]
    return Caller(
        Client(name, recorder, one_actor=coalesces),
        Wisher(name, chance, plan.organization_ids, always_ids=by_sdk),
        chance,
        list(ways),
        at_once=MANY_AT_ONCE if coalesces else AT_ONCE,
        seconds_per_call=plan.callers / plan.calls_per_second,
    )


async def _plain(stack: AsyncExitStack, address: str) -> Plain:
    return Plain(address, await stack.enter_async_context(channel_to(address)))


async def _report(recorder: Recorder) -> None:
    """For ever."""
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        say(**asdict(recorder.counts))
