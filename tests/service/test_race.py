"""Many clients over two allocators race for credits that do not suffice for all; and what the row lock has to do with
it."""

from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest

from earmark.messages import MessageClient
from services.ledger.store.database import Connection
from tests.support.processes import ALLOCATOR, running_allocator
from tests.support.race import (
    COUNTER,
    OFFERING,
    ORGANIZATION,
    check_race,
    count_up,
    race,
    race_that_begins_together,
    take_a_seat,
)
from tests.support.service_stories import buy, offer

RUNNERS = 40
SEATS = 25
SEAT_CREDITS = 20
UNLOCKED = "tests.support.unlocked_allocator"
UNGUARDED = "tests.support.unguarded_allocator"


@pytest.fixture
def module() -> str:
    """What the allocator processes run."""
    return ALLOCATOR


@pytest.fixture
async def addresses(database: str, module: str) -> AsyncIterator[list[str]]:
    """Two allocator processes over one database, in which an organization has credits for 25 seats."""
    with ExitStack() as running:
        found = [running.enter_context(running_allocator(database, module=module))[1] for _ in range(2)]
        async with MessageClient(found[0]) as client:
            await offer(client, **{OFFERING: str(SEAT_CREDITS)})
            await client.create_organization(ORGANIZATION)
            await buy(client, ORGANIZATION, SEATS * SEAT_CREDITS)
        yield found


async def test_exactly_as_many_win_as_fit(addresses: list[str], connection: Connection) -> None:
    result = await race(addresses, RUNNERS, take_a_seat)
    await check_race(connection, result, fitting=SEATS, seat_credits=SEAT_CREDITS)

    seated = await connection.fetch("SELECT allocation FROM allocation WHERE state = 'ENABLED'")
    assert {row["allocation"] for row in seated} == set(result.balances)
    assert min(balance.available_credits for balance in result.balances.values()) == 0
    for error in result.errors.values():
        assert (error.metadata["required"], error.metadata["shortfall"]) == ("20", "20")


async def test_a_counter_that_all_count_up_ends_where_the_credits_end(
    addresses: list[str], connection: Connection
) -> None:
    async with MessageClient(addresses[1]) as client:
        await client.enable_allocation(ORGANIZATION, offering=OFFERING, allocation=COUNTER, units=1)
        result = await race(addresses, RUNNERS, count_up)
        assert len(result.balances) == SEATS - 1
        assert (await client.get_allocation(ORGANIZATION, COUNTER)).units == SEATS
    assert {error.reason for error in result.errors.values()} == {"INSUFFICIENT_CREDITS"}


@pytest.mark.parametrize("module", [UNLOCKED])
async def test_without_the_row_lock_the_race_fails(addresses: list[str], connection: Connection) -> None:
    """The ledger's key then still keeps two entries from having one revision, so nothing is sold twice: but who comes
    second gets INTERNAL, although there was room."""
    result = await race_that_begins_together(connection, addresses, RUNNERS, take_a_seat)
    with pytest.raises(AssertionError, match=r"refused for other reasons: .*INTERNAL"):
        await check_race(connection, result, fitting=SEATS, seat_credits=SEAT_CREDITS)


@pytest.mark.parametrize("module", [UNLOCKED, UNGUARDED])
async def test_without_lock_and_key_more_is_sold_than_there_is(addresses: list[str], connection: Connection) -> None:
    await connection.execute("ALTER TABLE entry DROP CONSTRAINT entry_pkey")
    result = await race_that_begins_together(connection, addresses, RUNNERS, take_a_seat)
    held = await connection.fetchval("SELECT sum(credits) FROM allocation")
    assert held > SEATS * SEAT_CREDITS
    with pytest.raises(AssertionError, match=r"\d+ won, and 25 fit"):
        await check_race(connection, result, fitting=SEATS, seat_credits=SEAT_CREDITS)
