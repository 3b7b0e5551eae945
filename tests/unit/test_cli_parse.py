"""What a person may type, and what is refused with a clear word."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import click
import pytest

from earmark.cli import parse, steps
from earmark.operations import Adjust, Disable, Enable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", timedelta(0)),
        ("+30d", timedelta(days=30)),
        ("-2h", timedelta(hours=-2)),
        ("+1d12h", timedelta(days=1, hours=12)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T09:00:00Z", datetime(2027, 1, 31, 9, tzinfo=UTC)),
        ("2027-01-31t09:00:00z", datetime(2027, 1, 31, 9, tzinfo=UTC)),
        ("2027-01-31 09:00:00.123456+02:00", datetime(2027, 1, 31, 7, 0, 0, 123456, tzinfo=UTC)),
    ],
)
def test_instants(text: str, expected: parse.Moment) -> None:
    assert parse.instant(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2027-02-30",
        "2027-01-31T09:00:00",
        "2027-01-31T25:00:00Z",
        "2027-W01-1",
        "20270131",
        "+30",
        "+d",
        "+-3d",
        "0001-01-01T00:00:00+14:00",
        "+99999999999d",
        "\u0662\u0660\u0662\u0667-01-31",
    ],
)
def test_what_is_no_instant(text: str) -> None:
    with pytest.raises(click.BadParameter):
        parse.instant(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        ("2w", timedelta(days=14)),
        ("1d2h3m4s", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("0", timedelta(0)),
    ],
)
def test_durations(text: str, expected: timedelta) -> None:
    assert parse.duration(text) == expected


@pytest.mark.parametrize("text", ["", "30", "d", "30 d", "-30d", "30y", "1.5h", "9" * 20 + "d", "9" * 5000 + "d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        parse.duration(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("1,000", 1000), ("1_000_000", 1_000_000), (str(2**63 - 1), 2**63 - 1)]
)
def test_whole_numbers(text: str, expected: int) -> None:
    assert parse.number(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1,00", "1e3", "0x10", str(2**63), "9" * 5000, "\u0661"])
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(click.BadParameter):
        parse.number(text)


def test_a_change_may_be_negative_and_a_priority_has_32_bits() -> None:
    assert parse.change("-3") == -3
    assert parse.change("+5") == 5
    assert parse.priority(str(-(2**31))) == -(2**31)
    with pytest.raises(click.BadParameter):
        parse.priority(str(2**31))


def test_decimals_are_exact() -> None:
    assert parse.decimal("0.05") == Decimal("0.05")
    for text in ("", "NaN", "Infinity", "1e99", "five"):
        with pytest.raises(click.BadParameter):
            parse.decimal(text)


def test_operations_from_json_lines() -> None:
    text = """{"operation": "enable", "offering": "endpoint-sensor", "units": 100, "labels": {"site": "a"}}

    {"operation": "adjust", "allocation": "endpoint-sensor", "delta_units": -5, "request_id": "r-1"}
    {"operation": "disable", "allocation": "file-scan"}
    """
    assert steps.read(text) == [
        Enable(offering="endpoint-sensor", units=100, labels={"site": "a"}),
        Adjust(allocation="endpoint-sensor", delta_units=-5, request_id="r-1"),
        Disable(allocation="file-scan"),
    ]


def test_operations_from_csv_leave_out_what_is_empty() -> None:
    text = (
        "\ufeffoperation,allocation,offering,units,delta_units,priority,labels\r\n"
        'enable,endpoint-sensor~web-1,endpoint-sensor,"1,000",,7,site=a;tier=1\r\n'
        "adjust,endpoint-sensor,,,-5,,\r\n"
        "disable,file-scan,,,,,\r\n"
    )
    assert steps.read(text) == [
        Enable(
            offering="endpoint-sensor",
            units=1000,
            allocation="endpoint-sensor~web-1",
            priority=7,
            labels={"site": "a", "tier": "1"},
        ),
        Adjust(allocation="endpoint-sensor", delta_units=-5),
        Disable(allocation="file-scan"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no operations"),
        ("operation,offering\n", "no operations"),
        ('{"operation": "enable", "units": 1}', "Line 1: enable needs offering"),
        ('{"operation": "disable", "allocation": "a", "units": 1}', "Line 1: disable takes no units"),
        ('{"operation": "disable", "allocation": "a"}\n{"operation": "stop"}', "Line 2: the operation must be"),
        ('{"operation": "disable", "allocation": 7}', "Line 1: allocation is a string"),
        ('{"operation": ["enable"]}', "Line 1: the operation must be"),
        ('{"operation": "enable", "offering": "o", "units": 1.5}', "Line 1: units is a whole number"),
        ('{"operation": "enable", "offering": "o", "units": true}', "Line 1: units is a whole number"),
        ('{"operation": "enable", "offering": "o", "units": 1, "labels": {"a": 1}}', "Line 1: labels"),
        ('{"operation": ', "Line 1 is not JSON"),
        ('{"operation": "disable", "allocation": "a"}\n[]', "Line 2 is not a JSON object"),
        ("operation,offering,units\nenable,o,many\n", "Line 2: 'many' is not a whole number"),
        ("operation,offering,units\nenable,o,1,2\n", "Line 2 has more cells"),
        ('operation,offering,units\nenable,"o,1\n', "is not CSV"),
        ("operation,offering,units,labels\nenable,o,1,red\n", "Line 2: labels are key=value"),
    ],
)
def test_operations_that_cannot_be_read_name_their_line(text: str, message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        steps.read(text)
