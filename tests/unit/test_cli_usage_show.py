"""Usage, forecasts, estimates, entitlements and entries as a person sees them, at 80 and at 200 columns."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, status_pb2
from rich.console import Console, RenderableType

from earmark.cli import (
    entitlement_show,
    entry_show,
    estimate_show,
    history_show,
    usage_show,
    watch_show,
    words,
)
from earmark.cli.board import Board
from earmark.cli.failure import to_json
from earmark.errors import EarmarkError
from earmark.v1.allocation_service_pb2 import Entitlement
from earmark.v1.resources_pb2 import (
    Allocation,
    AllocationNames,
    Balance,
    EndingSoon,
    Entry,
    Organization,
    Subscription,
)
from earmark.v1.usage_service_pb2 import (
    EndingCredits,
    EntryRun,
    EstimateCreditsResponse,
    EstimatedLine,
    EstimatedPurchase,
    ForecastPoint,
    ForecastUsageResponse,
    Heartbeat,
    OfferingUsage,
    QueryUsageHistoryResponse,
    SubscriptionUsage,
    Usage,
    UsageSnapshot,
    UsageStep,
    WatchBalancesResponse,
    WatchUsageResponse,
)

# Far from the clock of any machine: relative times must follow the answer's own.
NOW = datetime(2051, 3, 1, 12, tzinfo=UTC)
HUGE = 10**15
HOSTILE = "\x1b[2J\x07\n\u202e[red]"


def at(**distance: float) -> Timestamp:
    value = Timestamp()
    value.FromDatetime(NOW + timedelta(**distance))
    return value


def printed(parts: Iterable[RenderableType], width: int = 80, *, height: int = 40, terminal: bool = False) -> str:
    out = StringIO()
    console = Console(
        file=out,
        width=width,
        height=height,
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


def lines_of(parts: Iterable[RenderableType], width: int = 80, **how: Any) -> list[str]:
    return [line.rstrip() for line in printed(parts, width, **how).splitlines()]


def balance(**figures: Any) -> Balance:
    return Balance(organization="organizations/o-1", revision=7, as_of=at(), **figures)


def subscription(name: str, state: Subscription.State.ValueType, start: float, end: float, **more: Any) -> Any:
    return SubscriptionUsage(
        name=f"organizations/o-1/subscriptions/{name}",
        state=state,
        start_time=at(days=start),
        end_time=at(days=end),
        grace_end_time=at(days=end + 30),
        **more,
    )


def offering(
    name: str, credits: int, units: int, allocations: int = 1, suspended: tuple[int, int, int] = (0, 0, 0)
) -> Any:
    return OfferingUsage(
        offering=f"offerings/{name}",
        enabled_credits=credits,
        enabled_units=units,
        enabled_allocations=allocations,
        suspended_credits=suspended[0],
        suspended_units=suspended[1],
        suspended_allocations=suspended[2],
    )


USAGE = Usage(
    balance=balance(valid_credits=20_000, allocated_credits=10_000, available_credits=10_000, suspended_credits=500),
    offerings=[
        offering("email-sensor", 2000, 400),
        offering("endpoint-sensor", 8000, 400, 3, suspended=(500, 25, 2)),
        offering("free", 0, 9),
    ],
    ending=[
        EndingCredits(within_days=30, credits=5000, renewed_credits=5000),
        EndingCredits(within_days=60, credits=8000, renewed_credits=5000),
        EndingCredits(within_days=90, credits=8000, renewed_credits=5000),
    ],
    subscriptions=[
        subscription("late", Subscription.ACTIVE, -10, 300, credits=15_000),
        subscription(
            "main", Subscription.ACTIVE, -345, 20, credits=5000, renewal="organizations/o-1/subscriptions/next"
        ),
        subscription("next", Subscription.SCHEDULED, 20, 385, credits=6000),
        subscription("old", Subscription.GRACE, -375, -10, credits=100),
    ],
)


def test_the_screen_that_an_administrator_looks_at_first() -> None:
    assert lines_of(usage_show.details(USAGE)) == [
        "o-1  revision 7, 2051-03-01 12:00:00Z",
        "",
        " VALID  IN GRACE  ALLOCATED  AVAILABLE  SUSPENDED",
        "20,000         0     10,000     10,000        500",
        "█" * 31 + "░" * 31 + "  50.0 % allocated",
        "",
        "OFFERING         CREDITS               SHARE  UNITS  ALLOCATIONS",
        "endpoint-sensor    8,000  ██████████  80.0 %    400            3",
        "  suspended        (500)  ▋                      25            2",
        "email-sensor       2,000  ██▌         20.0 %    400            1",
        "free                   0               0.0 %      9            1",
        "",
        "ENDS WITHIN  CREDITS  RENEWED  NOT RENEWED",
        "30 days        5,000    5,000            0",
        "60 days        8,000    5,000        3,000",
        "90 days        8,000    5,000        3,000",
        "",
        "SUBSCRIPTION  STATE      CREDITS  STARTS      ENDS        CHANGES     RENEWED BY",
        "old           GRACE          100  2050-02-19  2051-02-19  in 20 days  nothing",
        "main          ACTIVE       5,000  2050-03-21  2051-03-21  in 20 days  next",
        "late          ACTIVE      15,000  2051-02-19  2051-12-26  in 300      nothing",
        "                                                          days",
        "next          SCHEDULED    6,000  2051-03-21  2052-03-20  in 20 days",
    ]


def test_an_organization_with_nothing_says_so() -> None:
    empty = Usage(balance=balance(), ending=[EndingCredits(within_days=each) for each in (30, 60, 90)])
    assert lines_of(usage_show.details(empty)) == [
        "o-1  revision 7, 2051-03-01 12:00:00Z",
        "",
        "VALID  IN GRACE  ALLOCATED  AVAILABLE",
        "    0         0          0          0",
        "░" * 62 + "  nothing is valid",
        "",
        "Nothing is switched on.",
        "",
        "No valid credits end within 90 days.",
        "",
        "No subscriptions.",
    ]


@pytest.mark.parametrize(
    ("valid", "allocated", "said"),
    [
        (0, 5, "nothing is valid"),
        (1000, 1250, "125.0 % allocated"),
        (HUGE, 1, "<0.1 % allocated"),
        (HUGE, HUGE, "100.0 % allocated"),
        (3, 2, "66.7 % allocated"),
    ],
)
def test_how_much_of_what_is_valid_is_allocated(valid: int, allocated: int, said: str) -> None:
    (line,) = lines_of([usage_show.Fill(balance(valid_credits=valid, allocated_credits=allocated))])
    assert line.endswith(said)
    assert ("▓" in line) == (allocated > valid)


def test_an_unlimited_overdraft_is_a_word() -> None:
    shown = usage_show.figures(balance(available_credits=-HUGE, overdraft_unlimited=True))
    text = printed([shown])
    assert "OVERDRAFT" in text
    assert "unlimited" in text
    assert f"-{HUGE:,}" in text


def history_of(*figures: tuple[int, int, int]) -> QueryUsageHistoryResponse:
    steps = [
        UsageStep(
            start_time=at(days=index, hours=-12),
            valid_credits=valid,
            allocated_credits=held,
            peak_allocated_credits=peak,
        )
        for index, (valid, held, peak) in enumerate(figures)
    ]
    steps[-1].in_progress = True
    return QueryUsageHistoryResponse(steps=steps, as_of=at(days=len(figures) - 1))


def test_a_history_says_when_most_was_allocated() -> None:
    shown = history_show.history(history_of((0, 0, 0), (5, 1, 4), (5, 2, 3)), timedelta(days=1), whole=False)
    lines = lines_of(shown)
    assert "   2051-03-02" in lines  # there was nothing on the day before
    assert lines[-3:] == ["", "most allocated 4, on 2051-03-02", "now 5 valid  2 allocated"]


def test_a_history_is_whole_where_its_start_was_asked_for() -> None:
    answer = history_of((0, 0, 0), (0, 0, 0), (5, 2, 3))
    assert "2051-03-01" in printed(history_show.history(answer, timedelta(days=1), whole=True))
    nothing = history_of((0, 0, 0))
    assert history_show.history(nothing, timedelta(days=1), whole=False) == ["Nothing was valid or allocated."]


def test_a_forecast_lists_its_dates_and_what_goes_first() -> None:
    answer = ForecastUsageResponse(
        balance=balance(valid_credits=20_000, allocated_credits=9000),
        points=[
            ForecastPoint(time=at(days=20), valid_credits=5000, grace_credits=15_000, allocated_credits=9000),
            ForecastPoint(time=at(days=50), valid_credits=5000, allocated_credits=4000, suspended_credits=5000),
        ],
        grace_start_times=[at(days=20)],
        coverage_end_times=[at(days=50)],
        suspended=AllocationNames(
            names=["organizations/o-1/allocations/a", "organizations/o-1/allocations/b"], total_size=9
        ),
    )
    lines = lines_of(history_show.forecast(answer, NOW + timedelta(days=60)))
    table = lines.index("FROM               IN        VALID   GRACE  ALLOCATED  SUSPENDED  WHAT BEGINS")
    assert lines[table + 1 :] == [
        "2051-03-01 12:00Z  now      20,000       0      9,000          0",
        "2051-03-21 12:00Z  20 days   5,000  15,000      9,000          0  grace carries",
        "                                                                  the rest",
        "2051-04-20 12:00Z  50 days   5,000       0      4,000      5,000  coverage ends",
        "",
        "suspended on 2051-04-20 12:00:00Z: 9  a  b  and 7 more",
    ]


def test_a_forecast_without_a_date_says_so() -> None:
    answer = ForecastUsageResponse(balance=balance())
    assert "Nothing changes by itself until 2051-03-31T12:00:00Z." in lines_of(
        history_show.forecast(answer, NOW + timedelta(days=30))
    )


ESTIMATE = EstimateCreditsResponse(
    lines=[
        EstimatedLine(offering="offerings/endpoint-sensor", units=100, credits=2000, price_version=3),
        EstimatedLine(offering="offerings/old", units=1, credits=5, price_version=1, retired=True),
    ],
    required_credits=2005,
    purchase=EstimatedPurchase(
        balance=balance(available_credits=1000, suspended_credits=500),
        remaining_credits=-1005,
        recommended_credits=1505,
    ),
    as_of=at(),
)


def test_an_estimate_says_what_to_buy() -> None:
    assert lines_of(estimate_show.details(ESTIMATE)) == [
        "#  OFFERING         UNITS  CREDITS  PRICE VERSION  RETIRED",
        "1  endpoint-sensor    100    2,000              3",
        "2  old                  1        5              1  retired",
        "",
        "2,005 credits in all  at the prices of 2051-03-01 12:00:00Z",
        "",
        "organization  o-1",
        "available     1,000",
        "suspended     500",
        "would remain  -1,005",
        "to buy        1,505 credits",
        "What is retired cannot be switched on.",
    ]


@pytest.mark.parametrize(
    ("entitlement", "expected"),
    [
        (Entitlement(state=Entitlement.ENTITLED, units=5), "data may be used  5 units"),
        (
            Entitlement(state=Entitlement.IN_GRACE, units=1, as_of=at(), covered_until=at(days=9)),
            "data may be used, carried by grace  1 unit  covered until 2051-03-10 12:00:00Z (in 9 days)",
        ),
        (Entitlement(state=Entitlement.SUSPENDED, units=5), "data is suspended  5 units"),
        (Entitlement(state=Entitlement.NOT_ENABLED), "data is not switched on"),
    ],
)
def test_whether_something_may_be_used(entitlement: Entitlement, expected: str) -> None:
    assert lines_of(entitlement_show.found("offerings/data", entitlement), 200) == [expected]


def entry(kind: Entry.Kind.ValueType, resource: str, **fields: Any) -> Entry:
    return Entry(
        name="organizations/o-1/entries/12",
        revision=12,
        kind=kind,
        resource=f"organizations/o-1{resource}",
        effective_time=at(milliseconds=900),
        balance=balance(available_credits=8000),
        **fields,
    )


TERM = Subscription(credits=10_000, start_time=at(), end_time=at(days=365))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            entry(
                Entry.ALLOCATION_ENABLED,
                "/allocations/endpoint-sensor",
                allocation=Allocation(units=100),
                allocated_delta=2000,
                actor="web-1",
            ),
            "allocation enabled  endpoint-sensor  100 units  +2,000 credits  8,000 available  by web-1",
        ),
        (
            entry(
                Entry.ALLOCATION_SUSPENDED,
                "/allocations/a",
                allocation=Allocation(units=1),
                allocated_delta=-20,
                suspended_delta=20,
                causes=["organizations/o-1/subscriptions/s-1", "organizations/o-1/subscriptions/s-2"],
                cause_count=9,
            ),
            "allocation suspended  a  1 unit  -20 credits  +20 suspended  8,000 available  "
            "because of s-1, s-2 and 7 more",
        ),
        (
            entry(Entry.SUBSCRIPTION_ENDED, "/subscriptions/s", subscription=TERM, valid_delta=-5, grace_delta=5),
            "subscription ended  s  10,000 credits  2051-03-01 to 2052-02-29  -5 valid  +5 in grace  8,000 available",
        ),
        (
            entry(
                Entry.SUBSCRIPTION_ENDING_SOON,
                "/subscriptions/s",
                subscription=TERM,
                ending_soon=EndingSoon(ending=EndingSoon.GRACE, days=1),
            ),
            "subscription ending soon  s  10,000 credits  2051-03-01 to 2052-02-29  "
            "1 day of grace left, not renewed  8,000 available",
        ),
        (
            entry(Entry.THRESHOLD_CROSSED, "", organization=Organization(), threshold_percent=90),
            "threshold crossed  90 % of the valid credits are allocated  8,000 available",
        ),
        (entry(Entry.ORGANIZATION_CREATED, "", organization=Organization()), "organization created  8,000 available"),
    ],
)
def test_an_entry_in_words(made: Entry, expected: str) -> None:
    assert entry_show.line(made).whole().plain == f"2051-03-01 12:00:00Z  #12  {expected}"
    assert entry_show.line(made, everywhere=True).whole().plain.startswith("2051-03-01 12:00:00Z  o-1  #12  ")


def test_every_kind_of_entry_has_its_words() -> None:
    for value in Entry.Kind.values():
        made = entry(value, "/allocations/a")
        assert words.enum_name(Entry.Kind, value).lower().replace("_", " ") in entry_show.line(made).whole().plain


def test_a_kind_of_a_later_release_is_a_number() -> None:
    assert "#12  99  " in entry_show.line(entry(99, "/x/a")).whole().plain  # type: ignore[arg-type]  # not a kind yet


def test_a_watch_shows_where_it_begins_then_entries_and_no_heartbeats() -> None:
    snapshot = WatchUsageResponse(
        snapshot=UsageSnapshot(balance=balance(valid_credits=5), offerings=[OfferingUsage(), OfferingUsage()])
    )
    (line,) = watch_show.lines(snapshot)
    figures = "valid 5  in grace 0  allocated 0  available 0  suspended 0  overdraft 0"
    assert line.whole().plain == f"2051-03-01 12:00:00Z  #7  now  {figures}  2 offerings"
    run = EntryRun(entries=[entry(Entry.ORGANIZATION_CREATED, "")] * 3)
    assert len(list(watch_show.lines(WatchUsageResponse(entries=run)))) == 3
    assert list(watch_show.lines(WatchUsageResponse(heartbeat=Heartbeat()))) == []


def test_a_board_has_those_in_trouble_on_top_and_is_as_high_as_the_terminal() -> None:
    board = Board()
    balances = [
        Balance(organization="organizations/calm", valid_credits=1000, allocated_credits=100, available_credits=900),
        Balance(organization="organizations/full", valid_credits=1000, allocated_credits=1000),
        Balance(organization="organizations/over", allocated_credits=50, available_credits=-50),
        Balance(organization="organizations/stopped", valid_credits=1000, suspended_credits=10, available_credits=1000),
    ]
    board.take(WatchBalancesResponse(balances=balances))
    lines = lines_of([board])
    assert lines[0] == "ORGANIZATION  VALID  ALLOCATED                       AVAILABLE  SUSPENDED"
    assert [line.split()[0] for line in lines[1:]] == ["stopped", "over", "full", "calm", "4"]
    assert lines[3] == "full          1,000      1,000  ██████████  100.0 %          0          0"
    assert lines_of([board], height=5)[1:] == [*lines[1:4], "4 organizations, 1 below"]


def test_a_board_says_that_it_reconnects_until_something_comes() -> None:
    board = Board()
    assert lines_of([board]) == ["0 organizations  connecting"]
    board.disconnected(EarmarkError.from_status(status_pb2.Status(code=code_pb2.UNAVAILABLE, message="gone\x1b")))
    assert lines_of([board]) == ["0 organizations  reconnecting: gone\N{REPLACEMENT CHARACTER}"]
    board.take(WatchBalancesResponse(caught_up=True))
    assert lines_of([board]) == ["0 organizations"]


def hostile(message: Message) -> None:
    """Puts something that would steer a terminal into every string, and a huge figure into every number."""
    for field, _ in message.ListFields():
        value = getattr(message, field.name)
        if field.cpp_type == field.CPPTYPE_STRING and field.type == field.TYPE_STRING:
            if field.is_repeated:
                value[:] = [each + HOSTILE for each in value]
            else:
                setattr(message, field.name, value + HOSTILE)
        elif field.cpp_type == field.CPPTYPE_INT64 and field.name not in ("seconds",):
            setattr(message, field.name, HUGE)
        elif field.cpp_type == field.CPPTYPE_MESSAGE:
            for each in value if field.is_repeated else [value]:
                hostile(each)


def copy_of(message: Any) -> Any:
    made = type(message)()
    made.CopyFrom(message)
    hostile(made)
    return made


@pytest.mark.parametrize("width", [80, 200])
def test_neither_hostile_words_nor_huge_figures_leave_their_place(width: int) -> None:
    forecast = ForecastUsageResponse(
        balance=balance(valid_credits=1),
        points=[
            ForecastPoint(time=at(days=1), valid_credits=1, grace_credits=1, allocated_credits=1, suspended_credits=1)
        ],
        suspended=AllocationNames(names=["a"], total_size=2),
    )
    ended = entry(Entry.SUBSCRIPTION_ENDED, "/x/s", subscription=TERM, valid_delta=1, causes=["a"], actor="a")
    board = Board()
    board.take(WatchBalancesResponse(balances=[copy_of(USAGE.balance)]))
    text = printed(
        [
            *usage_show.details(copy_of(USAGE)),
            *history_show.history(copy_of(history_of((1, 1, 1), (1, 1, 1))), timedelta(days=1), whole=True),
            *history_show.forecast(copy_of(forecast), NOW + timedelta(days=365)),
            *estimate_show.details(copy_of(ESTIMATE)),
            *entitlement_show.found("x" + HOSTILE, Entitlement(state=Entitlement.ENTITLED, units=HUGE)),
            entry_show.line(copy_of(ended), everywhere=True),
            watch_show.balance(copy_of(USAGE.balance)),
            board,
        ],
        width,
        terminal=False,
    )
    assert f"{HUGE:,}" in text
    assert not any(letter in text for letter in "\x1b\x07\u202e")
    assert max(len(line) for line in text.splitlines()) <= width


def test_json_spells_a_heartbeat_out() -> None:
    assert '"heartbeat": {}' in to_json(WatchUsageResponse(heartbeat=Heartbeat()))
