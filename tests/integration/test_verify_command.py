"""`earmark-admin verify` as whoever operates it sees it: what it says, and how it ends."""

import asyncio
import io
import subprocess

import asyncpg
import pytest
from rich.console import Console

from services.admin import embedded, verify_command
from services.admin.verify import verify_each
from services.admin.verify_command import Bar
from services.ledger.ledger import Ledger
from services.ledger.store.database import Connection
from tests.support.books import do, enable, entries, make_customer, make_organization, offer_sensors
from tests.support.processes import ADMIN, run

EMPTY_DIGEST = "0" * 64


async def verify(database: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(run, ADMIN, "verify", *arguments, database_url=database)


@pytest.fixture
async def token(ledger: Ledger, connection: Connection) -> str:
    """Of acme's newest entry, as a watch gives it. There are two organizations."""
    await offer_sensors(connection)
    await make_customer(ledger, connection)
    await do(ledger, "acme", enable())
    await make_organization(ledger, "beta")
    await ledger.drained()
    *_, newest = await entries(connection)
    return f"{newest['revision']}:{newest['digest'].hex()}"


async def test_what_is_sound_ends_with_0(database: str, token: str) -> None:
    everything = await verify(database)
    assert (everything.returncode, everything.stderr) == (0, "")
    assert everything.stdout == "verify: ok, 2 organizations, 4 entries\n"
    one = await verify(database, "acme")
    assert (one.returncode, one.stderr) == (0, "")
    assert one.stdout == f"organizations/acme: 3 entries, newest {token}\nverify: ok, 1 organization, 3 entries\n"
    assert (await verify(database, "organizations/acme", "beta", "acme")).stdout.endswith(
        "verify: ok, 2 organizations, 4 entries\n"
    )


async def test_a_problem_is_named_and_ends_with_1(database: str, token: str, connection: Connection) -> None:
    await connection.execute("UPDATE allocation SET priority = 7")
    found = await verify(database)
    await connection.execute("UPDATE allocation SET priority = 0")
    assert (found.returncode, found.stderr) == (1, "")
    assert found.stdout.splitlines() == [
        "organizations/acme allocations/endpoint-sensor: priority is 7, should be 0",
        "verify: 1 problem, 2 organizations, 4 entries",
    ]


async def test_what_is_known_from_elsewhere_is_held_against_it(database: str, token: str) -> None:
    assert (await verify(database, "acme", "--expect", token)).returncode == 0
    assert (await verify(database, "acme", "--expect", token[:18].upper(), "--expect", token)).returncode == 0
    other = await verify(database, "acme", "--expect", token, "--expect", f"3:{EMPTY_DIGEST}")
    assert other.returncode == 1
    assert f"organizations/acme entry 3: digest is {token[2:]}, expected was {EMPTY_DIGEST}" in other.stdout
    later = await verify(database, "acme", "--expect", f"4:{token[2:]}")
    assert later.returncode == 1
    assert "organizations/acme entry 4: was expected, and is not there" in later.stdout


async def test_its_session_cannot_write_and_need_not(database: str, token: str, connection: Connection) -> None:
    reading = await asyncpg.connect(database, server_settings=verify_command.SESSION)
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await reading.execute("UPDATE allocation SET priority = 7")
    await connection.execute("CREATE ROLE reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    await reading.execute("SET ROLE reader")
    assert [each.problem_count async for each in verify_each(reading)] == [0, 0]
    await reading.close()
    await connection.execute("DROP OWNED BY reader; DROP ROLE reader")


async def test_an_organization_that_is_not_there_ends_with_1(database: str, token: str) -> None:
    found = await verify(database, "nobody")
    assert found.returncode == 1
    assert found.stdout.splitlines() == [
        "organizations/nobody organization: has neither entries nor a row",
        "verify: 1 problem, 1 organization, 0 entries",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--expect", f"3:{EMPTY_DIGEST}"), "name exactly one"),
        (("acme", "beta", "--expect", f"3:{EMPTY_DIGEST}"), "name exactly one"),
        (("acme", "--expect", EMPTY_DIGEST), "is not a revision, a colon"),
        (("acme", "--expect", "3:12345"), "is not a revision, a colon"),
        (("acme", "--expect", f"0:{EMPTY_DIGEST}"), "is not a revision, a colon"),
        (("acme", "--expect", f"3:{EMPTY_DIGEST}0"), "is not a revision, a colon"),
        (("acme", "--expect", f"3:{'g' * 64}"), "is not a revision, a colon"),
    ],
)
async def test_what_makes_no_sense_ends_with_2(arguments: tuple[str, ...], said: str) -> None:
    """Whether or not there is a database."""
    refused = await verify("postgresql://nobody@127.0.0.1:1/nothing", *arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert refused.stdout == ""


async def test_a_database_that_holds_nothing_of_earmark_is_told(postgres: embedded.Server) -> None:
    found = await verify(postgres.url)
    assert found.returncode == 1
    assert "the database holds no Earmark schema" in found.stderr


def test_the_bar_is_shown_on_a_terminal_when_it_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, file = (Bar(Console(file=io.StringIO(), force_terminal=on, width=80)) for on in (True, False))
    for bar in (terminal, file):
        bar.show(1_000, 4_000)
        assert bar.shown is None
    monkeypatch.setattr(verify_command, "BAR_AFTER_SECONDS", 0.0)
    for bar in (terminal, file):
        bar.show(2_000, 4_000)
        bar.clear()
        assert bar.shown is None
        bar.clear()
    assert isinstance(terminal.console.file, io.StringIO)
    assert "2,000 of 4,000 entries" in terminal.console.file.getvalue()
    assert isinstance(file.console.file, io.StringIO)
    assert file.console.file.getvalue() == ""
