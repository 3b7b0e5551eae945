"""How a blocking client waits for the async one, which runs on an event loop in a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Generator
from concurrent.futures import Future
from typing import Any, Final, Self, TypeVar, cast

from earmark import client

T = TypeVar("T")

NOT_OPEN: Final = "the client is not open: use `with Client(...) as client`"
END: Final = object()
SETTLE_SECONDS: Final = 1.0


class Background:
    """One loop for all blocking clients of the process, for as long as any of them is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="earmark", daemon=True)
                self._thread.start()

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users or self._loop is None or self._thread is None:
                return
            self.wait(_settle())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = self._thread = None

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What it returns or raises. Interrupted by Ctrl-C, it is cancelled."""
        if self._loop is None:
            work.close()
            raise RuntimeError(NOT_OPEN)
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


BACKGROUND: Final = Background()


class Blocking:
    """A context manager, to be entered once. The calls are in its subclass. May be used by many threads."""

    _client: client.Client

    def __enter__(self) -> Self:
        BACKGROUND.enter()
        try:
            BACKGROUND.wait(self._client.__aenter__())
        except BaseException:
            BACKGROUND.leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            BACKGROUND.wait(self._client.__aexit__())
        finally:
            BACKGROUND.leave()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return BACKGROUND.wait(work)

    def _iterate(self, items: AsyncIterator[T]) -> Generator[T, None, None]:
        """Its items one by one. Whoever leaves early, or closes it, closes `items`."""
        try:
            while (item := BACKGROUND.wait(_next(items))) is not END:
                yield cast(T, item)
        finally:
            BACKGROUND.wait(_close(items))


async def _settle() -> None:
    """gRPC ends its own tasks a moment after what they were for."""
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=SETTLE_SECONDS)


async def _next(items: AsyncIterator[T]) -> "T | object":
    return await anext(items, END)


async def _close(items: Any) -> None:
    await items.aclose()
