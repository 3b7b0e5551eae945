"""The export is a public format: its columns, and the bytes of a ledger that is known."""

import csv
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import BinaryIO

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from earmark.cli import export_columns, files
from earmark.v1.resources_pb2 import Allocation, Balance, EndingSoon, Entry, Organization, Subscription

README = Path(__file__).parents[2] / "clients" / "python" / "README.md"

HEADER = (
    "organization,revision,kind,resource_kind,resource_id,effective_time,recorded_time,actor,request_id,causes,"
    "cause_count,last,state,credits,labels,offering,units,needed_credits,price_version,priority,enabled_revision,"
    "start_time,end_time,grace_end_time,cancel_time,renews,order_reference,display_name,threshold_percent,ending,"
    "ending_days,ending_renewed,valid_delta,grace_delta,allocated_delta,suspended_delta,valid_credits,grace_credits,"
    "allocated_credits,suspended_credits,available_credits,overdraft_limit,overdraft_unlimited,digest"
)


def at(**distance: float) -> Timestamp:
    value = Timestamp()
    value.FromDatetime(datetime(2051, 3, 1, 12, tzinfo=UTC) + timedelta(**distance))
    return value


def balance(*, valid_credits: int = 0, suspended_credits: int = 0, available_credits: int = 0) -> Balance:
    return Balance(
        organization="organizations/o-1",
        overdraft_limit=50,
        valid_credits=valid_credits,
        suspended_credits=suspended_credits,
        available_credits=available_credits,
    )


LEDGER = (
    Entry(
        name="organizations/o-1/entries/1",
        revision=1,
        kind=Entry.ORGANIZATION_CREATED,
        resource="organizations/o-1",
        effective_time=at(),
        recorded_time=at(),
        actor="=HYPERLINK(A1)",
        request_id="r-1",
        organization=Organization(name="organizations/o-1", display_name='Zürich, the "first"'),
        last=True,
        balance=balance(),
        digest=bytes(range(32)),
    ),
    Entry(
        name="organizations/o-1/entries/2",
        revision=2,
        kind=Entry.SUBSCRIPTION_CREATED,
        resource="organizations/o-1/subscriptions/s-1",
        effective_time=at(seconds=1),
        recorded_time=at(seconds=1),
        actor="desk",
        request_id="-r",
        subscription=Subscription(
            name="organizations/o-1/subscriptions/s-1",
            state=Subscription.ACTIVE,
            credits=1000,
            start_time=at(seconds=1),
            end_time=at(days=365),
            grace_end_time=at(days=395),
            renews="organizations/o-1/subscriptions/s-0",
            order_reference="'quoted",
            labels={"b": "2", "a": "=1"},
        ),
        last=True,
        valid_delta=1000,
        balance=balance(valid_credits=1000, available_credits=1000),
        digest=bytes(32),
    ),
    Entry(
        name="organizations/o-1/entries/3",
        revision=3,
        kind=Entry.ALLOCATION_SUSPENDED,
        resource="organizations/o-1/allocations/data~1",
        effective_time=at(days=395),
        recorded_time=at(days=395, microseconds=1),
        causes=["organizations/o-1/subscriptions/s-1", "organizations/o-1"],
        cause_count=2,
        allocation=Allocation(
            name="organizations/o-1/allocations/data~1",
            offering="offerings/data",
            state=Allocation.SUSPENDED,
            units=3,
            suspended_credits=60,
            price_version=1,
            priority=-5,
            enabled_revision=2,
        ),
        allocated_delta=-60,
        suspended_delta=60,
        balance=balance(suspended_credits=60, available_credits=0),
        digest=b"\xff" * 32,
    ),
    Entry(
        name="organizations/o-1/entries/4",
        revision=4,
        kind=Entry.SUBSCRIPTION_ENDING_SOON,
        resource="organizations/o-1/subscriptions/s-1",
        effective_time=at(days=400),
        recorded_time=at(days=400),
        subscription=Subscription(state=Subscription.CANCELLED, cancel_time=at(days=1)),
        ending_soon=EndingSoon(ending=EndingSoon.GRACE, days=7, renewed=False),
        balance=Balance(overdraft_unlimited=True),
    ),
    Entry(
        name="organizations/o-1/entries/5",
        revision=5,
        kind=99,  # type: ignore[arg-type]  # of a later release
        resource="organizations/o-1",
        effective_time=at(days=400),
        recorded_time=at(days=400),
        organization=Organization(),
        threshold_percent=90,
        balance=balance(available_credits=-1),
    ),
)

