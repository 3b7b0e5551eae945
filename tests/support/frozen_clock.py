"""Time that stands still in one test's own database, and is set to the microsecond."""

from datetime import UTC, datetime, timedelta
from typing import Final

from services.ledger.store.database import Connection

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class FrozenClock:
    """In place of the database's clock, for everybody who asks this database; it may be set backwards too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def freeze(self) -> None:
        await self._connection.execute(
            """
            CREATE TABLE frozen_clock (instant timestamptz NOT NULL);
            INSERT INTO frozen_clock VALUES (clock_timestamp());
            CREATE OR REPLACE FUNCTION earmark_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS
                'SELECT instant FROM frozen_clock';
            """
        )

    async def set(self, microseconds: int) -> None:
        """To an instant, in microseconds since the epoch."""
        await self._connection.execute(
            "UPDATE frozen_clock SET instant = $1", EPOCH + timedelta(microseconds=microseconds)
        )
