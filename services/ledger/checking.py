"""Reading what entitlements are judged by: whoever asks while a read of an organization is under way shares the next.

So an organization that is asked about all the time costs one statement after the other, and not one for each caller. A
read begins after everyone who shares it has asked, so nobody gets an answer from before the question.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.ledger.rules.limits import NAMES_ASKED_MAX
from services.ledger.store.usage_reads import EntitlementRows

Read = Callable[[str, Sequence[str], Sequence[str]], Awaitable[EntitlementRows]]
"""Of an organization, with these offerings and these allocations, settled. Raises Refused."""

SHARED_TARGETS_MAX: Final = 2 * NAMES_ASKED_MAX


@dataclass(eq=False)
class Shared:
    """One read for all who asked before it began."""

    offerings: set[str] = field(default_factory=set)
    allocations: set[str] = field(default_factory=set)
    rows: "asyncio.Future[EntitlementRows]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def has_room_for(self, targets: int) -> bool:
        return len(self.offerings) + len(self.allocations) + targets <= SHARED_TARGETS_MAX


class Checks:
    """The reads of this process, one after the other for each organization."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._queues: dict[str, deque[Shared]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def rows(self, organization: str, offerings: Sequence[str], allocations: Sequence[str]) -> EntitlementRows:
        """What was asked for, and perhaps more. Whoever is cancelled meanwhile disturbs no other."""
        queue = self._queues.get(organization)
        if queue is None:
            queue = self._queues[organization] = deque()
            task = asyncio.create_task(self._work(organization, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if not queue or not queue[-1].has_room_for(len(offerings) + len(allocations)):
            queue.append(Shared())
        shared = queue[-1]
        shared.offerings.update(offerings)
        shared.allocations.update(allocations)
        return await asyncio.shield(shared.rows)

    async def _work(self, organization: str, queue: deque[Shared]) -> None:
        while queue:
            shared = queue.popleft()  # From here on nobody joins it.
            try:
                rows = await self._read(organization, sorted(shared.offerings), sorted(shared.allocations))
            except Exception as error:
                shared.rows.set_exception(error)
                shared.rows.exception()  # Seen, should nobody wait any more.
            else:
                shared.rows.set_result(rows)
        del self._queues[organization]
