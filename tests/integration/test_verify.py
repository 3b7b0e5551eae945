"""Verifying derives everything again from the entries: a story's ledger is sound, and one altered row is found."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final

import pytest

from services.admin.verify import Anchor, Report, Verified, verify, verify_each
from services.admin.verify_fold import digest
from services.ledger.catalog import change_catalog
from services.ledger.ledger import Ledger
from services.ledger.rules.cataloguing import CreateOffering, Terms, UpdateOffering
from services.ledger.rules.commands import (
    ApplyOperations,
    CancelSubscription,
    CreateSubscription,
    DisableAllocation,
    EnableAllocation,
    UpdateAllocation,
    UpdateOrganization,
)
from services.ledger.store.database import Connection, Pool
from tests.conftest import Advance
from tests.support.books import (
    DAY,
    SENSOR,
    adjust,
    do,
    enable,
    entries,
    make_customer,
    make_organization,
    offer_sensors,
)

TABLES: Final = (
    "organization",
    "subscription",
    "allocation",
    "entry",
    "request",
    "offering_usage",
    "usage_hour",
    "offering_price",
)

Columns = dict[str, str | tuple[str, str]]
"""By column: another value, in SQL; and which row to alter, where that is not the table's usual one."""

LATER: Final = "{0} + interval '1 microsecond'"
SUSPENDED: Final = "allocation = 'endpoint-sensor'"
FREE: Final = "allocation = 'free'"

ROWS: Final[dict[str, tuple[str, Columns]]] = {
    "organization": (
        "organization = 'acme'",
        {
            "organization": "'ghost'",
            "display_name": "'Other'",
            "valid_credits": "{0} + 1",
            "grace_credits": "{0} + 1",
            "allocated_credits": "{0} - 1",
            "suspended_credits": "{0} + 1",
            "overdraft_limit": "{0} + 1",
            "overdraft_unlimited": "NOT {0}",
            "revision": "{0} + 1",
            "digest": "sha256('')",
            "settled_time": LATER,
            "next_transition_time": LATER,
            "threshold_percent": "CASE {0} WHEN 75 THEN 90 ELSE 75 END",
            "open_allocations": "{0} + 1",
            "changed_revision": "{0} + 1",
            "create_time": LATER,
            "update_time": LATER,
            "usage_revision": "{0} - 1",
        },
    ),
    "subscription": (
        "subscription = 'second'",
        {
            "organization": "'ghost'",
            "subscription": "'other'",
            "state": "'GRACE'",
            "credits": "{0} + 1",
            "start_time": LATER,
            "end_time": LATER,
            "grace_period": LATER,
            "renews": "NULL",
            "order_reference": "'PO-1'",
            "labels": "'{}'",
            "changed_revision": "{0} + 1",
            "create_time": LATER,
            "update_time": LATER,
            "cancel_time": (LATER, "subscription = 'cancelled'"),
        },
    ),
    "allocation": (
        "allocation = 'third'",
        {
            "organization": "'ghost'",
            "allocation": "'other'",
            "offering": "'free'",
            "state": ("'SUSPENDED'", FREE),
            "units": "{0} + 1",
            "credits": "{0} - 1",
            "suspended_credits": ("{0} - 1", SUSPENDED),
            "price_version": "{0} + 1",
            "priority": "{0} + 1",
            "labels": """'{"a": ""}'""",
            "enabled_revision": "{0} + 1",
            "changed_revision": "{0} + 1",
            "create_time": LATER,
            "update_time": LATER,
        },
    ),
    "entry": (
        "organization = 'acme' AND revision = 4",
        {
            "organization": "'ghost'",
            "revision": "1000",
            "kind": "'ALLOCATION_ADJUSTED'",
            "resource": "'other'",
            "effective_time": "{0} - interval '1 microsecond'",
            "recorded_time": LATER,
            "actor": "'somebody else'",
            "request_id": "'other'",
            "causes": "'{organizations/acme/subscriptions/first}'",
            "cause_count": "{0} + 1",
            "after": "jsonb_set({0}, '{priority}', '1')",
            "detail": """'{"percent": 90}'""",
            "valid_delta": "{0} + 1",
            "grace_delta": "{0} + 1",
            "allocated_delta": "{0} + 1",
            "suspended_delta": "{0} + 1",
            "valid_credits": "{0} + 1",
            "grace_credits": "{0} + 1",
            "allocated_credits": "{0} - 1",
            "suspended_credits": "{0} + 1",
            "overdraft_limit": "{0} + 1",
            "overdraft_unlimited": "NOT {0}",
            "last": "NOT {0}",
            "digest": "sha256('')",
        },
    ),
    "request": (
        "request_id = 'several'",
        {
            "organization": "'ghost'",
            "request_id": "'other'",
            "meaning": "substring({0}, 2)",
            "answer": "jsonb_set({0}, '{allocations,1,units}', '7')",
            "recorded_time": LATER,
        },
    ),
    "offering_usage": (
        "offering = 'endpoint-sensor'",
        {
            "organization": "'ghost'",
            "offering": "'other'",
            "enabled_allocations": "{0} + 1",
            "enabled_units": "{0} + 1",
            "enabled_credits": "{0} + 1",
            "free_units": "{0} + 1",
            "suspended_allocations": "{0} + 1",
            "suspended_units": "{0} + 1",
            "suspended_credits": "{0} + 1",
        },
    ),
    "usage_hour": (
        "organization = 'acme' AND last_revision = (SELECT max(last_revision) FROM usage_hour)",
        {
            "organization": "'ghost'",
            "hour": "{0} + interval '1 hour'",
            "valid_credits": "{0} + 1",
            "allocated_credits": "{0} - 1",
            "peak_allocated_credits": "{0} + 1",
            "begins_at_start": "NOT {0}",
            "first_revision": "{0} - 1",
            "last_revision": "{0} + 1",
        },
    ),
    "offering_price": (
        "offering = 'endpoint-sensor' AND version = 2",
        {
            "offering": "'other'",
            "version": "3",
            "effective_time": "{0} + interval '1 day'",
            "credits_per_block": "{0} + 1",
            "block_units": ("2", "offering = 'endpoint-sensor' AND version = 1"),
            "max_credits": "1",
        },
    ),
}
NOT_CHECKED: Final = {("entry", "written_time")}
"""The server's own clock, at which nothing else is written down."""

