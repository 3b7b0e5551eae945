"""The schema as the database itself tells it: organizations share nothing, and entries are final."""

import asyncpg
import pytest

from services.ledger.ledger import Ledger
from services.ledger.rules.commands import Call, CreateOrganization
from services.ledger.store.database import Connection
from tests.contract import schema

ATTEMPTS = [
    "UPDATE entry SET actor = 'somebody else'",
    "UPDATE entry SET actor = actor",
    "DELETE FROM entry",
    "DELETE FROM entry WHERE revision = 1",
    "TRUNCATE entry",
    "TRUNCATE organization, entry",
]

SPANNING = [
    ("CREATE TABLE badge (badge text PRIMARY KEY)", "unique index of badge on badge"),
    ("CREATE TABLE badge (organization text, badge text)", "badge without a primary key"),
    ("CREATE TABLE badge (organization text PRIMARY KEY, n bigserial)", "sequence badge_n_seq"),
    (
        "CREATE TABLE badge (organization text PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY)",
        "sequence badge_n_seq",
    ),
    ("CREATE UNIQUE INDEX ON request (request_id)", "unique index of request on request_id"),
    ("CREATE UNIQUE INDEX ON request (lower(request_id))", "unique index of request on "),
    (
        "ALTER TABLE allocation ADD FOREIGN KEY (organization) REFERENCES organization",
        "foreign key of allocation",
    ),
    (
        "ALTER TABLE entry ADD EXCLUDE USING btree (recorded_time WITH =)",
        "exclusion of entry",
    ),
]


async def test_every_primary_key_begins_with_the_organization(connection: Connection) -> None:
    keys = await schema.primary_keys(connection)
    assert set(keys) == await schema.tables(connection), "every table has one"
    assert {table for table, columns in keys.items() if columns[0] != "organization"} == schema.APART


async def test_nothing_spans_two_organizations(connection: Connection) -> None:
    assert await schema.spanning(connection) == set()


@pytest.mark.parametrize(("statement", "found"), SPANNING)
async def test_what_would_span_them_is_found(connection: Connection, statement: str, found: str) -> None:
    await connection.execute(statement)
    assert await schema.spanning(connection) == {found}


async def test_ids_compare_by_bytes(connection: Connection) -> None:
    assert await schema.key_columns_that_do_not_compare_by_bytes(connection) == set()


@pytest.mark.parametrize("statement", ATTEMPTS)
async def test_an_entry_is_final_even_for_a_superuser(connection: Connection, ledger: Ledger, statement: str) -> None:
    await ledger.change("an-organization", Call(CreateOrganization()), seconds=10)
    before = await connection.fetch("SELECT * FROM entry")
    assert len(before) == 1
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="never changed and never deleted"):
        await connection.execute(statement)
    assert await connection.fetch("SELECT * FROM entry") == before


async def test_nobody_may_change_entries(connection: Connection) -> None:
    """By privilege too, for databases whose distributed tables take no triggers; the owner is no exception."""
    assert await schema.granted(connection, "entry") & schema.CHANGING == set()
    assert await schema.granted(connection, "entry") >= {"SELECT", "INSERT"}
    assert await schema.granted(connection, "organization") >= schema.CHANGING, "the question can be answered no"


async def test_a_plain_user_is_refused_before_the_trigger_is_asked(connection: Connection) -> None:
    await connection.execute("CREATE ROLE plain_user")
    try:
        await connection.execute("GRANT SELECT, INSERT ON entry TO plain_user; SET ROLE plain_user")
        for statement in ATTEMPTS[:5]:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.execute("RESET ROLE; DROP OWNED BY plain_user; DROP ROLE plain_user")