ROWS = (
    "o-1,1,ORGANIZATION_CREATED,organization,o-1,2051-03-01T12:00:00.000000Z,2051-03-01T12:00:00.000000Z,"
    "'=HYPERLINK(A1),r-1,,0,true,,,,,,,,,,,,,,,,"
    '"Zürich, the ""first""",,,,,0,0,0,0,0,0,0,0,0,50,false,'
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "o-1,2,SUBSCRIPTION_CREATED,subscription,s-1,2051-03-01T12:00:01.000000Z,2051-03-01T12:00:01.000000Z,"
    'desk,\'-r,,0,true,ACTIVE,1000,"{""a"":""=1"",""b"":""2""}",,,,,,,'
    "2051-03-01T12:00:01.000000Z,2052-02-29T12:00:00.000000Z,2052-03-30T12:00:00.000000Z,,s-0,''quoted,,"
    f",,,,1000,0,0,0,1000,0,0,0,1000,50,false,{'00' * 32}",
    "o-1,3,ALLOCATION_SUSPENDED,allocation,data~1,2052-03-30T12:00:00.000000Z,2052-03-30T12:00:00.000001Z,"
    ",,organizations/o-1/subscriptions/s-1 organizations/o-1,2,false,SUSPENDED,0,,data,3,60,1,-5,2,,,,,,,"
    f",,,,,0,0,-60,60,0,0,0,60,0,50,false,{'ff' * 32}",
    "o-1,4,SUBSCRIPTION_ENDING_SOON,subscription,s-1,2052-04-04T12:00:00.000000Z,2052-04-04T12:00:00.000000Z,"
    ",,,0,false,CANCELLED,0,,,,,,,,,,,2051-03-02T12:00:00.000000Z,,,,"
    ",GRACE,7,false,0,0,0,0,0,0,0,0,0,0,true,",
    "o-1,5,99,organization,o-1,2052-04-04T12:00:00.000000Z,2052-04-04T12:00:00.000000Z,"
    ",,,0,false,,,,,,,,,,,,,,,,,90,,,,0,0,0,0,0,0,0,0,-1,50,false,",
)


def written(*entries: Entry) -> str:
    text = StringIO(newline="")
    write = export_columns.writer(text)
    for entry in entries:
        write(entry)
    return text.getvalue()


def test_the_bytes_of_a_known_ledger() -> None:
    assert written(*LEDGER) == "\n".join([HEADER, *ROWS]) + "\n"


def test_a_ledger_without_entries_is_a_header() -> None:
    assert written() == HEADER + "\n"


def test_every_row_has_a_cell_for_each_column() -> None:
    assert {len(cells) for cells in csv.reader(StringIO(written(*LEDGER)))} == {len(HEADER.split(","))}


def test_the_columns_are_documented_in_their_order() -> None:
    _, _, section = README.read_text().partition("\n### The export\n")
    table = section.partition("\n### ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == HEADER.split(",")


@pytest.mark.parametrize("typed", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\uff1d1", "'", "'=1", "''"])
def test_what_a_spreadsheet_could_take_for_a_formula_is_text_and_can_be_had_back(typed: str) -> None:
    entry = Entry(resource="organizations/o-1", actor=typed, organization=Organization(display_name=typed))
    [cells] = csv.DictReader(StringIO(written(entry)))
    for column in ("actor", "display_name"):
        assert cells[column] == f"'{typed}"
        assert cells[column].removeprefix("'") == typed


@pytest.mark.parametrize("typed", ["", "desk", "1", "a=1", "x'", '"', "a;b", "ü"])
def test_other_text_is_as_it_is(typed: str) -> None:
    [cells] = csv.DictReader(StringIO(written(Entry(resource="organizations/o-1", actor=typed))))
    assert cells["actor"] == typed


# Files.


def test_a_file_appears_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    with files.replaced(path) as file:
        file.write(b"all")
        assert not path.exists()
    assert path.read_bytes() == b"all"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_file_that_is_there_keeps_its_content_until_then_and_its_mode(tmp_path: Path) -> None:
    path, link = tmp_path / "ledger.csv", tmp_path / "newest.csv"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    with pytest.raises(KeyboardInterrupt), files.replaced(link) as file:
        _half(file)
    assert path.read_text() == "old"
    with path.open() as reader:
        with files.replaced(link) as file:
            file.write(b"new")
            assert path.read_text() == "old"
        assert reader.read() == "old"
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode), link.is_symlink()) == ("new", 0o640, True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["ledger.csv", "newest.csv"]


def _half(file: BinaryIO) -> None:
    file.write(b"half")
    raise KeyboardInterrupt


def test_a_device_stays_one() -> None:
    with files.replaced(Path(os.devnull)) as file:
        file.write(b"gone")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