GHOST: Final = {"organization": "ghost"}
OTHERS: Final[dict[str, list[dict[str, Any]]]] = {
    "organization": [GHOST],
    "subscription": [GHOST, {"subscription": "other"}],
    "allocation": [GHOST, {"allocation": "other"}],
    "entry": [GHOST, {"revision": 1000}],
    "request": [GHOST, {"request_id": "other"}],
    "offering_usage": [GHOST, {"offering": "other"}],
    "usage_hour": [GHOST, {"hour": "2020-01-31T12:00:00Z"}],
}
"""Keys of another row. A price that nobody has used yet is none too many."""

ANSWERS: Final = {
    "a revision that is not there": "jsonb_set(answer, '{revision}', '999')",
    "a revision that is no revision": "jsonb_set(answer, '{revision}', '\"1\"')",
    "no revision": "answer - 'revision'",
    "an earlier revision": "jsonb_set(answer, '{revision}', to_jsonb((answer ->> 'revision')::bigint - 1))",
    "a figure": "jsonb_set(answer, '{figures,valid}', '7')",
    "when": """jsonb_set(answer, '{as_of}', '"2027-01-31T00:00:00.000000Z"')""",
    "nothing that it is about": "answer - 'allocations' - 'subscription'",
    "something else that it is about": """answer || '{"organization": {}}'""",
    "nothing at all": "'[]'",
}
OF_ALLOCATIONS: Final = {
    "an allocation less": "answer #- '{allocations,0}'",
    "the newest state less": "answer #- '{allocations,2}'",
    "a label": """jsonb_set(answer, '{allocations,0,labels}', '{"a": "b"}')""",
    "an earlier state": "jsonb_set(answer, '{allocations,2}', answer #> '{allocations,0}')",
    "another allocation": """jsonb_set(answer, '{allocations,1,id}', '"third"')""",
}
OF_SUBSCRIPTION: Final = {
    "its credits": "jsonb_set(answer, '{subscription,credits}', '1')",
    "another one": """jsonb_set(answer, '{subscription,id}', '"first"')""",
    "another one, as it was then": (
        """jsonb_set(answer, '{subscription}', '{"id": "first"}' || (
            SELECT after FROM entry WHERE resource = 'first' ORDER BY revision DESC LIMIT 1))"""
    ),
    "no consequences": "answer - 'consequences'",
    "what was resumed": """jsonb_set(answer, '{consequences,resumed}', '{"first": ["third"], "total": 1}')""",
    "what waits": "jsonb_set(answer, '{consequences,waiting,total}', '0')",
}

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
        "organizations/acme organization: valid_credits is 506, should be 505",
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
        "organizations/acme organization: open_allocations is 3, should be 4",
    ),
    "an organization's next transition": (
        "UPDATE organization SET next_transition_time = NULL WHERE organization = 'acme'",
        "organizations/acme organization: next_transition_time is None, should be '2",
    ),
    "an organization's time": (
        "UPDATE organization SET settled_time = settled_time + interval '1 microsecond' WHERE organization = 'acme'",
        "organizations/acme organization: settled_time is",
    ),
    "sums beyond an organization's newest entry": (
        "UPDATE organization SET usage_revision = usage_revision + 1 WHERE organization = 'acme'",
        "organizations/acme organization: usage_revision is",
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
    "a subscription in a year that no calendar has": (
        "UPDATE subscription SET end_time = '20000-01-01' WHERE subscription = 'second'",
        "organizations/acme rows: one cannot be read, so nothing else was compared",
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
async def story(pool: Pool, connection: Connection, advance: Advance) -> Ledger:
    """Acme renews for less: what holds most is suspended, and others take what is left, at a new price too."""
    ledger = Ledger(pool)
    await offer_sensors(connection)
    await change_catalog(connection, CreateOffering("free", Terms(Decimal(0))))
    end = await make_customer(ledger, connection, credits=700, days=100, grace=7 * DAY)
    await do(ledger, "acme", enable(SENSOR, 30))
    await do(ledger, "acme", EnableAllocation("small", SENSOR, 2, labels={"site": "å"}), "request-1")
    await do(ledger, "acme", CreateSubscription("second", 500, end + 365 * DAY, renews="first", labels={"a": "b"}))
    await do(ledger, "acme", UpdateOrganization("Ärzte & Söhne", overdraft_limit=50))
    await do(ledger, "acme", CreateSubscription("cancelled", 1, end))
    await do(ledger, "acme", CancelSubscription("cancelled", force=True))
    await advance(108 * DAY)
    await do(ledger, "acme", UpdateAllocation("small", priority=3))
    await do(ledger, "acme", UpdateOrganization(overdraft_limit=0))
    await do(ledger, "acme", enable("third", 17))
    await do(ledger, "acme", EnableAllocation("free", "free", 5))
    await advance(DAY)
    await change_catalog(connection, UpdateOffering(SENSOR, Terms(Decimal("20.5"))))
    several = (enable("third", 18), enable("fourth", 1), adjust(1, "third"))
    await do(ledger, "acme", ApplyOperations(several), "several")
    await do(ledger, "acme", DisableAllocation("small"), "off")
    await do(ledger, "acme", DisableAllocation("small"), "off already")
    await do(ledger, "acme", CreateSubscription("third", 5, end + 365 * DAY), "bought")
    await make_organization(ledger, "beta")
    await ledger.drained()
    return ledger


async def test_a_storys_ledger_is_sound(story: Ledger, connection: Connection) -> None:
    everything = await verify(connection)
    assert everything.problems == []
    assert everything.organizations == 2
    assert everything.entries == await connection.fetchval("SELECT count(*) FROM entry")
    assert await verify(connection, "beta") == Report(organizations=1, entries=1)


async def test_one_altered_value_is_found(story: Ledger, connection: Connection, subtests: pytest.Subtests) -> None:
    for altered, (statement, expected) in ALTERED.items():
        with subtests.test(altered):
            async with put_back(connection, *TABLES):
                await as_nobody_may(connection, statement)
                report = await verify(connection)
                assert any(problem.startswith(expected) for problem in report.problems), report.problems
                assert (await verify(connection, "beta")).problems == []
    assert (await verify(connection)).problems == []


@pytest.mark.parametrize("table", ROWS)
async def test_one_altered_column_is_found(
    story: Ledger, connection: Connection, subtests: pytest.Subtests, table: str
) -> None:
    usual, columns = ROWS[table]
    rows = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0", table
    )
    assert columns.keys() == {row["attname"] for row in rows} - {column for of, column in NOT_CHECKED if of == table}
    for column, altered in columns.items():
        value, where = altered if isinstance(altered, tuple) else (altered, usual)
        with subtests.test(column):
            async with put_back(connection, table):
                statement = f"UPDATE {table} SET {column} = {value.replace('{0}', column)} WHERE {where}"
                await as_nobody_may(connection, statement, "UPDATE 1")
                assert (await verify(connection)).problems != []
    assert (await verify(connection)).problems == []


@pytest.mark.parametrize("table", ROWS)
async def test_a_row_too_few_or_too_many_is_found(story: Ledger, connection: Connection, table: str) -> None:
    where, _ = ROWS[table]
    async with put_back(connection, table):
        await as_nobody_may(connection, f"DELETE FROM {table} WHERE {where}", "DELETE 1")
        assert (await verify(connection)).problems != []
    copied = f"SELECT (jsonb_populate_record(kept, $1)).* FROM {table} AS kept WHERE {where}"
    for other in OTHERS.get(table, ()):
        async with put_back(connection, table):
            await as_nobody_may(connection, f"INSERT INTO {table} {copied}", "INSERT 0 1", json.dumps(other))
            assert (await verify(connection)).problems != []
    assert (await verify(connection)).problems == []


async def test_one_altered_answer_is_found(story: Ledger, connection: Connection, subtests: pytest.Subtests) -> None:
    altered = [("several", each) for each in (ANSWERS | OF_ALLOCATIONS).items()]
    altered += [("bought", each) for each in (ANSWERS | OF_SUBSCRIPTION).items()]
    for request_id, (what, answer) in altered:
        with subtests.test(f"{request_id}: {what}"):
            async with put_back(connection, "request"):
                statement = f"UPDATE request SET answer = {answer} WHERE request_id = '{request_id}'"
                await as_nobody_may(connection, statement, "UPDATE 1")
                problems = (await verify(connection)).problems
                assert any(f"request '{request_id}'" in each for each in problems), problems
    assert (await verify(connection)).problems == []


async def test_request_ids_past_their_time_may_be_gone(story: Ledger, connection: Connection, advance: Advance) -> None:
    """Whichever of them: workers pass over what other workers have locked."""
    await connection.execute("DELETE FROM request WHERE request_id = 'request-1'")
    assert (await verify(connection)).problems == []
    async with put_back(connection, "request"):
        await connection.execute("DELETE FROM request WHERE request_id = 'off'")
        [problem] = (await verify(connection)).problems
        assert "request id 'off' of the last 24 hours is not remembered" in problem
    await advance(DAY)
    await connection.execute("DELETE FROM request WHERE request_id = 'off'")
    assert (await verify(connection)).problems == []


async def test_a_request_id_belongs_to_one_call_while_it_is_remembered(
    story: Ledger, connection: Connection, advance: Advance
) -> None:
    await connection.execute("DELETE FROM request WHERE request_id = 'off'")
    await do(story, "acme", UpdateAllocation("third", priority=1), "off")
    problems = (await verify(connection)).problems
    assert any("request id 'off' is also that of entry" in each for each in problems)


async def test_a_request_id_may_be_used_again_when_it_is_forgotten(
    story: Ledger, connection: Connection, advance: Advance
) -> None:
    await advance(2 * DAY)
    await connection.execute("DELETE FROM request WHERE request_id = 'off'")
    await do(story, "acme", UpdateAllocation("third", priority=1), "off")
    assert (await verify(connection)).problems == []


async def test_sums_that_an_older_release_left_behind_are_no_problem(story: Ledger, connection: Connection) -> None:
    """Such a release writes neither them nor up to where they go; the next who settles makes them anew."""
    for table in ("offering_usage", "usage_hour"):
        await connection.execute(f"CREATE TEMPORARY TABLE older_{table} AS TABLE {table}")
    before = await connection.fetchval("SELECT usage_revision FROM organization WHERE organization = 'acme'")
    await do(story, "acme", enable("fourth", 2))
    await story.drained()
    for table in ("offering_usage", "usage_hour"):
        await connection.execute(f"TRUNCATE {table}")
        await connection.execute(f"INSERT INTO {table} TABLE older_{table}")
    assert (await verify(connection)).problems != []
    await connection.execute("UPDATE organization SET usage_revision = $1 WHERE organization = 'acme'", before)
    assert (await verify(connection)).problems == []

    await do(story, "acme", enable("fourth", 3))
    assert (await verify(connection)).problems == []


async def test_the_newest_entries_cut_off_are_found_by_an_anchor_alone(story: Ledger, connection: Connection) -> None:
    async with put_back(connection, *TABLES):
        await do(story, "acme", enable("fourth", 2), "cut off")
        await story.drained()
        anchor = await newest(connection)
        assert (await verified(connection, anchor)).problems == []
    assert (await verify(connection)).problems == []
    assert (await verified(connection, anchor)).problems == [
        f"organizations/acme entry {anchor.revision}: was expected, and is not there"
    ]


async def test_a_history_rewritten_from_the_start_is_found_by_an_anchor_alone(
    story: Ledger, connection: Connection
) -> None:
    anchor = await newest(connection)
    async with put_back(connection, *TABLES):
        await as_nobody_may(connection, "UPDATE entry SET actor = 'somebody else' WHERE organization = 'acme'")
        last = bytes(32)
        for row in await entries(connection):
            last = digest("acme", dict(row), last)
            statement = f"UPDATE entry SET digest = $1 WHERE organization = 'acme' AND revision = {row['revision']}"
            await as_nobody_may(connection, statement, "UPDATE 1", last)
        await connection.execute("UPDATE organization SET digest = $1 WHERE organization = 'acme'", last)
        assert (await verify(connection)).problems == []
        assert (await verified(connection, anchor)).problems == [
            f"organizations/acme entry {anchor.revision}: digest is {last.hex()}, expected was {anchor.digest}"
        ]
    assert (await verified(connection, anchor)).problems == []
    assert (await verified(connection, Anchor(anchor.revision, anchor.digest[:16]))).problems == []


async def test_where_much_is_wrong_the_first_problems_are_named(story: Ledger, connection: Connection) -> None:
    await as_nobody_may(
        connection, "UPDATE entry SET actor = 'x', valid_delta = 1, grace_delta = 1, suspended_delta = 1"
    )
    one = await verified(connection)
    assert len(one.problems) == 51
    assert one.problems[-1] == f"organizations/acme: {one.problem_count - 50} more problems"


async def test_who_never_was_is_a_problem(connection: Connection) -> None:
    assert (await verify(connection, "nobody")).problems == [
        "organizations/nobody organization: has neither entries nor a row"
    ]


async def verified(connection: Connection, *anchors: Anchor) -> Verified:
    """What became of acme."""
    [one] = [each async for each in verify_each(connection, ["acme"], anchors=anchors)]
    return one


async def newest(connection: Connection) -> Anchor:
    """Acme's newest entry, as one may know it from elsewhere."""
    *_, row = await entries(connection)
    return Anchor(row["revision"], row["digest"].hex())


async def as_nobody_may(connection: Connection, statement: str, expected: str = "", *arguments: Any) -> None:
    """Past the triggers that protect the entries."""
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        done = await connection.execute(statement, *arguments)
        assert done == expected or (not expected and done not in ("UPDATE 0", "DELETE 0", "INSERT 0 0")), done


@asynccontextmanager
async def put_back(connection: Connection, *tables: str) -> AsyncIterator[None]:
    """Afterwards every row is as it was before."""
    for table in tables:
        await connection.execute(f"CREATE TEMPORARY TABLE kept_{table} AS TABLE {table}")
    try:
        yield
    finally:
        for table in tables:
            await as_nobody_may(connection, f"TRUNCATE {table}")
            await as_nobody_may(connection, f"INSERT INTO {table} TABLE kept_{table}")
            await connection.execute(f"DROP TABLE kept_{table}")
