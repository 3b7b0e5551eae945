"""Verifying derives everything again from the entries: a story's ledger is sound, and one altered value is found."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from services.admin.verify import Report, verify
from services.ledger.ledger import Ledger
from services.ledger.rules.commands import (
    CreateSubscription,
    DisableAllocation,
    EnableAllocation,
    UpdateAllocation,
    UpdateOrganization,
)
from services.ledger.store.database import Connection, Pool
from tests.conftest import Advance
from tests.support.books import SENSOR, do, enable, make_customer, make_organization, offer_sensors

DAY = timedelta(days=1)
TABLES = ("organization", "subscription", "allocation", "entry")

ALTERED = {
    "an entry's state of its resource": (
        """UPDATE entry SET after = jsonb_set(after, '{units}', '7') WHERE organization = 'acme' AND revision = 3""",
        "organizations/acme entry 3: digest is",
    ),
    "an entry's actor": (
        "UPDATE entry SET actor = 'somebody else' WHERE organization = 'acme' AND revision = 3",
        "organizations/acme entry 3: digest is",
    ),
    "an entry's figure": (
        "UPDATE entry SET suspended_credits = 7 WHERE organization = 'acme' AND revision = 3",
        "organizations/acme entry 3: suspended_credits is 7, should be 0",
    ),
    "an entry's delta": (
        "UPDATE entry SET allocated_delta = 200 WHERE organization = 'acme' AND revision = 3",
        "organizations/acme entry 3: allocated_delta is 200, should be 600",
    ),
    "an entry's overdraft": (
        "UPDATE entry SET overdraft_limit = 1 WHERE organization = 'acme' AND revision = 3",
        "organizations/acme entry 3: overdraft_limit is 1, should be 0",
    ),
    "an entry's time": (
        "UPDATE entry SET effective_time = '2000-01-01' WHERE organization = 'acme' AND revision = 3",
        "organizations/acme entry 3: effective_time is",
    ),
    "an entry's digest": (
        "UPDATE entry SET digest = sha256('') WHERE organization = 'acme' AND revision = 3",
        "organizations/acme entry 3: digest is",
    ),
    "an entry's last mark": (
        "UPDATE entry SET last = NOT last WHERE organization = 'acme' AND revision = 3",
        "organizations/acme entry 3: digest is",
    ),
    "an entry that makes no sense": (
        "UPDATE entry SET after = '{}' WHERE organization = 'acme' AND revision = 3",
        "organizations/acme entry 3: after or detail is not what ALLOCATION_ENABLED has",
    ),
    "a missing entry": (
        "DELETE FROM entry WHERE organization = 'acme' AND revision = 3",
        "organizations/acme entry 4: revision is 4, should be 3",
    ),
    "a missing newest entry": (
        "DELETE FROM entry WHERE revision = (SELECT max(revision) FROM entry)",
        "organizations/acme organization: revision is",
    ),
    "an organization's figure": (
        "UPDATE organization SET valid_credits = valid_credits + 1 WHERE organization = 'acme'",
        "organizations/acme organization: valid_credits is 501, should be 500",
    ),
    "an organization's overdraft": (
        "UPDATE organization SET overdraft_unlimited = true WHERE organization = 'acme'",
        "organizations/acme organization: overdraft_unlimited is True, should be False",
    ),
    "an organization's name": (
        "UPDATE organization SET display_name = 'Other' WHERE organization = 'acme'",
        "organizations/acme organization: display_name is 'Other', should be 'Ärzte & Söhne'",
    ),
    "an organization's threshold": (
        "UPDATE organization SET threshold_percent = 0 WHERE organization = 'acme'",
        "organizations/acme organization: threshold_percent is 0, should be 75",
    ),
    "an organization's number of open allocations": (
        "UPDATE organization SET open_allocations = 3 WHERE organization = 'acme'",
        "organizations/acme organization: open_allocations is 3, should be 2",
    ),
    "an organization's next transition": (
        "UPDATE organization SET next_transition_time = NULL WHERE organization = 'acme'",
        "organizations/acme organization: next_transition_time is None, should be '2",
    ),
    "an organization's time": (
        "UPDATE organization SET settled_time = settled_time + interval '1 microsecond' WHERE organization = 'acme'",
        "organizations/acme organization: settled_time is",
    ),
    "an organization's digest": (
        "UPDATE organization SET digest = sha256('') WHERE organization = 'acme'",
        "organizations/acme organization: digest is e3b0c442",
    ),
    "a missing organization": (
        "DELETE FROM organization WHERE organization = 'acme'",
        "organizations/acme organization: has entries, but no row",
    ),
    "a subscription's credits": (
        "UPDATE subscription SET credits = 501 WHERE subscription = 'second'",
        "organizations/acme subscriptions/second: credits is 501, should be 500",
    ),
    "a subscription's end": (
        "UPDATE subscription SET end_time = end_time + interval '1 day' WHERE subscription = 'second'",
        "organizations/acme subscriptions/second: end_time is",
    ),
    "a missing subscription": (
        "DELETE FROM subscription WHERE subscription = 'first'",
        "organizations/acme subscriptions/first: has entries, but no row",
    ),
    "an allocation's units": (
        "UPDATE allocation SET units = 31 WHERE allocation = 'endpoint-sensor'",
        "organizations/acme allocations/endpoint-sensor: units is 31, should be 30",
    ),
    "an allocation's labels": (
        """UPDATE allocation SET labels = '{"site": "b"}' WHERE allocation = 'small'""",
        "organizations/acme allocations/small: labels is {'site': 'b'}, should be {'site': 'å'}",
    ),
    "an allocation that nobody enabled": (
        "INSERT INTO allocation SELECT organization, 'gift', offering, state, units, credits, suspended_credits,"
        " price_version, priority, labels, enabled_revision, changed_revision, create_time, update_time"
        " FROM allocation WHERE allocation = 'small'",
        "organizations/acme allocations/gift: has a row, but no entry",
    ),
}


@pytest.fixture
async def story(pool: Pool, connection: Connection, advance: Advance) -> None:
    """Acme renews for less: what holds most is suspended, and others take what is left."""
    ledger = Ledger(pool)
    await offer_sensors(connection)
    end = await make_customer(ledger, connection, credits=700, days=100, grace=7 * DAY)
    await do(ledger, "acme", enable(SENSOR, 30))
    await do(ledger, "acme", EnableAllocation("small", SENSOR, 2, labels={"site": "å"}), "request-1")
    await do(ledger, "acme", CreateSubscription("second", 500, end + 365 * DAY, renews="first", labels={"a": "b"}))
    await do(ledger, "acme", UpdateOrganization("Ärzte & Söhne", overdraft_limit=50))
    await advance(108 * DAY)
    await do(ledger, "acme", UpdateAllocation("small", priority=3))
    await do(ledger, "acme", UpdateOrganization(overdraft_limit=0))
    await do(ledger, "acme", enable("third", 20))
    await do(ledger, "acme", DisableAllocation("small"))
    await make_organization(ledger, "beta")
    await ledger.drained()


async def test_a_storys_ledger_is_sound(story: None, connection: Connection) -> None:
    everything = await verify(connection)
    assert everything.problems == []
    assert everything.organizations == 2
    assert everything.entries == await connection.fetchval("SELECT count(*) FROM entry")
    assert await verify(connection, "beta") == Report(organizations=1, entries=1)


async def test_one_altered_value_is_found(story: None, connection: Connection, subtests: pytest.Subtests) -> None:
    for altered, (statement, expected) in ALTERED.items():
        with subtests.test(altered):
            async with put_back(connection):
                await as_nobody_may(connection, statement)
                report = await verify(connection)
                assert any(problem.startswith(expected) for problem in report.problems), report.problems
                assert (await verify(connection, "beta")).problems == []
    assert (await verify(connection)).problems == []


async def test_where_much_is_wrong_the_first_problems_are_named(story: None, connection: Connection) -> None:
    await as_nobody_may(
        connection, "UPDATE entry SET actor = 'x', valid_delta = 1, grace_delta = 1, suspended_delta = 1"
    )
    report = await verify(connection, "acme")
    assert len(report.problems) == 51
    assert report.problems[-1].endswith("more problems")


async def test_who_never_was_has_no_entries(connection: Connection) -> None:
    assert (await verify(connection, "nobody")).problems == ["organizations/nobody organization: has no entries"]


async def as_nobody_may(connection: Connection, statement: str) -> None:
    """Past the triggers that protect the entries."""
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        assert await connection.execute(statement) not in ("UPDATE 0", "DELETE 0", "INSERT 0 0")


@asynccontextmanager
async def put_back(connection: Connection) -> AsyncIterator[None]:
    """Afterwards every row is as it was before."""
    for table in TABLES:
        await connection.execute(f"CREATE TEMPORARY TABLE kept_{table} AS TABLE {table}")
    try:
        yield
    finally:
        for table in TABLES:
            await as_nobody_may(connection, f"TRUNCATE {table}")
            await as_nobody_may(connection, f"INSERT INTO {table} TABLE kept_{table}")
            await connection.execute(f"DROP TABLE kept_{table}")
