"""Time as the database tells it, and moving it in a database that was created for that.

"Now" is the database's clock plus an offset that lies in the database, the same for every process. The offset is 0
unless the database was created as movable (`earmark-admin migrate --movable-clock`), and only ever grows.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.ledger.rules.limits import INSTANT_END
from services.ledger.store.database import Connection

log = logging.getLogger(__name__)


class ClockNotMovable(Exception):
    """This database was not created as movable, so its clock cannot be moved."""


@dataclass(frozen=True, slots=True)
class Clock:
    now: datetime
    movable: bool
    ahead: timedelta


async def read_clock(connection: Connection) -> Clock:
    row = await connection.fetchrow("SELECT earmark_now() AS now, movable, ahead FROM clock")
    assert row is not None
    return Clock(row["now"], row["movable"], row["ahead"])


async def advance_clock(connection: Connection, by: timedelta) -> Clock:
    """Moves time forwards for every process. Raises ClockNotMovable, or ValueError for backwards and for too far."""
    if by < timedelta():
        raise ValueError(f"the clock moves forwards only, and {by} is backwards")
    if by >= INSTANT_END - (await read_clock(connection)).now:
        raise ValueError(f"{by} is too far: the clock stays in the years 2000 to 2200")
    moved = await connection.execute("UPDATE clock SET ahead = ahead + $1 WHERE movable", by)
    if moved == "UPDATE 0":
        raise ClockNotMovable(ClockNotMovable.__doc__)
    return await read_clock(connection)


async def announce_clock(connection: Connection) -> None:
    """Says loudly at the start of a process that time is not to be trusted here."""
    clock = await read_clock(connection)
    if clock.movable:
        log.warning(
            "THE CLOCK OF THIS DATABASE CAN BE MOVED: it is %s ahead and shows %s. Never use it for real customers.",
            clock.ahead,
            clock.now.isoformat(),
        )
