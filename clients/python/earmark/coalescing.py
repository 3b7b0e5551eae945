"""Calls that are made at the same time travel together, and nobody sees it.

Of each organization and actor one ApplyOperations is on its way at a time; what comes meanwhile goes with the next
one. So a caller that is alone waits for nobody. What concerns one allocation is done in the order in which it was
asked for, also where a part of it is put off.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import grpc

from earmark import names
from earmark.errors import EarmarkError
from earmark.messages import MessageClient
from earmark.messages.channels import NOT_OPEN
from earmark.messages.connection import Manner, new_request_id, pause_seconds
from earmark.operations import Adjust, Enable, Step
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
    allocation: str
    adjusts: bool
    """Adjustments of one allocation that are asked for at the same time may be done in any order."""
    expires_at: float
    change: "asyncio.Future[AllocationChange]"
    not_before: float = 0.0
    """It was put off until then."""
    failures: int = 0
    last: EarmarkError | None = None
    """Of its latest attempt."""
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    """Its caller's, for whoever traces calls."""

    @property
    def request_id(self) -> str:
        return self.operation.request_id

    def fail(self, error: BaseException) -> None:
        if not self.change.done():
            self.change.set_exception(error)

    def expire(self) -> None:
        text = "No answer came in time."
        self.fail(EarmarkError.of("", grpc.StatusCode.DEADLINE_EXCEEDED, text, request_id=self.request_id))


class Coalescer:
    """All calls of one client. Each has its own request id, deadline, answer and error."""

    def __init__(self, messages: MessageClient) -> None:
        self._messages = messages
        self._lanes: dict[Key, _Lane] = {}
        self._is_closing = False

    async def carry_out(self, manner: Manner, organization: str, step: Step) -> AllocationChange:
        """As the call of its own that the step stands for. Whoever is cancelled touches no other's."""
        if self._is_closing:
            raise RuntimeError(NOT_OPEN)
        operation = step.to_wire(organization)
        operation.request_id = operation.request_id or new_request_id()
        loop = asyncio.get_running_loop()
        allocation = step.allocation or (step.offering if isinstance(step, Enable) else "")
        waiting = Waiting(
            operation,
            names.id_of(allocation),
            isinstance(step, Adjust),
            loop.time() + manner.timeout_seconds,
            loop.create_future(),
        )
        timer = loop.call_at(waiting.expires_at, waiting.expire)
        self._lane(manner, organization).add(waiting)
        try:
            return await waiting.change
        finally:
            timer.cancel()
            waiting.change.cancel()

    async def close(self) -> None:
        """Takes no more calls; returns when none is waiting or under way."""
        self._is_closing = True
        while self._lanes:
            await asyncio.wait([lane.task for lane in self._lanes.values()])

    def forget(self, key: Key) -> None:
        del self._lanes[key]

    def _lane(self, manner: Manner, organization: str) -> "_Lane":
        key = (names.organization(organization), manner.actor)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(self, self._messages.using(actor=manner.actor), key, manner)
        return lane


class _Lane:
    """The calls of one organization and actor, in the order in which they were made; for as long as there are any."""

    def __init__(self, coalescer: Coalescer, messages: MessageClient, key: Key, manner: Manner) -> None:
        self._coalescer = coalescer
        self._messages = messages
        self._key = key
        self._retry = manner.retry
        self._queue: deque[Waiting] = deque()
        self._not_before = 0.0
        """The whole call failed: nothing is sent until then."""
        self._added = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        self.task = asyncio.create_task(self._work())

    def add(self, waiting: Waiting) -> None:
        self._queue.append(waiting)
        self._added.set()

    async def _work(self) -> None:
        batch: list[Waiting] = []
        try:
            while self._queue:
                self._added.clear()
                batch = self._take()
                if batch:
                    await self._send(batch)
                    # Those that have their answers may have more to ask, and it goes with the next one.
                    await asyncio.sleep(0)
                elif self._queue:
                    await self._wait()
        except Exception as error:
            for each in [*batch, *self._queue]:
                each.fail(error)
        finally:
            self._coalescer.forget(self._key)
            for each in self._queue:  # The loop is about to end, and nobody will take them.
                each.change.cancel()

    async def _wait(self) -> None:
        """Until something that was put off may be sent, or more is asked for."""
        now = self._now()
        until = max(
            self._not_before, min((each.not_before for each in self._queue if each.not_before > now), default=now)
        )
        waking = self._added.wait()
        try:
            async with asyncio.timeout(max(0.0, until - now)):
                await waking
        except TimeoutError:
            pass

    def _take(self) -> list[Waiting]:
        """The next operations that may be sent, in order. What nobody waits for any more is dropped."""
        now = self._now()
        batch: list[Waiting] = []
        left: list[Waiting] = []
        taken: dict[str, bool] = {}
        held: set[str] = set()
        size = 0
        while self._queue and len(batch) < OPERATIONS_MAX and now >= self._not_before:
            each = self._queue.popleft()
            if each.expires_at <= now:
                each.expire()
            if each.change.done():
                continue
            size += each.operation.ByteSize()
            if batch and size > BYTES_MAX:  # What is too large for any call fails alone.
                left.append(each)
                break
            alone = each.allocation in taken and not (each.adjusts and taken[each.allocation])
            if each.not_before > now or each.allocation in held or alone:
                size -= each.operation.ByteSize()
                held.add(each.allocation)
                left.append(each)
                continue
            taken[each.allocation] = each.adjusts
            batch.append(each)
        self._queue.extendleft(reversed(left))
        return batch

    async def _send(self, batch: Sequence[Waiting]) -> None:
        """Delivers what is final; the rest is put off."""
        request = pb.ApplyOperationsRequest(
            parent=self._key[0], operations=[each.operation for each in batch], allow_partial=True
        )
        seconds = max(each.expires_at for each in batch) - self._now()
        call = asyncio.create_task(self._messages.apply_once(request, seconds), context=batch[0].context)
        _end_with_the_last(batch, call)
        await asyncio.wait([call])
        if call.cancelled():
            return
        error = call.exception()
        if isinstance(error, EarmarkError):
            again = self._deliver(batch, [error] * len(batch))
            self._not_before = min((each.not_before for each in again), default=0.0)
        elif error is not None:
            raise error
        else:
            results = call.result().results
            read = (answers.operation_result(each, of.request_id) for each, of in zip(results, batch, strict=True))
            again = self._deliver(batch, list(read))
        self._queue.extendleft(reversed(again))

    def _deliver(self, batch: Sequence[Waiting], outcomes: Sequence[EarmarkError | OperationResult]) -> list[Waiting]:
        """Those that are to be sent again."""
        again: list[Waiting] = []
        for each, outcome in zip(batch, outcomes, strict=True):
            if each.change.done():
                continue
            error = outcome.error if isinstance(outcome, OperationResult) else outcome
            if error is None:
                each.change.set_result(_change(outcome))
                continue
            each.last = _own(error, each.request_id).after(each.last)
            each.failures += 1
            pause = pause_seconds(self._retry, each.failures, error)
            if pause is None or self._now() + pause >= each.expires_at:
                each.fail(each.last)
            else:
                each.not_before = self._now() + pause
                again.append(each)
        return again


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
