"""What a server says beside a commit that it carries out."""

import pytest

from services.ledger.committing import NotReplicated, durably
from services.ledger.store.database import Connection

SAYING = "DO $$ BEGIN RAISE WARNING 'as the test wants it' USING ERRCODE = '{}'; END $$"
NO_LONGER_WAITED_FOR_STANDBY = "01000"
ADMIN_SHUTDOWN, CRASH_SHUTDOWN = "57P01", "57P02"


async def test_a_warning_casts_doubt_on_a_commit(connection: Connection) -> None:
    with pytest.raises(NotReplicated, match="as the test wants it"):
        await durably(connection, connection.execute(SAYING.format(NO_LONGER_WAITED_FOR_STANDBY)))


@pytest.mark.parametrize("code", [ADMIN_SHUTDOWN, CRASH_SHUTDOWN])
async def test_a_server_that_goes_away_after_it_casts_none(connection: Connection, code: str) -> None:
    assert await durably(connection, connection.execute(SAYING.format(code))) == "DO"
