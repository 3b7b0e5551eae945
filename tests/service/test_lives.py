"""Random lives of an organization over the wire, beside a model that knows nothing of the service."""

import os
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final
from uuid import UUID

import pytest

from services.allocator import subscription_handler
from services.allocator.server import AllocatorServer
from services.ledger import ledger
from services.ledger.store.database import Connection
from tests.model.lives import life
from tests.support.frozen_clock import FrozenClock
from tests.support.reflected import ReflectedClient
from tests.support.wired_life import WiredLife
from tests.support.wired_looks import WiredLooks

LIVES: Final = int(os.environ.get("EARMARK_TEST_LIVES", "40"))
STEPS: Final = 40
LOOKING_EVERY: Final = 10
"""So many steps are taken between two looks."""


@pytest.fixture
async def reflected(allocator: AllocatorServer) -> AsyncIterator[ReflectedClient]:
    async with ReflectedClient(allocator.address) as client:
        yield client


@pytest.fixture(autouse=True)
def same_ids_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server makes up decides who comes first among equals, so a life with the same seed gets the same."""
    dice = random.Random(0)
    monkeypatch.setattr(subscription_handler, "uuid4", lambda: UUID(int=dice.getrandbits(128)))


@pytest.fixture(autouse=True)
def no_decision_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A history waits until what was decided before a step ended can no longer be written; here the clock is still."""
    monkeypatch.setattr(ledger, "DECIDED_WITHIN", timedelta())


@pytest.mark.timeout(120 + LIVES)
async def test_every_life_goes_as_in_the_model(reflected: ReflectedClient, connection: Connection) -> None:
    clock = FrozenClock(connection)
    await clock.freeze()
    for seed in range(LIVES):
        lived = WiredLife(reflected, clock, connection, seed)
        looks = WiredLooks(reflected, lived, seed)
        await lived.begin()
        for number, step in enumerate(life(seed, STEPS)):
            try:
                await lived.take(step, number)
                if number % LOOKING_EVERY == seed % LOOKING_EVERY:
                    await looks.look()
            except AssertionError as difference:
                difference.add_note(f"step {number} of life({seed}, {STEPS}): {step}")
                raise
        await lived.compare_at_the_end()
        await looks.look_back()
