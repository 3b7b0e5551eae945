"""Hypothesis drives the service beside the honest model; they must agree after every step.

An ordinary run tries a few examples, always the same ones. For more, by hand:

    EARMARK_TEST_EXAMPLES=2000 pytest tests/service/test_stateful.py -k agree

What fails is shown as the short program of rules that it takes: tests/support/stateful_calls.py says what each does.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import run_state_machine_as_test

from services.allocator import subscription_handler
from services.allocator.server import AllocatorServer
from services.ledger import ledger
from services.ledger.store.database import Connection
from tests.support.frozen_clock import FrozenClock
from tests.support.reflected import ReflectedClient
from tests.support.stateful import World
from tests.support.stateful_calls import Agreement, Called
from tests.support.stateful_faults import FAULTS, Fault
from tests.support.watching import allocating, own_channel

EXAMPLES: Final = int(os.environ.get("EARMARK_TEST_EXAMPLES", "20"))
SHRINKING_SECONDS: Final = 60
SHRINKING_SECONDS_FOR_SHOW: Final = 2
ORDINARY: Final = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    report_multiple_bugs=False,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)

SEARCHING: Final = settings(ORDINARY, max_examples=300, stateful_step_count=12, derandomize=False, print_blob=False)
"""No more steps than somebody would care to read."""
SEED: Final = 5
"""One that soon comes upon all of the faults; another may take a hundred examples more."""

Opened = Callable[[str], AbstractAsyncContextManager[World]]


@pytest.fixture
async def opened(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Makes a world of a server. Time stands still in it; what waits until no decision is old need not wait."""
    monkeypatch.setattr(ledger, "DECIDED_WITHIN", timedelta())
    monkeypatch.setattr(engine, "MAX_SHRINKING_SECONDS", SHRINKING_SECONDS)
    clock = FrozenClock(connection)
    await clock.freeze()

    @asynccontextmanager
    async def opened(address: str) -> AsyncIterator[World]:
        async with ReflectedClient(address) as client, own_channel(address) as channel:
            world = World(asyncio.get_running_loop(), client, channel, clock, connection)
            monkeypatch.setattr(subscription_handler, "uuid4", world.made_up_id)
            yield world

    return opened


@pytest.mark.timeout(120 + 2 * EXAMPLES)
async def test_they_agree_after_every_step(allocator: AllocatorServer, opened: Opened) -> None:
    async with opened(allocator.address) as world:
        await drive(lambda: Agreement(world), ORDINARY)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_a_fault_is_found_and_a_short_way_to_it(
    database: str, opened: Opened, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(engine, "MAX_SHRINKING_SECONDS", SHRINKING_SECONDS_FOR_SHOW)
    fault(monkeypatch)
    async with allocating(database) as server, opened(server.address) as world:
        world.thorough = False
        with pytest.raises(AssertionError) as found:
            await drive(seed(SEED)(lambda: Called(world)), SEARCHING)
    told = "\n".join(found.value.__notes__)
    print(told)
    assert told.count("state.they_agree()") <= SEARCHING.stateful_step_count
    assert "state.begin(" in told


async def drive(machine: Any, how: settings) -> None:
    """In a thread of its own: Hypothesis waits for each step, and the steps are taken in this loop."""
    await asyncio.to_thread(run_state_machine_as_test, machine, settings=how)
