"""Whoever asks while a read is under way shares the next one."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from services.ledger.checking import SHARED_TARGETS_MAX, Checks
from services.ledger.rules.refusal import Refused, organization_not_found
from services.ledger.store.usage_reads import EntitlementRows


class Reader:
    """Reads are held until they are let go; each answers with its own number."""

    def __init__(self) -> None:
        self.reads: list[tuple[str, list[str], list[str]]] = []
        self.began = asyncio.Semaphore(0)
        self.let_go = asyncio.Semaphore(0)
        self.refuses = False

    async def read(self, organization: str, offerings: Sequence[str], allocations: Sequence[str]) -> EntitlementRows:
        self.reads.append((organization, list(offerings), list(allocations)))
        number = len(self.reads)
        self.began.release()
        await self.let_go.acquire()
        if self.refuses:
            raise organization_not_found(organization)
        return cast(EntitlementRows, number)


async def ask(checks: Checks, organization: str, offerings: Sequence[str], allocations: Sequence[str]) -> int:
    """The number of the read that answers."""
    return cast(int, await checks.rows(organization, offerings, allocations))


async def test_a_hundred_who_ask_meanwhile_share_one_read() -> None:
    reader = Reader()
    checks = Checks(reader.read)
    first = asyncio.create_task(ask(checks, "acme", ["a"], []))
    await reader.began.acquire()
    others = [asyncio.create_task(ask(checks, "acme", [f"o-{each % 3}"], ["x"])) for each in range(100)]
    await asyncio.sleep(0)
    reader.let_go.release()
    assert await first == 1, "a read that had begun is nobody else's"
    await reader.began.acquire()
    reader.let_go.release()
    assert set(await asyncio.gather(*others)) == {2}
    assert reader.reads == [("acme", ["a"], []), ("acme", ["o-0", "o-1", "o-2"], ["x"])]


async def test_one_organization_does_not_wait_for_another() -> None:
    reader = Reader()
    checks = Checks(reader.read)
    both = [asyncio.create_task(ask(checks, each, ["a"], [])) for each in ("acme", "other")]
    for _ in both:
        await reader.began.acquire()
    for _ in both:
        reader.let_go.release()
    assert await asyncio.gather(*both) == [1, 2]


async def test_a_refusal_is_everybodys_and_whoever_leaves_disturbs_nobody() -> None:
    reader = Reader()
    checks = Checks(reader.read)
    leaving, staying, third = (asyncio.create_task(ask(checks, "acme", ["a"], [])) for _ in range(3))
    await reader.began.acquire()
    leaving.cancel()
    reader.refuses = True
    reader.let_go.release()
    for each in (staying, third):
        with pytest.raises(Refused):
            await each
    assert leaving.cancelled()
    reader.refuses = False
    reader.let_go.release()
    assert await ask(checks, "acme", ["a"], []) == 2


async def test_a_read_has_a_greatest_size() -> None:
    reader = Reader()
    checks = Checks(reader.read)
    full = [f"o-{each}" for each in range(SHARED_TARGETS_MAX)]
    first = asyncio.create_task(ask(checks, "acme", ["a"], []))
    await reader.began.acquire()
    rest = [asyncio.create_task(ask(checks, "acme", each, [])) for each in (full, ["b"])]
    await asyncio.sleep(0)
    for _ in (first, *rest):
        reader.let_go.release()
    assert await asyncio.gather(first, *rest) == [1, 2, 3]
    assert [len(offerings) for _, offerings, _ in reader.reads] == [1, len(full), 1]
