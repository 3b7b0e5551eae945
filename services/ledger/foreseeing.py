"""Reckoning a forecast: read in one snapshot, then settled into the future in a thread, one forecast at a time."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from services.ledger.opening import open_book
from services.ledger.refusals import unavailable
from services.ledger.rules.book import NotLoaded, Shelf
from services.ledger.rules.encoding import instant_text
from services.ledger.rules.forecasting import Draft, Forecast, forecast
from services.ledger.rules.model import Organization
from services.ledger.rules.refusal import Reason, invalid_field
from services.ledger.store.book_rows import BookRows
from services.ledger.store.database import Connection

NO_SHELVES: frozenset[Shelf] = frozenset()


async def open_draft(connection: Connection, state: Organization, rows: BookRows, until: datetime) -> Draft:
    """With the large parts of the organization only if something will be suspended or resumed."""
    trial = await open_book(connection, state.organization, state, rows, NO_SHELVES, Draft)
    try:
        await asyncio.to_thread(forecast, trial, until)
    except NotLoaded:
        return await open_book(connection, state.organization, state, rows, frozenset(Shelf), Draft)
    return await open_book(connection, state.organization, state, rows, NO_SHELVES, Draft)


async def reckon(draft: Draft, until: datetime, seconds: float) -> Forecast:
    """Raises Refused if it takes longer than so many seconds. Whatever happens, nothing is reckoned any more then."""
    gone = threading.Event()
    draft.wanted = lambda: not gone.is_set()
    work = asyncio.create_task(asyncio.to_thread(forecast, draft, until))
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.shield(work)
    except TimeoutError as error:
        raise unavailable(Reason.LOCK_TIMEOUT, draft.state.organization) from error
    finally:
        gone.set()
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # Seen: nobody waits for it any more.


@asynccontextmanager
async def turn(lock: asyncio.Lock, organization: str, seconds: float) -> AsyncIterator[None]:
    """Holds the lock during the block. Raises Refused if it was not to be had in time."""
    try:
        async with asyncio.timeout(seconds):
            await lock.acquire()
    except TimeoutError as error:
        raise unavailable(Reason.LOCK_TIMEOUT, organization) from error
    try:
        yield
    finally:
        lock.release()


def check_not_past(until: datetime, now: datetime) -> None:
    """Raises Refused."""
    if until < now:
        raise invalid_field(
            "until",
            f"{instant_text(until)} is in the past, and it is {instant_text(now)}; what was is in QueryUsageHistory",
            {"until": instant_text(until), "now": instant_text(now)},
        )
