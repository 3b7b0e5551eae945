"""Loading a catalogue from a file: all of it or, with every bad row named, nothing."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from services.admin.catalog_file import SAMPLE_CATALOG, BadCatalog, Loaded, load_catalog
from services.ledger.catalog import change_catalog
from services.ledger.rules.cataloguing import CreateOffering, Terms, UpdateOffering
from services.ledger.rules.price import Offering
from services.ledger.store import catalog_tables
from services.ledger.store.database import Connection

HEADER = "offering_id,display_name,solution,unit,credits_per_block,block_units,max_credits"
LONG = "x" * 257

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a catalogue of so many rows under the header."""

    def write(*rows: str, header: str = HEADER) -> Path:
        path = tmp_path / "offerings.csv"
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return path

    return write


async def offerings(connection: Connection) -> dict[str, Offering]:
    return {each.offering: each for each in await catalog_tables.list_offerings(connection, "", 1000)}


async def test_the_sample_catalogue_loads_and_loads_again_without_a_change(connection: Connection) -> None:
    assert await load_catalog(connection, SAMPLE_CATALOG) == Loaded(42, 42)
    first = await offerings(connection)
    assert len(first) == 42
    retention = first["siem-archival-retention"].prices[0]
    assert (retention.credits_per_block, retention.block_units, retention.max_credits) == (Decimal("0.05"), 1, None)
    assert first["crem-cloud-account"].prices[0].max_credits == 8_000
    assert await load_catalog(connection, SAMPLE_CATALOG) == Loaded(42, 0)
    assert await offerings(connection) == first


async def test_what_differs_is_changed_and_what_is_missing_stays(connection: Connection, write: Write) -> None:
    await load_catalog(connection, write("a,A,S,GB,1,1,", "b,B,S,GB,2,1,", "c,C,S,GB,3,1,9"))
    before = await offerings(connection)
    await change_catalog(connection, CreateOffering("by-hand", Terms(Decimal(7))))
    assert await load_catalog(connection, write("a,A,S,GB,1.0,1,", "b,B!,S,GB,2,1,", "c,C,S,GB,3,1,")) == Loaded(3, 2)

    after = await offerings(connection)
    assert sorted(after) == ["a", "b", "by-hand", "c"]
    assert after["a"] == before["a"]
    assert (after["b"].display_name, after["b"].prices) == ("B!", before["b"].prices)
    assert [each.max_credits for each in after["c"].prices] == [9, None]


async def test_with_only_new_what_is_there_stays_as_it_is(connection: Connection, write: Write) -> None:
    await load_catalog(connection, write("a,A,S,GB,1,1,"))
    await change_catalog(connection, UpdateOffering("a", price=Terms(Decimal(5))))
    before = await offerings(connection)
    assert await load_catalog(connection, write("a,A,S,GB,1,1,", "b,B,S,GB,2,1,"), only_new=True) == Loaded(2, 1)
    after = await offerings(connection)
    assert sorted(after) == ["a", "b"]
    assert after["a"] == before["a"]


BAD_ROWS = {
    "-a,A,S,GB,1,1,": "offering_id must be",
    f"{'x' * 129},A,S,GB,1,1,": "offering_id must be",
    "ä,A,S,GB,1,1,": "offering_id must be",
    ",A,S,GB,1,1,": "offering_id must be",
    f"a,{LONG},S,GB,1,1,": "display_name, solution and unit must",
    "a,A,S\x07,GB,1,1,": "display_name, solution and unit must",
    "a,A,S,GB,,1,": "credits_per_block must",
    "a,A,S,GB,-1,1,": "credits_per_block must",
    "a,A,S,GB,1e3,1,": "credits_per_block must",
    "a,A,S,GB,0.0000001,1,": "credits_per_block must",
    "a,A,S,GB,1000000000.000001,1,": "credits_per_block must",
    "a,A,S,GB,NaN,1,": "credits_per_block must",
    "a,A,S,GB,\u0661,1,": "credits_per_block must",
    "a,A,S,GB,1,0,": "block_units must",
    "a,A,S,GB,1,1.5,": "block_units must",
    "a,A,S,GB,1,1000000000001,": "block_units must",
    "a,A,S,GB,1,1,-1": "max_credits must",
    "a,A,S,GB,1,1,1000000000001": "max_credits must",
    "a,A,S,GB,1,1": "must have 7 columns",
    "a,A,S,GB,1,1,,": "must have 7 columns",
    "good,A,S,GB,1,1,": "offering_id 'good' is there twice",
}


