"""Reading a catalogue's file: every bad row by its line, and what is good as it stands."""

from decimal import Decimal

import pytest
from click.testing import CliRunner

from earmark.cli import main, offering_changes, offering_file
from earmark.cli.offering_file import COLUMNS, Row
from earmark.messages import price
from earmark.v1.resources_pb2 import Offering, Price
from services.admin import catalog_file
from services.admin.catalog_file import SAMPLE_CATALOG
from services.ledger.rules import limits

HEADER = ",".join(COLUMNS) + "\n"
GOOD = "data,Data,Lake,GB,0.05,10,5000\n"


def problems(text: str | bytes) -> list[str]:
    return list(offering_file.read(text if isinstance(text, bytes) else text.encode()).problems)


def test_the_catalogue_of_the_repository_is_good() -> None:
    content = SAMPLE_CATALOG.read_bytes()
    found = offering_file.read(content)
    assert (len(found.rows), found.problems) == (42, [])
    with SAMPLE_CATALOG.open(newline="", encoding="utf-8") as lines:
        others = catalog_file.read_catalog(lines)
    for ours, theirs in zip(found.rows, others, strict=True):
        terms = theirs.price
        assert (ours.offering, ours.display_name, ours.solution, ours.unit) == (
            theirs.offering,
            theirs.display_name,
            theirs.solution,
            theirs.unit,
        )
        assert (ours.credits_per_block, ours.block_units, ours.max_credits) == (
            terms.credits_per_block,
            terms.block_units,
            terms.max_credits,
        )


def test_the_format_and_its_bounds_are_those_of_the_server() -> None:
    assert COLUMNS == catalog_file.COLUMNS
    assert offering_file.TEXT_CHARACTERS_MAX == limits.TEXT_CHARACTERS_MAX
    assert offering_file.PRICE_MAX == limits.PRICE_MAX
    assert offering_file.WHOLE_MAX == limits.UNITS_MAX == limits.CREDITS_MAX
    assert offering_file.OFFERINGS_MAX == limits.OFFERINGS_MAX
    assert offering_changes.PRICE_VERSIONS_MAX == limits.PRICE_VERSIONS_MAX


def test_columns_may_come_in_any_order_lines_end_in_any_way_and_a_byte_order_mark_is_no_text() -> None:
    text = "\ufeffunit,max_credits,offering_id,block_units,credits_per_block,solution,display_name\r\n"
    text += '"G,B",,data,1,1,,"a ""b"""\r\n\r\n'
    [row] = offering_file.read(text.encode()).rows
    assert row == Row(
        line=2,
        offering="data",
        display_name='a "b"',
        solution="",
        unit="G,B",
        credits_per_block=Decimal(1),
        block_units=1,
        max_credits=None,
    )


def test_every_bad_row_is_named_by_its_line() -> None:
    text = HEADER + GOOD + "-a,b,c,d,1,1,\n" + "\n" + 'e,"f\ng",h,i,1e3,0,-1\n' + "j,k,l\n" + "m,n,o,p,1,1,q\n"
    assert [each.partition(" must")[0].partition(" holds")[0] for each in problems(text)] == [
        "Line 3: offering_id",
        "Line 5: display_name",
        "Line 5: credits_per_block",
        "Line 5: block_units",
        "Line 5: max_credits",
        "Line 7: it has 3 cells, and the header 7.",
        "Line 8: max_credits",
    ]


def test_an_id_that_is_there_twice_is_told_with_both_lines_even_where_the_rest_is_bad() -> None:
    bad = "data,Data,,GB,free,1,\n"
    assert problems(HEADER + bad + "b,,,,1,1,\n" + GOOD + GOOD)[1:] == [
        "Line 4: offering_id 'data' is that of line 2 as well.",
        "Line 5: offering_id 'data' is that of line 2 as well.",
    ]


def test_what_is_wrong_with_the_columns_is_told_with_what_is_wrong_below() -> None:
    text = "offering_id,display_name,solution,unit,price,block_units,unit\na,b,c,d,1,0,e\n"
    assert problems(text) == [
        "Line 1: the column credits_per_block is missing.",
        "Line 1: the column max_credits is missing.",
        "Line 1: the column 'price' is unknown.",
        "Line 1: the column unit is there more than once.",
        "Line 2: block_units must be a whole number from 1 to 10^12, not '0'.",
    ]
    assert len(problems("")) == len(COLUMNS)
    assert problems(HEADER) == ["There are no offerings in it."]


