"""One conformance case, step by step."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from earmark import EarmarkError
from tests.support.conformance import Case, at, differences, error_differences, fill, length, plain
from tests.support.conformance_client import Caller, Callers, Watch, python
from tests.support.conformance_host import HostProcess

CASE_SECONDS: Final = 20.0
STEP_KEYS: Final = {
    *("call", "with", "using", "keep", "takes_ms", "answer", "items", "contains", "error"),
    *("together", "advance", "watch", "as", "read", "close"),
    *("snapshot", "revisions", "balances", "caught_up", "disconnects"),
}


class Failed(AssertionError):
    """The client did not do what the case wants."""


async def run_case(case: Case, host: HostProcess, callers: Callers, seconds: float = CASE_SECONDS) -> None:
    """Raises Failed with everything that was not as the case wants it, also if it takes longer than that."""
    begun = await host.do("begin", case=case.told)
    options = case.told.get("client", {})
    addresses = [host.addresses[number - 1] for number in options.get("addresses", [1])]
    run = Run(host, datetime.fromisoformat(begun["now"]), begun["names"])
    failure: Exception | None = None
    try:
        async with asyncio.timeout(seconds), callers(addresses, options) as caller:
            await run.all(caller, case.told["steps"])
    except TimeoutError:
        failure = Failed(f"step {run.step_number}: it is not done after {seconds:g} s")
    except Exception as error:
        failure = error
    ended = await host.do("end")
    problems = [*([f"{type(failure).__name__}: {failure}"] if failure else []), *ended["problems"]]
    if problems:
        seen = "\n".join(json.dumps(each) for each in ended["attempts"])
        raise Failed("\n".join([case.name, *problems, "What the proxy saw:", seen])) from (
            None if isinstance(failure, Failed) else failure
        )


class Run:
    _caller: Caller

    def __init__(self, host: HostProcess, now: datetime, names: Mapping[str, Any]) -> None:
        self._host = host
        self._now = now
        self._names = dict(names)
        self._watches: dict[str, Reading] = {}
        self.step_number = 0
        """The one it is at, from 1."""

    async def all(self, caller: Caller, steps: Sequence[Mapping[str, Any]]) -> None:
        self._caller = caller
        try:
            for self.step_number, step in enumerate(steps, 1):
                try:
                    await self._step(step)
                except Failed as failed:
                    raise Failed(f"step {self.step_number}: {failed}") from failed.__cause__
        finally:
            for watch in self._watches.values():
                await watch.close()

    async def _step(self, given: Mapping[str, Any]) -> None:
        assert given.keys() <= STEP_KEYS, f"a step has no {sorted(given.keys() - STEP_KEYS)}"
        if "together" in given:
            await self._together(given["together"])
            return
        step = fill(given, self._names)
        if "call" in step:
            await self._call(step)
        elif "advance" in step:
            by = length(step["advance"])
            assert by is not None
            await self._host.advance(by.total_seconds())
        elif "watch" in step:
            self._watches[step["as"]] = Reading(self._caller, step["watch"], self._arguments(step))
        elif "read" in step:
            await self._watches[step["read"]].read(step, self._now)
        else:
            await self._watches.pop(step["close"]).close()

    async def _together(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """All at the same time, begun in this order."""
        done = await asyncio.gather(*(self._step(each) for each in steps), return_exceptions=True)
        failures = [each for each in done if isinstance(each, BaseException)]
        if failures:
            raise Failed("; ".join(str(each) for each in failures)) from failures[0]

    def _arguments(self, step: Mapping[str, Any]) -> dict[str, Any]:
        return {name: python(name, value, self._now) for name, value in step.get("with", {}).items()}

    async def _call(self, step: Mapping[str, Any]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            answer = await self._caller.call(step["call"], self._arguments(step), step.get("using", {}))
        except EarmarkError as error:
            if "error" not in step:
                raise Failed(f"{step['call']} raised {error!r}") from error
            found = error_differences(step["error"], error, self._now)
            self._keep(step, {"request_id": error.request_id})
        else:
            found = self._answer_differences(step, plain(answer))
        found += _late(step.get("takes_ms", {}), (clock() - began) * 1_000)
        if found:
            raise Failed(f"{step['call']}: {'; '.join(found)}")

    def _keep(self, step: Mapping[str, Any], answer: Any) -> None:
        for name, path in step.get("keep", {}).items():
            self._names[name] = at(answer, path)

    def _answer_differences(self, step: Mapping[str, Any], answer: Any) -> list[str]:
        if "error" in step:
            return [f"it succeeded with {answer!r}, and was to fail"]
        self._keep(step, answer)
        if "answer" in step:
            return differences(step["answer"], answer, self._now)
        if "items" in step:
            return differences(step["items"], answer, self._now)
        return [
            f"none of the items is {wanted!r}: {answer!r}"
            for wanted in step.get("contains", ())
            if all(differences(wanted, each, self._now) for each in answer)
        ]


class Reading:
    """A watch, and what it has brought."""

    def __init__(self, caller: Caller, name: str, arguments: Mapping[str, Any]) -> None:
        self._disconnects = 0
        self._watch: Watch = caller.watch(name, arguments, self._broke_off)

    def _broke_off(self, error: object) -> None:
        self._disconnects += 1

    async def close(self) -> None:
        await self._watch.close()

    async def read(self, step: Mapping[str, Any], now: datetime) -> None:
        """Until all that the step names has come, or the watch ends with an error."""
        events: list[Any] = []
        found: list[str] = []
        try:
            while not _enough(step, events, now):
                events.append(plain(await self._watch.next()))
        except EarmarkError as error:
            if "error" not in step:
                raise Failed(f"the watch ended with {error!r} after {events!r}") from error
            found += error_differences(step["error"], error, now)
        found += _event_differences(step, events, now)
        found += differences(step.get("disconnects", self._disconnects), self._disconnects, now, "disconnects")
        if found:
            raise Failed(f"{step['read']}: {'; '.join(found)}")


def _enough(step: Mapping[str, Any], events: Sequence[Any], now: datetime) -> bool:
    if "error" in step:
        return False
    if "balances" in step:
        return all(
            any(not differences(wanted, each, now) for event in events for each in event["balances"])
            for wanted in step["balances"]
        )
    if "caught_up" in step:
        return any(event["caught_up"] for event in events)
    return bool(events) and len(_revisions(events)) >= len(step.get("revisions", ()))


def _revisions(events: Sequence[Any]) -> list[int]:
    return [entry["revision"] for event in events for entry in event.get("entries", ())]


def _event_differences(step: Mapping[str, Any], events: Sequence[Any], now: datetime) -> list[str]:
    found: list[str] = []
    if "snapshot" in step:
        first = events[0]["snapshot"] if events else None
        found += differences(step["snapshot"], first, now, "the snapshot")
    if "revisions" in step:
        found += differences(step["revisions"], _revisions(events), now, "the revisions")
    return found


def _late(limits: Mapping[str, float], took_ms: float) -> list[str]:
    if limits.get("at_least", 0) <= took_ms <= limits.get("at_most", took_ms):
        return []
    return [f"it took {took_ms:.0f} ms, not {dict(limits)}"]
