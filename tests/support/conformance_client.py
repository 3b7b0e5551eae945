"""How a case's calls are made with the Python client: the async one, and the blocking one from threads."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol, TypeVar

import earmark
from earmark import sync
from earmark.types import Price
from tests.support.conformance import instant, length

STEPS: Final[Mapping[str, Callable[..., earmark.Step]]] = {
    "enable": earmark.Enable,
    "adjust": earmark.Adjust,
    "disable": earmark.Disable,
}
OPTIONS: Final = {"addresses", "timeout_ms", "retry", "actor", "coalesce"}
USING: Final = {"timeout_ms", "actor"}

T = TypeVar("T")


class Watch(Protocol):
    async def next(self) -> Any: ...
    async def close(self) -> None: ...


class Caller(Protocol):
    """A client, as the runner uses it."""

    async def call(self, name: str, arguments: Mapping[str, Any], using: Mapping[str, Any]) -> Any:
        """What it answers; of a list all items."""
        ...

    def watch(self, name: str, arguments: Mapping[str, Any], told: Callable[[object], None]) -> Watch:
        """`told` is called whenever it breaks off and is taken up again."""
        ...


Callers = Callable[..., AbstractAsyncContextManager[Caller]]


def python(name: str, value: Any, now: datetime) -> Any:
    """An argument of that name, as the Python client takes it."""
    if name == "price" and isinstance(value, Mapping):
        given = {key: python(key, each, now) for key, each in value.items()}
        return Price(**{**given, "credits_per_block": Decimal(given["credits_per_block"])})
    if name == "operations":
        return [_step(each) for each in value]
    if name == "lines":
        return [(each["offering"], each["units"]) for each in value]
    if name == "grace_period":
        return length(value)
    moment = instant(value, now) if isinstance(value, str) else None
    return value if moment is None else moment


def _step(told: Mapping[str, Any]) -> earmark.Step:
    request_id = told.get("request_id", "")
    [(name, arguments)] = ((key, value) for key, value in told.items() if key != "request_id")
    return STEPS[name](**arguments, request_id=request_id)


def _options(told: Mapping[str, Any]) -> dict[str, Any]:
    assert told.keys() <= OPTIONS, f"a client has no {sorted(told.keys() - OPTIONS)}"
    options: dict[str, Any] = {"timeout_seconds": told.get("timeout_ms", 10_000) / 1_000}
    options |= {key: told[key] for key in ("actor", "coalesce") if key in told}
    return options | ({} if told.get("retry", True) else {"retry": None})


def _using(told: Mapping[str, Any]) -> dict[str, Any]:
    assert told.keys() <= USING, f"a call has no {sorted(told.keys() - USING)} of its own"
    options = {key: told[key] for key in ("actor",) if key in told}
    return options | ({"timeout_seconds": told["timeout_ms"] / 1_000} if "timeout_ms" in told else {})


def _watched(client: Any, name: str, arguments: Mapping[str, Any], told: Callable[[object], None]) -> Any:
    given = dict(arguments)
    several = given.pop("organizations", ())
    silence = given.pop("silence_ms", 30_000) / 1_000
    return getattr(client, name)(*several, **given, silence_seconds=silence, on_disconnect=told)


class AsyncCaller:
    def __init__(self, client: earmark.Client) -> None:
        self._client = client

    async def call(self, name: str, arguments: Mapping[str, Any], using: Mapping[str, Any]) -> Any:
        client = self._client.using(**_using(using)) if using else self._client
        answer = getattr(client, name)(**arguments)
        return [each async for each in answer] if isinstance(answer, AsyncIterator) else await answer

    def watch(self, name: str, arguments: Mapping[str, Any], told: Callable[[object], None]) -> Watch:
        return AsyncWatch(_watched(self._client, name, arguments, told))


class AsyncWatch:
    def __init__(self, events: Any) -> None:
        self._events = events

    async def next(self) -> Any:
        return await anext(self._events)

    async def close(self) -> None:
        await self._events.aclose()


async def _in_thread(work: Callable[[], T]) -> T:
    """What it returns or raises. Unlike asyncio's own threads, one that waits for ever keeps no program from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(take: Callable[[Any], None], outcome: Any) -> None:
        if not done.done():
            take(outcome)

    def run() -> None:
        try:
            loop.call_soon_threadsafe(tell, done.set_result, work())
        except BaseException as error:
            loop.call_soon_threadsafe(tell, done.set_exception, error)

    threading.Thread(target=run, daemon=True).start()
    return await done


class SyncCaller:
    def __init__(self, client: sync.Client) -> None:
        self._client = client

    async def call(self, name: str, arguments: Mapping[str, Any], using: Mapping[str, Any]) -> Any:
        return await _in_thread(lambda: self._call(name, arguments, using))

    def _call(self, name: str, arguments: Mapping[str, Any], using: Mapping[str, Any]) -> Any:
        client = self._client.using(**_using(using)) if using else self._client
        answer = getattr(client, name)(**arguments)
        return list(answer) if isinstance(answer, Iterator) else answer

    def watch(self, name: str, arguments: Mapping[str, Any], told: Callable[[object], None]) -> Watch:
        return SyncWatch(_watched(self._client, name, arguments, told))


class SyncWatch:
    def __init__(self, events: Any) -> None:
        self._events = events
        self._is_waiting = False

    async def next(self) -> Any:
        self._is_waiting = True
        event = await _in_thread(lambda: next(self._events))
        self._is_waiting = False
        return event

    async def close(self) -> None:
        if not self._is_waiting:  # Otherwise the case has failed, and its client's end is that of the watch.
            await _in_thread(self._events.close)


@asynccontextmanager
async def async_caller(addresses: Sequence[str], options: Mapping[str, Any]) -> AsyncIterator[Caller]:
    async with earmark.Client(addresses, **_options(options)) as client:
        yield AsyncCaller(client)


@asynccontextmanager
async def sync_caller(addresses: Sequence[str], options: Mapping[str, Any]) -> AsyncIterator[Caller]:
    client = await _in_thread(sync.Client(addresses, **_options(options)).__enter__)
    try:
        yield SyncCaller(client)
    finally:
        await _in_thread(client.__exit__)
