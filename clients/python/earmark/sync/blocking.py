"""How a blocking client waits for the async one, which runs on an event loop in a thread of its own."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Generator
from concurrent.futures import Future
from typing import Any, Final, Self, TypeVar, cast

from earmark import client
from earmark.messages.channels import NOT_OPEN

T = TypeVar("T")

END: Final = object()
SETTLE_SECONDS: Final = 1.0


class Background:
    """One loop for all blocking clients of the process, for as long as any of them is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._was_used = self._is_forked = False
        os.register_at_fork(after_in_child=self._fork)

    def enter(self) -> None:
        """Raises RuntimeError in a process that was forked off one that had used it: gRPC does not survive that."""
        if self._is_forked:
            raise RuntimeError("gRPC was used before this process was forked: start it anew (`spawn`), or open later")
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._was_used = True
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="earmark", daemon=True)
                self._thread.start()

    def leave(self) -> None:
        with self._lock:  # Nobody begins anything meanwhile.
            self._users -= 1
            if self._users or self._loop is None or self._thread is None:
                return
            asyncio.run_coroutine_threadsafe(_settle(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = self._thread = None

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What it returns or raises. Interrupted by Ctrl-C, it is cancelled."""
        if self.is_here:
            work.close()
            raise RuntimeError(
                "a blocking call on the client's own loop, as from `on_disconnect`, would wait for itself"
            )
        future = self._begin(work)
        if future is None:
            raise RuntimeError(NOT_OPEN)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _begin(self, work: Coroutine[Any, Any, T]) -> "Future[T] | None":
        """None if there is no loop: then it never begins."""
        with self._lock:
            if self._loop is None:
                work.close()
                return None
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    @property
    def is_here(self) -> bool:
        """Whether whoever asks runs on the loop's own thread."""
        return threading.current_thread() is self._thread

    def end(self, items: Any) -> None:
        """Closes an iterator of the loop; waits for that where one can. Nothing is left to close once the loop is."""
        if self.is_here and self._loop is not None:
            asyncio.run_coroutine_threadsafe(_close(items), self._loop)
            return
        closing = self._begin(_close(items))
        if closing is not None:
            closing.result()

    def _fork(self) -> None:
        self._is_forked = self._was_used


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
            BACKGROUND.end(items)


async def _settle() -> None:
    """gRPC ends its own tasks a moment after what they were for; what does not end is ended."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=SETTLE_SECONDS)
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=SETTLE_SECONDS)
    await asyncio.get_running_loop().shutdown_asyncgens()


async def _next(items: AsyncIterator[T]) -> "T | object":
    return await anext(items, END)


async def _close(items: Any) -> None:
    await items.aclose()
