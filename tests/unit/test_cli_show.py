"""Answers as a person sees them, at 80 and at 200 columns."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2, status_pb2
from rich.console import Console, RenderableType

from earmark.cli import allocation_show, offering_show, organization_show, show, subscription_show, words
from earmark.cli.failure import error_rows, exit_code
from earmark.errors import EarmarkError
from earmark.operations import Adjust, Enable, Step
from earmark.v1.allocation_service_pb2 import (
    ApplyOperationsResponse,
    EnableAllocationResponse,
    OperationResult,
)
from earmark.v1.resources_pb2 import (
    Allocation,
    AllocationNames,
    Balance,
    Consequences,
    Offering,
    Organization,
    Price,
    Subscription,
)
from earmark.v1.subscription_service_pb2 import CancelSubscriptionResponse

# Far from the clock of any machine: relative times must follow the answer's own.
NOW = datetime(2051, 3, 1, 12, tzinfo=UTC)


def at(**distance: float) -> Timestamp:
    value = Timestamp()
    value.FromDatetime(NOW + timedelta(**distance))
    return value


def printed(parts: Iterable[RenderableType], width: int = 80, *, terminal: bool = False) -> str:
    out = StringIO()
    console = Console(
        file=out,
        width=width,
        markup=False,
        emoji=False,
        highlight=False,
        force_terminal=terminal,
        color_system="standard" if terminal else None,
        legacy_windows=False,
    )
    for part in parts:
        console.print(part)
    return out.getvalue()


def balance(**figures: Any) -> Balance:
    return Balance(organization="organizations/o-1", revision=7, as_of=at(), **figures)


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        ({"seconds": 0}, "now"),
        ({"milliseconds": -999}, "now"),
        ({"seconds": 59}, "in 59 s"),
        ({"minutes": -59}, "59 min ago"),
        ({"hours": -2}, "2 h ago"),
        ({"hours": 47, "minutes": 20}, "in 47 h"),
        ({"days": 29, "hours": 23}, "in 30 days"),
        ({"days": 365}, "in 365 days"),
        ({"days": -1000}, "3 years ago"),
    ],
)
def test_relative_times_follow_the_answers_own_clock(distance: dict[str, float], expected: str) -> None:
    assert words.relative(at(**distance), at()) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 days"), (86400, "1 day"), (30 * 86400, "30 days"), (3600, "1:00:00"), (90000, "1 day 1:00:00")],
)
def test_lengths(seconds: int, expected: str) -> None:
    assert words.length(Duration(seconds=seconds)) == expected


def test_a_switched_on_offering_shows_what_is_left() -> None:
    answer = EnableAllocationResponse(
        allocation=Allocation(
            name="organizations/o-1/allocations/endpoint-sensor",
            state=Allocation.ENABLED,
            units=100,
            credits=2000,
        ),
        balance=balance(valid_credits=10_000, allocated_credits=2000, available_credits=8000),
    )
    assert printed(allocation_show.changed(answer), 200).splitlines() == [
        "organizations/o-1/allocations/endpoint-sensor  ENABLED  100 units  2,000 credits",
        "valid 10,000  in grace 0  allocated 2,000  available 8,000  suspended 0  overdraft 0",
    ]


def test_a_narrow_terminal_breaks_between_figures_never_within() -> None:
    trillion = 10**12
    line = show.balance(
        balance(
            valid_credits=trillion,
            grace_credits=trillion,
            allocated_credits=trillion,
            available_credits=-trillion,
            suspended_credits=trillion,
            overdraft_limit=trillion,
        )
    )
    lines = printed([line], 80).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "  ".join(lines) == (
        "valid 1,000,000,000,000  in grace 1,000,000,000,000  allocated 1,000,000,000,000  "
        "available -1,000,000,000,000  suspended 1,000,000,000,000  overdraft 1,000,000,000,000"
    )


def test_states_are_coloured_on_terminals_only() -> None:
    rows = [Allocation(state=Allocation.SUSPENDED, suspended_credits=5000, update_time=at(), as_of=at())]
    table = allocation_show.rows(rows, everywhere=False)
    assert "\x1b[31mSUSPENDED" in printed([table], terminal=True)
    assert "\x1b" not in printed([table])
    assert "(5,000)" in printed([table])


def test_nothing_that_came_from_elsewhere_steers_the_terminal() -> None:
    one = Organization(name="organizations/o-1", display_name="[red]\x1b[2J", balance=balance())
    text = printed([organization_show.rows([one])], 200, terminal=True)
    assert "\x1b[2J" not in text
    assert "[red]\N{REPLACEMENT CHARACTER}[2J" in text


@pytest.mark.parametrize("width", [*range(30, 110), 200])
def test_whatever_the_width_nothing_is_cut_off(width: int) -> None:
    long_id = "i-" + "0123456789" * 12
    some = [
        Allocation(
            name=f"organizations/{organization_id}/allocations/{allocation_id}",
            offering="offerings/endpoint-sensor",
            state=Allocation.ENABLED,
            units=units,
            credits=units,
            priority=7,
            update_time=at(hours=-30),
            as_of=at(),
        )
        for organization_id, allocation_id, units in (("o-1", "data", 100), (long_id, long_id, 10**12))
    ]
    text = printed([allocation_show.rows(some, everywhere=True)], width)
    assert all(len(line) <= width for line in text.splitlines())
    letters = Counter("".join(text.split()))
    expected = Counter("".join(("o-1data100100", long_id * 2, "1,000,000,000,000" * 2)))
    expected += Counter("endpoint-sensorENABLED730hago" * 2)
    assert not expected - letters


def test_a_table_that_cannot_fit_becomes_cards() -> None:
    figures = {"valid_credits": 10**12, "allocated_credits": 10**12, "suspended_credits": 10**12}
    some = [
        Organization(name=f"organizations/o-{n}", overdraft_limit=10**12, balance=balance(**figures)) for n in range(2)
    ]
    narrow = [line.rstrip() for line in printed([organization_show.rows(some)], 80).splitlines()]
    assert narrow[:2] == ["id         o-0", "valid      1,000,000,000,000"]
    assert narrow[narrow.index("") + 1] == "id         o-1"
    wide = printed([organization_show.rows(some)], 200).splitlines()
    assert len(wide) == 3


def test_columns_of_zeros_are_left_out() -> None:
    text = printed([organization_show.rows([Organization(name="organizations/o-1", balance=balance())])])
    assert text.split() == ["ID", "VALID", "ALLOCATED", "AVAILABLE", "o-1", "0", "0", "0"]


def test_a_subscription_says_what_comes_next() -> None:
    subscription = Subscription(
        name="organizations/o-1/subscriptions/s-1",
        state=Subscription.GRACE,
        credits=5000,
        start_time=at(days=-375),
        end_time=at(days=-10),
        grace_end_time=at(days=20),
        grace_period=Duration(seconds=30 * 86400),
        as_of=at(),
        labels={"b": "2", "a": "1"},
    )
    assert "grace ends in 20 days" in printed([subscription_show.rows([subscription], everywhere=False)], 200)
    card = printed(subscription_show.details(subscription))
    assert "ends          2051-02-19 12:00:00Z (10 days ago)" in card
    assert "a=1, b=2" in card
    assert "cancelled" not in card


def test_a_forced_cancellation_names_what_it_suspended() -> None:
    named = [f"organizations/o-1/allocations/a-{index}" for index in range(100)]
    answer = CancelSubscriptionResponse(
        subscription=Subscription(
            name="organizations/o-1/subscriptions/s-1",
            state=Subscription.CANCELLED,
            credits=5000,
            cancel_time=at(),
            as_of=at(),
        ),
        consequences=Consequences(
            suspended=AllocationNames(names=named, total_size=1234),
            waiting=AllocationNames(names=named[:1], total_size=1),
        ),
        balance=balance(suspended_credits=5000),
    )
    text = printed(subscription_show.changed(answer), 200)
    assert "suspended 1,234  a-0  a-1" in text
    assert "and 1,224 more" in text
    assert "still waits 1  a-0" in text
    assert "resumed" not in text


def test_an_offering_shows_every_version_of_its_price() -> None:
    prices = [
        Price(version=1, credits_per_block="2000.2", effective_time=at(days=-30)),
        Price(version=2, credits_per_block="0.05", block_units=1000, max_credits=5000, effective_time=at(days=3)),
    ]
    shown = Offering(name="offerings/data", unit="GB", price=prices[0], prices=prices, as_of=at())
    lines = printed(offering_show.details(shown)).splitlines()
    assert any(line.split()[:5] == ["1", "(in", "force)", "2,000.2", "GB"] for line in lines)
    assert any(line.split()[:5] == ["2", "0.05", "1,000", "GB", "5,000"] for line in lines)
    assert any("in 3 days" in line for line in lines)


def test_an_unlimited_overdraft_is_a_word() -> None:
    one = Organization(name="organizations/o-1", overdraft_unlimited=True, balance=balance(overdraft_unlimited=True))
    text = printed(organization_show.details(one))
    assert "overdraft unlimited" in text
    assert "spendable     without bound" in text


def refusal() -> status_pb2.Status:
    status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="Too few credits.")
    metadata = {"required": "2000", "available": "-500", "nextStart": "2051-04-01T00:00:00Z"}
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason="INSUFFICIENT_CREDITS", domain="earmark", metadata=metadata)
    )
    return status


def test_a_partial_answer_shows_each_verdict() -> None:
    done = Allocation(name="organizations/o-1/allocations/a", state=Allocation.ENABLED, units=1, credits=20)
    answer = ApplyOperationsResponse(
        results=[OperationResult(allocation=done), OperationResult(status=refusal())], balance=balance()
    )
    steps: list[Step] = [Enable(offering="a", units=1), Adjust(allocation="b", delta_units=1)]
    lines = printed(allocation_show.applied(answer, steps), 200).splitlines()
    assert lines[1].split() == ["0", "enable", "a", "ENABLED", "1", "20"]
    assert lines[2].split() == ["1", "adjust", "b", "INSUFFICIENT_CREDITS"]
    assert lines[3] == "#1: Too few credits."


def test_an_error_has_its_reason_and_its_figures() -> None:
    error = EarmarkError.from_status(refusal())
    assert error.reason == "INSUFFICIENT_CREDITS"
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_rows(error) == [
        ("reason", "INSUFFICIENT_CREDITS"),
        ("available", "-500"),
        ("nextStart", "2051-04-01T00:00:00Z"),
        ("required", "2,000"),
    ]


def test_an_error_names_every_bad_field() -> None:
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="Two fields are wrong.")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="INVALID_FIELD", domain="earmark"))
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="units", description="must be from 1")
    bad.field_violations.add(field="parent", description="is required")
    status.details.add().Pack(bad)
    assert error_rows(EarmarkError.from_status(status)) == [
        ("reason", "INVALID_FIELD"),
        ("units", "must be from 1"),
        ("parent", "is required"),
    ]


def test_what_is_not_earmarks_has_no_reason() -> None:
    status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="nobody is there")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="OTHER", domain="elsewhere"))
    error = EarmarkError.from_status(status)
    assert (error.reason, error.metadata, error.message) == ("", {}, "nobody is there")


def test_every_code_has_an_exit_code() -> None:
    codes: Sequence[tuple[grpc.StatusCode, int]] = [
        (grpc.StatusCode.FAILED_PRECONDITION, 3),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 3),
        (grpc.StatusCode.ALREADY_EXISTS, 3),
        (grpc.StatusCode.ABORTED, 3),
        (grpc.StatusCode.NOT_FOUND, 4),
        (grpc.StatusCode.INVALID_ARGUMENT, 5),
        (grpc.StatusCode.UNAVAILABLE, 6),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 6),
        (grpc.StatusCode.INTERNAL, 7),
        (grpc.StatusCode.UNIMPLEMENTED, 7),
    ]
    for code, expected in codes:
        assert exit_code(EarmarkError.from_status(status_pb2.Status(code=code.value[0]))) == expected
