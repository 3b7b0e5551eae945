"""Calls that are made at the same time travel together, and nobody sees it.

Of each organization and actor one ApplyOperations is on its way at a time; what comes meanwhile goes with the next
one. So a caller that is alone waits for nobody, and the order in which the calls were made is kept.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import grpc

from earmark import names
from earmark.errors import EarmarkError
from earmark.messages import MessageClient
from earmark.messages.connection import Manner, new_request_id, pause_seconds
from earmark.operations import Step
from earmark.reading import answers
from earmark.types import AllocationChange, OperationResult
from earmark.v1 import allocation_service_pb2 as pb

OPERATIONS_MAX: Final = 1_000
"""The contract's."""
BYTES_MAX: Final = 3 * 2**20
"""Of the operations of one call. The largest 1,000 that are legal have less, and a message may have 4 MiB."""

Key: TypeAlias = tuple[str, str]
"""Organization and actor."""


@dataclass(eq=False, slots=True)
class Waiting:
    """One caller's operation."""

    operation: pb.Operation
    expires_at: float
    change: "asyncio.Future[AllocationChange]"
    failures: int = 0
    last: EarmarkError | None = None
    """Of its latest attempt."""

    @property
    def request_id(self) -> str:
        return self.operation.request_id

    def fail(self, error: BaseException) -> None:
        if not self.change.done():
            self.change.set_exception(error)


class Coalescer:
    """All calls of one client. Each has its own request id, deadline, answer and error."""

    def __init__(self, messages: MessageClient) -> None:
        self._messages = messages
        self._lanes: dict[Key, _Lane] = {}

    async def carry_out(self, manner: Manner, organization: str, step: Step) -> AllocationChange:
        """As the call of its own that the step stands for. Whoever is cancelled touches no other's."""
        operation = step.to_wire(organization)
        operation.request_id = operation.request_id or new_request_id()
        loop = asyncio.get_running_loop()
        waiting = Waiting(operation, loop.time() + manner.timeout_seconds, loop.create_future())
        timer = loop.call_at(waiting.expires_at, _expire, waiting)
        key = (names.organization(organization), manner.actor)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(self, key, manner)
        lane.add(waiting)
        try:
            return await waiting.change
        finally:
            timer.cancel()
            waiting.change.cancel()

    async def close(self) -> None:
        """Returns when nothing is waiting or under way."""
        while self._lanes:
            await asyncio.wait([lane.task for lane in self._lanes.values()])

    def forget(self, key: Key) -> None:
        del self._lanes[key]

    def speaking(self, actor: str, timeout_seconds: float) -> MessageClient:
        return self._messages.using(actor=actor, timeout_seconds=timeout_seconds)


class _Lane:
    """The calls of one organization and actor, in the order in which they were made; for as long as there are any."""

    def __init__(self, coalescer: Coalescer, key: Key, manner: Manner) -> None:
        self._coalescer = coalescer
        self._key = key
        self._retry = manner.retry
        self._queue: deque[Waiting] = deque()
        self.task = asyncio.create_task(self._work())

    def add(self, waiting: Waiting) -> None:
        self._queue.append(waiting)

    async def _work(self) -> None:
        try:
            while batch := self._take():
                again, pause = await self._send(batch)
                self._queue.extendleft(reversed(again))
                # Those that have their answers may have more to ask, and it goes with the next one.
                await asyncio.sleep(pause)
        finally:
            self._coalescer.forget(self._key)
            for each in self._queue:  # Nobody will take them: the loop is about to end.
                each.change.cancel()

    def _take(self) -> list[Waiting]:
        """The next operations; what nobody waits for any more is dropped."""
        batch: list[Waiting] = []
        size = 0
        while self._queue and len(batch) < OPERATIONS_MAX:
            waiting = self._queue[0]
            size += waiting.operation.ByteSize()
            if batch and size > BYTES_MAX:  # What is too large for any call fails alone.
                break
            self._queue.popleft()
            if not waiting.change.done():
                batch.append(waiting)
        return batch

    async def _send(self, batch: Sequence[Waiting]) -> tuple[list[Waiting], float]:
        """Delivers what is final; the others are to be sent again, after so many seconds."""
        organization, actor = self._key
        now = asyncio.get_running_loop().time()
        seconds = max(each.expires_at for each in batch) - now
        request = pb.ApplyOperationsRequest(
            parent=organization, operations=[each.operation for each in batch], allow_partial=True
        )
        call = asyncio.ensure_future(self._coalescer.speaking(actor, seconds).apply_once(request))
        _end_with_the_last(batch, call)
        await asyncio.wait([call])
        if call.cancelled():
            return [], 0
        error = call.exception()
        if error is not None and not isinstance(error, EarmarkError):
            for each in batch:
                each.fail(error)
            return [], 0
        outcomes: list[EarmarkError | OperationResult] = (
            [error] * len(batch)
            if error is not None
            else [
                answers.operation_result(result, each.request_id)
                for result, each in zip(call.result().results, batch, strict=True)
            ]
        )
        return self._deliver(batch, outcomes)

    def _deliver(
        self, batch: Sequence[Waiting], outcomes: Sequence[EarmarkError | OperationResult]
    ) -> tuple[list[Waiting], float]:
        again: list[Waiting] = []
        longest = 0.0
        for each, outcome in zip(batch, outcomes, strict=True):
            if each.change.done():
                continue
            error = outcome.error if isinstance(outcome, OperationResult) else outcome
            if error is None:
                each.change.set_result(_change(outcome))
                continue
            each.last = _own(error, each.request_id).after(each.last)
            pause = self._pause(each, error)
            if pause is None:
                each.fail(each.last)
            else:
                again.append(each)
                longest = max(longest, pause)
        return again, longest

    def _pause(self, waiting: Waiting, error: EarmarkError) -> float | None:
        """Before its next attempt; None if there is to be none."""
        waiting.failures += 1
        pause = pause_seconds(self._retry, waiting.failures, error)
        if pause is None or asyncio.get_running_loop().time() + pause >= waiting.expires_at:
            return None
        return pause


def _end_with_the_last(batch: Sequence[Waiting], call: "asyncio.Future[Any]") -> None:
    """Nobody waits for a call that nobody waits for."""
    left = len(batch)

    def leave(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            call.cancel()

    for each in batch:
        each.change.add_done_callback(leave)


def _change(outcome: EarmarkError | OperationResult) -> AllocationChange:
    assert isinstance(outcome, OperationResult)
    assert outcome.allocation is not None
    assert outcome.balance is not None
    return AllocationChange(allocation=outcome.allocation, balance=outcome.balance)


def _own(error: EarmarkError, request_id: str) -> EarmarkError:
    """An exception of one's own: whoever raises it adds to it."""
    return EarmarkError.of(
        error.reason,
        error.code,
        error.message,
        metadata=error.metadata,
        details=error.details,
        request_id=request_id,
    )


def _expire(waiting: Waiting) -> None:
    waiting.fail(
        EarmarkError.of("", grpc.StatusCode.DEADLINE_EXCEEDED, "No answer came in time.", request_id=waiting.request_id)
    )