def test_what_is_no_csv_and_what_is_no_utf_8_does_not_hide_the_rest() -> None:
    text = HEADER.encode() + b'a,"b"c,d,e,1,1,\nf,\xfcber,g,h,1,1,\n-,,,,1,1,\ni,"open,\n'
    found = problems(text)
    assert [each[:7] for each in found] == ["Line 2:", "Line 3:", "Line 4:", "Line 5:"]
    assert "is not CSV" in found[0]
    assert found[1] == "Line 3: display_name is not UTF-8."
    assert "unexpected end" in found[3]


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("offering_id", ["a", "A.b_c~d-9", "9" * 128], ["", "a" * 129, "~a", "a b", "ä", "a\u0660"]),
        ("display_name", ["", "ü" * 256, "=1+1"], ["a" * 257, "a\x7f", "a\u0085", "a\x00"]),
        ("credits_per_block", ["0", "0.000001", "1000000000", "007"], ["", "-1", ".5", "1.", "1e3", "1000000000.1"]),
        ("block_units", ["1", str(10**12)], ["", "0", str(10**12 + 1), "1.5", "1,000", "+1", "\u0661"]),
        ("max_credits", ["", "0", str(10**12)], ["-1", str(10**12 + 1), " "]),
    ],
)
def test_bounds(column: str, good: list[str], bad: list[str]) -> None:
    def row(value: str) -> str:
        cells = dict(zip(COLUMNS, GOOD.strip().split(","), strict=True)) | {column: value}
        return ",".join('"' + cells[each].replace('"', '""') + '"' for each in COLUMNS) + "\n"

    for value in good:
        assert problems(HEADER + row(value)) == [], value
    for value in bad:
        [problem] = problems(HEADER + row(value))
        assert problem.startswith(f"Line 2: {column} "), value


def test_what_is_shown_of_a_bad_cell_neither_steers_the_terminal_nor_fills_it() -> None:
    [steering, long] = problems(HEADER + "a,,,,\x1b[2J,1,\n" + "b,,,," + "9" * 5000 + ",1,\n")
    assert "\x1b" not in steering
    assert len(long) < 200


def test_a_catalogue_has_an_end() -> None:
    rows = "".join(f"a-{number},,,,1,1,\n" for number in range(10_001))
    assert problems(HEADER + rows) == ["There are 10,001 offerings in it; a catalogue holds 10,000."]


def test_nothing_is_sent_where_anything_is_wrong() -> None:
    result = CliRunner().invoke(
        main, ["--address", "127.0.0.1:1", "offerings", "load", "-"], input=HEADER + GOOD + "-,,,,,,\n"
    )
    assert result.exit_code == 2
    assert "Nothing was sent.\nLine 3: offering_id" in result.stderr


# What is changed.

ROW = offering_file.read((HEADER + GOOD).encode()).rows[0]


def offering(value: Price, *, unit: str = "GB") -> Offering:
    return Offering(
        name="offerings/data",
        display_name="Data",
        solution="Lake",
        unit=unit,
        price=value,
        prices=[value],
        etag="3",
    )


SAME = price("0.050", block_units=10, max_credits=5000)


def test_what_is_as_the_file_says_is_left_alone() -> None:
    assert offering_changes.find([ROW], {"data": offering(SAME)}) == []


@pytest.mark.parametrize(
    "other",
    [
        price("0.06", block_units=10, max_credits=5000),
        price("0.05", max_credits=5000),
        price("0.05", block_units=10),
        price("0.05", block_units=10, max_credits=0),
    ],
    ids=str,
)
def test_a_price_that_differs_in_anything_is_a_new_version_and_nothing_else(other: Price) -> None:
    [change] = offering_changes.find([ROW], {"data": offering(other)})
    assert (change.verb, change.texts) == ("updated", {})
    assert change.price is not None
    assert "(was " in change.line().whole().plain


def test_a_text_that_differs_leaves_the_price_alone() -> None:
    [change] = offering_changes.find([ROW], {"data": offering(SAME, unit="TB")})
    assert (change.verb, change.texts, change.price) == ("updated", {"unit": "GB"}, None)
    assert change.line().whole().plain == "updated  data  unit 'GB' (was 'TB')"


def test_what_the_catalogue_has_no_room_for_is_told_by_line() -> None:
    full = offering(price("7"))
    full.prices.extend([price("7")] * 99)
    present = {"data": full} | {f"a-{number}": Offering() for number in range(9_999)}
    new = Row(**{**vars(ROW), "offering": "new", "line": 3})
    changes = offering_changes.find([ROW, new], present)
    assert list(offering_changes.problems(changes, present)) == [
        "There would be 10,001 offerings in the catalogue; it holds 10,000.",
        "Line 2: the price has 100 versions already, and may have no more.",
    ]
