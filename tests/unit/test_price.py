"""What units cost: the worked examples, the sample catalogue row by row, and what holds for every price."""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.admin.catalog_file import SAMPLE_CATALOG, read_catalog
from services.ledger.rules.price import Offering, Price

T = datetime(2027, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MANY = (1, 2, 3, 19, 20, 21, 499, 500, 501, 4_000, 4_001, 500_000, 500_001, 10**9 + 1, 10**12)

COSTS = {
    "siem-archival-retention": {1: 1, 20: 1, 21: 2, 10**12: 5 * 10**10},
    "siem-analytic-retention": {1: 1, 5: 1, 6: 2, 100: 20},
    "crem-core": {1: 20, 10: 200},
    "crem-cloud-account": {1: 1_000, 10: 1_000, 500: 1_000, 501: 2_000, 4_000: 8_000, 10**12: 8_000},
    "collaboration-sensor": {1: 0, 10**12: 0},
    "file-security-sdk": {1: 5_000, 500_000: 5_000, 500_001: 10_000},
    "virtual-network-sensor": {1: 12_500, 500: 12_500, 501: 25_000},
    "threat-feed-provider": {1: 500_000, 2: 1_000_000},
}
"""By offering: units, and the credits that they hold."""


def price(text: str, block_units: int = 1, max_credits: int | None = None) -> Price:
    return Price(1, T, Decimal(text), block_units, max_credits)


def sample_catalogue() -> dict[str, Price]:
    with SAMPLE_CATALOG.open(newline="", encoding="utf-8") as lines:
        rows = read_catalog(lines)
    return {
        row.offering: Price(1, T, row.price.credits_per_block, row.price.block_units, row.price.max_credits)
        for row in rows
    }


def test_ten_cloud_accounts_of_one_resource_each_cost_ten_times_what_one_of_ten_costs() -> None:
    account = sample_catalogue()["crem-cloud-account"]
    assert sum(account.credits(1) for _ in range(10)) == 10_000
    assert account.credits(10) == 1_000


@pytest.mark.parametrize("offering", COSTS)
def test_units_of_the_sample_catalogue_cost(offering: str) -> None:
    sample = sample_catalogue()[offering]
    assert {units: sample.credits(units) for units in COSTS[offering]} == COSTS[offering]


@pytest.mark.parametrize("offering", sample_catalogue())
def test_every_row_of_the_sample_catalogue(offering: str) -> None:
    sample = sample_catalogue()[offering]
    per_block, most = Fraction(sample.credits_per_block), sample.max_credits
    for units in MANY:
        cost = math.ceil(math.ceil(Fraction(units, sample.block_units)) * per_block)
        assert sample.credits(units) == (cost if most is None else min(cost, most))
    assert sample.credits(0) == 0


def test_the_sample_catalogue_has_42_offerings() -> None:
    assert len(sample_catalogue()) == 42


def test_a_fraction_of_a_credit_is_rounded_up_once_for_all_units() -> None:
    assert [price("0.000001").credits(units) for units in (1, 10**6, 10**6 + 1)] == [1, 1, 2]
    assert [price("333.333333").credits(units) for units in (1, 3, 10**6)] == [334, 1_000, 333_333_333]


def test_the_maximum_may_lie_below_one_block() -> None:
    assert price("1000", max_credits=0).credits(7) == 0
    assert price("1000", max_credits=999).credits(7) == 999


@settings(max_examples=300, derandomize=True, database=None)
@given(
    millionths=st.integers(0, 10**15),
    block_units=st.integers(1, 10**12),
    max_credits=st.none() | st.integers(0, 10**12),
    units=st.lists(st.integers(0, 10**12), min_size=2, max_size=2),
)
def test_more_units_never_cost_less(
    millionths: int, block_units: int, max_credits: int | None, units: list[int]
) -> None:
    some = price(str(Decimal(millionths).scaleb(-6)), block_units, max_credits)
    fewer, more = (some.credits(each) for each in sorted(units))
    assert 0 <= fewer <= more
    assert type(fewer) is int
    assert max_credits is None or more <= max_credits


def test_the_newest_of_the_prices_in_force_counts() -> None:
    """Announced for tomorrow, then corrected at once: tomorrow the announced one is in force, however old it is."""
    first = Price(1, T, Decimal(10), 1, None)
    announced = Price(2, T + DAY, Decimal(20), 1, None)
    corrected = Price(3, T, Decimal(15), 1, None)
    again = Price(4, T + DAY, Decimal(25), 1, None)
    offering = Offering("app", "App", "", "", False, (first, announced, corrected), 3, T, T)
    assert [offering.price_at(T + days * DAY).version for days in (0, 1, 2)] == [3, 2, 2]
    offering = Offering("app", "App", "", "", False, (first, announced, corrected, again), 4, T, T)
    assert [offering.price_at(T + days * DAY).version for days in (0, 1, 2)] == [3, 4, 4]
    assert offering.price_version(2) == announced
