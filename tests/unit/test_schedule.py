"""What time alone will do to an organization."""

from datetime import UTC, datetime, timedelta

from services.ledger.rules.model import Figures, Subscription, SubscriptionState
from services.ledger.rules.schedule import (
    coverage_steps,
    covered_until,
    instants,
    lowers_coverage,
    next_start_with,
    next_transition_time,
    reminder_days,
    spendable_steps,
)

NOW = datetime(2027, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


def subscription(begin: float, end: float, grace: float = 30, credits: int = 100) -> Subscription:
    """From day `begin` to day `end` from now, settled now."""
    start_time, end_time, grace_period = NOW + begin * DAY, NOW + end * DAY, grace * DAY
    state = SubscriptionState.ACTIVE if end_time > NOW else SubscriptionState.GRACE
    if start_time > NOW:
        state = SubscriptionState.SCHEDULED
    if end_time + grace_period <= NOW:
        state = SubscriptionState.EXPIRED
    return Subscription(
        organization="acme",
        subscription="first",
        state=state,
        credits=credits,
        start_time=start_time,
        end_time=end_time,
        grace_period=grace_period,
        renews=None,
        order_reference="",
        labels={},
        changed_revision=1,
        create_time=NOW,
        update_time=NOW,
        cancel_time=None,
    )


def days(instant: datetime | None) -> float | None:
    """How many days from now."""
    return None if instant is None else (instant - NOW) / DAY


def figures(*subscriptions: Subscription, allocated: int = 0, suspended: int = 0, overdraft: int = 0) -> Figures:
    return Figures(
        valid=sum(each.valid for each in subscriptions),
        grace=sum(each.grace for each in subscriptions),
        allocated=allocated,
        suspended=suspended,
        overdraft_limit=overdraft,
    )


class TestWhatComesDue:
    def test_a_year_has_its_start_its_end_its_grace_and_the_reminders_of_both(self) -> None:
        year = subscription(10, 375)
        assert sorted(days(each) or 0 for each in set(instants(year, NOW))) == [
            10, 285, 345, 368, 374, 375, 398, 404, 405
        ]  # fmt: skip

    def test_a_reminder_before_the_start_never_comes(self) -> None:
        week = subscription(1, 8, grace=2)
        assert sorted(days(each) or 0 for each in set(instants(week, NOW))) == [1, 7, 8, 9, 10]

    def test_what_has_passed_is_due_no_more(self) -> None:
        running = subscription(-300, 65)
        assert days(next_transition_time([running], NOW)) == 35
        assert days(next_transition_time([running], NOW + 35 * DAY - MICROSECOND)) == 35
        assert days(next_transition_time([running], NOW + 35 * DAY)) == 58

    def test_nothing_comes_due_of_what_is_over_or_never_was(self) -> None:
        assert next_transition_time([subscription(-100, -50)], NOW) is None
        assert next_transition_time([], NOW) is None

    def test_reminders_belong_to_their_very_instant_and_state(self) -> None:
        term, grace = subscription(-1, 30), subscription(-60, -1, grace=8)
        assert reminder_days(term, NOW) == ("TERM", 30)
        assert reminder_days(term, NOW + MICROSECOND) is None
        assert reminder_days(grace, NOW) == ("GRACE", 7)
        assert reminder_days(subscription(1, 91), NOW + DAY) is None, "it has not begun"


class TestCoverage:
    def test_it_falls_when_grace_ends_and_what_is_spendable_when_the_term_does(self) -> None:
        first, second = subscription(-1, 10, grace=5), subscription(12, 20, grace=0, credits=70)
        now = figures(first, second, overdraft=7)
        assert [(days(at), credits) for at, credits in coverage_steps([first, second], now, NOW)] == [
            (12, 177), (15, 77), (20, 7)
        ]  # fmt: skip
        assert [(days(at), credits) for at, credits in spendable_steps([first, second], now, NOW)] == [
            (10, 7), (12, 77), (20, 7)
        ]  # fmt: skip

    def test_a_renewal_that_begins_as_grace_ends_leaves_no_gap(self) -> None:
        first, second = subscription(-1, 10, grace=5), subscription(15, 40, grace=0)
        assert days(covered_until([first, second], figures(first, allocated=100), NOW)) == 40

    def test_the_first_fall_below_what_is_wanted_counts(self) -> None:
        small, large = subscription(-1, 10, grace=0, credits=30), subscription(-1, 20, grace=0)
        assert days(covered_until([small, large], figures(small, large, allocated=100), NOW)) == 20
        assert days(covered_until([small, large], figures(small, large, allocated=101), NOW)) == 10
        assert days(covered_until([small, large], figures(small, large, allocated=90, suspended=11), NOW)) == 10

    def test_what_is_already_short_waits_for_the_next_fall(self) -> None:
        """A rise that still leaves too little is no fall."""
        small, later = subscription(-1, 10, grace=0, credits=30), subscription(5, 20, grace=0, credits=30)
        assert days(covered_until([small, later], figures(small, suspended=100), NOW)) == 10

    def test_what_an_overdraft_covers_is_covered_for_ever(self) -> None:
        first = subscription(-1, 10)
        assert covered_until([first], figures(first, allocated=50, overdraft=50), NOW) is None
        assert covered_until([first], Figures(valid=100, allocated=50, overdraft_unlimited=True), NOW) is None
        assert covered_until([first], figures(first), NOW) is None


class TestLowering:
    def test_an_earlier_end_lowers_and_a_later_one_does_not(self) -> None:
        old = [subscription(-1, 10, grace=0)]
        sooner, later = [subscription(-1, 9, grace=0)], [subscription(-1, 11, grace=0)]
        assert lowers_coverage((old, figures(*old)), (sooner, figures(*sooner)), NOW)
        assert not lowers_coverage((old, figures(*old)), (later, figures(*later)), NOW)

    def test_more_credits_now_can_lower_what_comes_later(self) -> None:
        old = [subscription(-1, 10, grace=0)]
        more_but_shorter = [subscription(-1, 5, grace=0, credits=500)]
        assert lowers_coverage((old, figures(*old)), (more_but_shorter, figures(*more_but_shorter)), NOW)

    def test_without_bound_nothing_is_lowered_but_losing_it_lowers(self) -> None:
        unlimited = Figures(overdraft_unlimited=True)
        assert not lowers_coverage(([], Figures(overdraft_limit=5)), ([], unlimited), NOW)
        assert lowers_coverage(([], unlimited), ([], Figures(overdraft_limit=10**12)), NOW)
        assert lowers_coverage(([], Figures(overdraft_limit=5)), ([], Figures(overdraft_limit=4)), NOW)


class TestWaitingForCredits:
    def test_the_first_start_with_enough_spendable(self) -> None:
        first = subscription(-1, 10, grace=30, credits=50)
        second, third = subscription(5, 20, credits=40), subscription(12, 30, credits=60)
        everything = [first, second, third]
        assert days(next_start_with(everything, figures(first), 90, NOW)) == 5
        assert days(next_start_with(everything, figures(first), 100, NOW)) == 12
        assert next_start_with(everything, figures(first), 101, NOW) is None

    def test_an_end_is_no_start(self) -> None:
        assert next_start_with([subscription(-1, 10)], Figures(valid=100), 50, NOW) is None