async def test_every_bad_row_is_named_by_its_line_and_nothing_is_loaded(connection: Connection, write: Write) -> None:
    with pytest.raises(BadCatalog) as bad:
        await load_catalog(connection, write("good,A,S,GB,1,1,", *BAD_ROWS, "good-too,A,S,GB,1,1,"))
    problems = str(bad.value).splitlines()
    assert len(problems) == len(BAD_ROWS)
    for line, (problem, wrong) in enumerate(zip(problems, BAD_ROWS.values(), strict=True), start=3):
        assert problem.startswith(f"line {line}: {wrong}")
    assert await offerings(connection) == {}


async def test_every_fault_of_a_row_is_named(connection: Connection, write: Write) -> None:
    with pytest.raises(BadCatalog) as bad:
        await load_catalog(connection, write(f"_,{LONG},S,GB,x,x,x"))
    assert [each.split(" ")[2] for each in str(bad.value).splitlines()] == [
        "offering_id",
        "display_name,",
        "credits_per_block",
        "block_units",
        "max_credits",
    ]


@pytest.mark.parametrize(
    "header", ["", "a,b,c", HEADER + ",more", HEADER + ",unit", HEADER.replace("unit,", "")], ids=range(5)
)
async def test_other_columns_are_refused(connection: Connection, write: Write, header: str) -> None:
    with pytest.raises(BadCatalog, match=r"^line 1: the columns must be offering_id, .*, max_credits"):
        await load_catalog(connection, write("a,A,S,GB,1,1,", header=header))
    assert await offerings(connection) == {}


async def test_columns_may_be_in_another_order(connection: Connection, write: Write) -> None:
    columns = HEADER.split(",")
    await load_catalog(connection, write(",1,7,GB,S,A,a", header=",".join(reversed(columns))))
    [offering] = (await offerings(connection)).values()
    assert (offering.offering, offering.prices[0].credits_per_block) == ("a", Decimal(7))


async def test_a_file_that_is_no_text_or_no_table_is_a_bad_catalogue(connection: Connection, tmp_path: Path) -> None:
    path = tmp_path / "offerings.csv"
    path.write_bytes(f"{HEADER}\na,Ma\xdf,S,GB,1,1,\n".encode("latin-1"))
    with pytest.raises(BadCatalog, match="UTF-8"):
        await load_catalog(connection, path)
    path.write_text(f"{HEADER}\na,{'x' * 200_000},S,GB,1,1,\n")
    with pytest.raises(BadCatalog, match="line 2"):
        await load_catalog(connection, path)


async def test_a_file_that_fails_at_its_end_leaves_nothing_behind(connection: Connection, write: Write) -> None:
    """Here it is the database that refuses the last row."""
    await connection.execute("ALTER TABLE offering ADD CONSTRAINT refuses CHECK (offering <> 'c')")
    with pytest.raises(asyncpg.CheckViolationError):
        await load_catalog(connection, write("a,A,S,GB,1,1,", "b,B,S,GB,2,1,", "c,C,S,GB,3,1,"))
    assert await offerings(connection) == {}


async def test_two_who_load_at_once_are_one_after_the_other(connection: Connection, database: str) -> None:
    other = await asyncpg.connect(database)
    loaded = await asyncio.gather(*(load_catalog(each, SAMPLE_CATALOG) for each in (connection, other)))
    assert sorted(each.changed for each in loaded) == [0, 42]
    await other.close()
