"""Whether Postgres keeps what it has acknowledged: which of its settings the promises rest on, and what they are."""

import logging
from dataclasses import dataclass
from typing import Final

from services.ledger.store.database import Connection

log = logging.getLogger(__name__)

NONE: Final = "none"
DISK: Final = "disk"
STANDBY: Final = "standby"
LEVELS: Final = (DISK, STANDBY, NONE)
"""What is asked of the database: to survive the crash of its machine, its loss as well, or nothing."""


class NotDurable(Exception):
    """Postgres is not set so that it keeps what EARMARK_DURABILITY asks; the message names each such setting."""


@dataclass(frozen=True, slots=True)
class Durability:
    """Postgres's settings, as the session has them."""

    fsync: str
    full_page_writes: str
    synchronous_commit: str
    synchronous_standby_names: str

    @property
    def lacking_on_disk(self) -> list[str]:
        """What must be otherwise, so that a crash of the server loses nothing that was acknowledged."""
        lacking = [
            f"{name} is off and must be on" for name in ("fsync", "full_page_writes") if getattr(self, name) == "off"
        ]
        if self.synchronous_commit not in ("on", "remote_apply"):
            lacking.append(
                f"synchronous_commit is {self.synchronous_commit} and must be on, for which the session asked"
            )
        return lacking


async def read_durability(connection: Connection) -> Durability:
    row = await connection.fetchrow(
        """
        SELECT current_setting('fsync') AS fsync,
               current_setting('full_page_writes') AS full_page_writes,
               current_setting('synchronous_commit') AS synchronous_commit,
               current_setting('synchronous_standby_names') AS synchronous_standby_names
        """
    )
    assert row is not None
    return Durability(**row)


async def check_durability(connection: Connection, level: str) -> None:
    """Raises NotDurable if the database keeps less than `level`, one of LEVELS, asks. Says loudly what it may lose."""
    found = await read_durability(connection)
    lacking = found.lacking_on_disk
    if level == STANDBY and not found.synchronous_standby_names:
        lacking.append("synchronous_standby_names is empty and must name a standby")
    if lacking and level != NONE:
        raise NotDurable(
            f"the database may lose what it has acknowledged: {'; '.join(lacking)}. "
            "EARMARK_DURABILITY=none starts anyway"
        )
    if lacking:
        log.warning(
            "THIS DATABASE MAY LOSE WHAT IT HAS ACKNOWLEDGED: %s. Never use it for real customers.", "; ".join(lacking)
        )
    elif not found.synchronous_standby_names:
        log.warning(
            "NO STANDBY HAS WHAT THIS DATABASE ACKNOWLEDGES: synchronous_standby_names is empty. "
            "If the machine is lost, or a standby takes over, the last changes are gone."
        )
