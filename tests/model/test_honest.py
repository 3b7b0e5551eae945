"""The model held against the sentences of the specification, one worked example after the other."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from tests.model.honest import HonestOrganization
from tests.model.lives import BEGIN, Step, life, small_catalogue, take
from tests.model.reading import Entitlement
from tests.model.words import DAY, MOST, Catalogue, Entry, Refused

T = BEGIN


def organization(credits: int = 0, *, days: int = 100, grace: int = 30 * DAY) -> HonestOrganization:
    """An organization with a catalogue of one credit per unit (`app`) and nothing per unit (`free`)."""
    catalogue = Catalogue()
    catalogue.create(T, "app", "1")
    catalogue.create(T, "free", "0")
    model = HonestOrganization(catalogue, T)
    if credits:
        model.create_subscription(T, credits, T + days * DAY, grace=grace, subscription_id="s1")
    return model


def kinds(entries: list[Entry]) -> list[str]:
    return [f"{e.kind} {e.resource.rpartition('/')[2]}" for e in entries]


def refusal(model: HonestOrganization, call: str, *arguments: object, **named: object) -> Refused:
    now = arguments[0]
    assert isinstance(now, int)
    model.settle(now)
    before = (list(model.entries), model.figures())
    with pytest.raises(Refused) as caught:
        getattr(model, call)(*arguments, **named)
    assert (model.entries, model.figures()) == before
    return caught.value


class TestPrice:
    def test_ten_cloud_accounts_of_one_resource_each_cost_ten_thousand(self) -> None:
        catalogue = Catalogue()
        catalogue.create(T, "crem-cloud-account", "1000", block_units=500, max_credits=8000)
        price = catalogue.price_at("crem-cloud-account", T)
        assert 10 * price.credits(1) == 10_000
        assert price.credits(10) == 1_000
        assert price.credits(501) == 2_000
        assert price.credits(10**12) == 8_000

    def test_fractions_are_exact(self) -> None:
        catalogue = small_catalogue()
        retention = catalogue.price_at("retention", T)
        assert [retention.credits(units) for units in (1, 20, 21, 10**12)] == [1, 1, 2, 5 * 10**10]

    def test_an_allocation_keeps_its_version_until_it_is_disabled(self) -> None:
        model = organization(100)
        model.enable(T, "app", 10)
        model.catalogue.change_price(T, "app", "2")
        assert model.adjust(T, "app", 1, request_id="a").resource["credits"] == 11
        assert model.adjust(T, "app", -11, request_id="b").resource["state"] == "DISABLED"
        again = model.adjust(T, "app", 1, request_id="c").resource
        assert (again["credits"], again["price_version"]) == (2, 2)

    def test_a_later_version_waits_for_its_instant(self) -> None:
        catalogue = small_catalogue()
        catalogue.change_price(T, "sensor", "30", since=T + DAY)
        assert catalogue.price_at("sensor", T + DAY - 1).version == 1
        assert catalogue.price_at("sensor", T + DAY).version == 2

    def test_what_is_retired_leaves_disabled_no_more_but_grows(self) -> None:
        model = organization(100)
        model.enable(T, "app", 1)
        model.catalogue.retire("app")
        assert model.adjust(T, "app", 1, request_id="a").resource["units"] == 2
        model.disable(T, "app")
        assert refusal(model, "enable", T, "app", 1).reason == "OFFERING_RETIRED"
        assert refusal(model, "adjust", T, "app", 1, request_id="b").reason == "OFFERING_RETIRED"
        assert not model.adjust(T, "app", 0, request_id="c").changed


class TestCredits:
    def test_a_refusal_names_its_figures(self) -> None:
        model = organization(100)
        model.create_subscription(T, 50, T + 90 * DAY, start=T + 5 * DAY, subscription_id="s2")
        model.create_subscription(T, 900, T + 90 * DAY, start=T + 6 * DAY, subscription_id="s3")
        model.enable(T, "app", 80)
        refused = refusal(model, "enable", T, "app", 200)
        assert refused.reason == "INSUFFICIENT_CREDITS"
        assert refused.figures == {
            "required": 120,
            "available": 20,
            "overdraft_limit": 0,
            "suspended": 0,
            "shortfall": 100,
            "next_start": T + 6 * DAY,
        }

    def test_the_overdraft_is_spendable(self) -> None:
        model = organization(100)
        model.update_organization(T, overdraft_limit=10)
        assert model.enable(T, "app", 110).figures["available_credits"] == -10
        model.update_organization(T, overdraft_unlimited=True)
        model.enable(T, "app", 10**9)

    def test_in_grace_an_all_or_nothing_call_may_give_back_and_take_anew(self) -> None:
        model = organization(100, days=1)
        model.enable(T, "app", 60)
        now = T + DAY
        assert refusal(model, "enable", now, "app", 61).reason == "INSUFFICIENT_CREDITS"
        disable = {"op": "disable", "allocation_id": "app"}
        model.apply(
            now,
            [disable, {"op": "enable", "offering": "app", "allocation_id": "b", "units": 60}],
            request_id="r",
        )
        assert refusal(model, "enable", now, "app", 1).reason == "INSUFFICIENT_CREDITS"
        assert model.figures()["allocated_credits"] == 60

    def test_what_needs_no_more_is_never_refused_for_credits(self) -> None:
        model = organization(100, days=1)
        model.enable(T, "app", 60)
        now = T + DAY
        model.adjust(now, "app", -1, request_id="r")
        model.enable(now, "free", 10**12)
        assert model.figures()["available_credits"] == -59

    def test_other_grounds_come_first_and_the_first_want_of_credits_is_named(self) -> None:
        model = organization(10)
        big = {"op": "enable", "offering": "app", "units": 11}
        unknown = {"op": "disable", "allocation_id": "nothing"}
        refused = refusal(model, "apply", T, [big, unknown])
        assert (refused.reason, refused.index) == ("ALLOCATION_NOT_FOUND", 1)
        less = {"op": "enable", "offering": "app", "units": 2}
        other = {"op": "enable", "offering": "app", "allocation_id": "b", "units": 3}
        refused = refusal(model, "apply", T, [less, big, less, other])
        assert (refused.reason, refused.index) == ("INSUFFICIENT_CREDITS", 1)
        assert (refused.figures["required"], refused.figures["shortfall"]) == (11, 1)

    def test_limits_come_before_credits(self) -> None:
        model = organization(10)
        refused = refusal(model, "apply", T, [{"op": "enable", "offering": "app", "units": 10**12 + 1}])
        assert (refused.reason, refused.index) == ("INVALID_ARGUMENT", 0)
        model.enable(T, "app", 1)
        assert refusal(model, "adjust", T, "app", 10**12, request_id="r").reason == "LIMIT_EXCEEDED"


class TestTime:
    def test_the_life_of_a_subscription(self) -> None:
        model = organization(100, days=8, grace=2 * DAY)
        model.settle(T + 20 * DAY)
        assert [(e.kind, e.effective - T, e.days) for e in model.entries[2:]] == [
            ("subscription_ending_soon", DAY, 7),
            ("subscription_ending_soon", 7 * DAY, 1),
            ("subscription_ended", 8 * DAY, None),
            ("subscription_ending_soon", 9 * DAY, 1),
            ("subscription_expired", 10 * DAY, None),
        ]
        assert all(e.recorded == T + 20 * DAY and e.last for e in model.entries[2:])

    def test_without_grace_it_expires_at_once(self) -> None:
        model = organization(100, days=1, grace=0)
        model.enable(T, "app", 40)
        model.settle(T + DAY - 1)
        assert model.figures()["allocated_credits"] == 40
        known = len(model.entries)
        model.settle(T + DAY)
        assert kinds(model.entries[known:]) == ["allocation_suspended app", "subscription_expired s1"]
        suspended = model.entries[known]
        assert (suspended.causes, suspended.causes_total) == (("subscriptions/s1",), 1)
        assert suspended.deltas["allocated_credits"] == -40
        assert suspended.deltas["suspended_credits"] == 40

    def test_reminders_only_after_the_change_that_set_the_end(self) -> None:
        model = organization(100, days=7)
        assert model.forecast(T, T + 3 * DAY) == []
        model.update_subscription(T, "s1", end=T + 8 * DAY)
        assert [e.effective for e in model.forecast(T, T + 3 * DAY)] == [T + DAY]

    def test_a_reminder_at_the_very_start_and_at_the_very_end(self) -> None:
        model = organization()
        model.create_subscription(T, 10, T + 8 * DAY, start=T + DAY, grace=7 * DAY, subscription_id="s1")
        written = [f"{e.kind} {e.days}" for e in model.forecast(T, T + 8 * DAY)]
        assert written == [
            "subscription_started None",
            "subscription_ending_soon 7",
            "subscription_ending_soon 1",
            "subscription_ended None",
            "subscription_ending_soon 7",
        ]

    def test_a_renewal_that_begins_as_grace_ends_suspends_nothing(self) -> None:
        model = organization(100, days=1, grace=DAY)
        model.enable(T, "app", 100)
        model.create_subscription(T, 100, T + 9 * DAY, start=T + 2 * DAY, subscription_id="s2", renews="s1")
        assert model.check_entitlement(T, allocation_id="app").covered_until == T + 39 * DAY
        model.settle(T + 2 * DAY - 1)
        known = len(model.entries)
        model.settle(T + 2 * DAY)
        assert kinds(model.entries[known:])[:2] == ["subscription_started s2", "subscription_expired s1"]
        assert model.figures()["suspended_credits"] == 0

    def test_everything_at_one_instant_in_its_order(self) -> None:
        model = organization(100, days=2, grace=0)
        model.create_subscription(T, 60, T + 2 * DAY, grace=2 * DAY, subscription_id="s0")
        model.enable(T, "app", 100, allocation_id="high", priority=1)
        model.enable(T, "app", 60, allocation_id="low")
        model.create_subscription(T, 30, T + 3 * DAY, start=T + 2 * DAY, subscription_id="s2")
        model.settle(T + 2 * DAY - 1)
        known = len(model.entries)
        model.settle(T + 2 * DAY)
        assert kinds(model.entries[known:]) == [
            "subscription_started s2",
            "allocation_suspended high",
            "subscription_ended s0",
            "subscription_expired s1",
            "subscription_ending_soon s2",
        ]
        assert [e.last for e in model.entries[known:]] == [False] * 4 + [True]
        assert model.check_entitlement(T, allocation_id="low").status == "IN_GRACE"

    def test_starts_resume_in_order_and_go_past_what_does_not_fit(self) -> None:
        model = organization(100, days=1, grace=0)
        model.enable(T, "app", 50, allocation_id="first", priority=9)
        model.enable(T, "app", 30, allocation_id="second")
        model.enable(T, "app", 20, allocation_id="third")
        model.create_subscription(T, 45, T + 9 * DAY, start=T + 2 * DAY, subscription_id="s2")
        model.settle(T + DAY)
        suspended = [e.resource for e in model.entries if e.kind == "allocation_suspended"]
        assert suspended == ["allocations/third", "allocations/second", "allocations/first"]
        known = len(model.entries)
        model.settle(T + 2 * DAY)
        assert kinds(model.entries[known:])[:2] == ["subscription_started s2", "allocation_resumed second"]
        answer = model.create_subscription(T + 2 * DAY, 5, T + 9 * DAY, subscription_id="s3")
        assert (answer.resumed, answer.waiting) == (("third",), ("first",))


class TestSuspended:
    def suspended(self) -> HonestOrganization:
        model = organization(100, days=1, grace=0)
        model.enable(T, "app", 60)
        model.enable(T, "free", 5)
        model.settle(T + DAY)
        return model

    def test_it_keeps_its_units_and_holds_nothing(self) -> None:
        model = self.suspended()
        shown = model.state.allocations["app"].shown()
        assert (shown["state"], shown["units"], shown["credits"]) == ("SUSPENDED", 60, 0)
        assert model.state.allocations["free"].state == "ENABLED"

    def test_it_shrinks_but_does_not_grow(self) -> None:
        model = self.suspended()
        now = T + DAY
        assert refusal(model, "adjust", now, "app", 1, request_id="a").reason == "SUSPENDED"
        assert model.adjust(now, "app", -50, request_id="b").resource["state"] == "SUSPENDED"
        assert refusal(model, "adjust", now, "app", -11, request_id="c").reason == "UNITS_BELOW_ZERO"
        assert model.adjust(now, "app", -10, request_id="d").resource["state"] == "DISABLED"

    def test_enabling_resumes_it_at_the_units_given(self) -> None:
        model = self.suspended()
        now = T + DAY
        refused = refusal(model, "enable", now, "app", 30)
        assert (refused.figures["required"], refused.figures["suspended"]) == (30, 0)
        model.create_subscription(now, 40, now + DAY, subscription_id="s2")
        assert model.enable(now, "app", 30).resource["credits"] == 30
        assert "allocation_resumed app" in kinds(model.entries)

    def test_shortfall_counts_what_else_waits(self) -> None:
        model = self.suspended()
        refused = refusal(model, "enable", T + DAY, "app", 5, allocation_id="b")
        assert refused.figures["suspended"] == 60
        assert refused.figures["shortfall"] == 65

    def test_credits_in_grace_carry_but_bring_nothing_back(self) -> None:
        model = organization(100, days=1)
        model.create_subscription(T, 20, T + DAY, grace=0, subscription_id="s2")
        model.enable(T, "app", 100, allocation_id="a", priority=1)
        model.enable(T, "app", 20, allocation_id="b")
        answer = model.create_subscription(T + DAY, 20, T + 9 * DAY, subscription_id="s3")
        assert (answer.resumed, answer.waiting) == ((), ("b",))
        answer = model.update_subscription(T + DAY, "s1", end=T + 9 * DAY)
        assert (answer.resumed, answer.waiting) == (("b",), ())

    def test_a_callers_own_decrease_resumes_nothing(self) -> None:
        model = organization(100, days=1, grace=0)
        model.create_subscription(T, 50, T + 9 * DAY, subscription_id="s2")
        model.enable(T, "app", 50, allocation_id="a", priority=1)
        model.enable(T, "app", 40, allocation_id="b")
        model.disable(T + DAY, "a")
        assert model.state.allocations["b"].state == "SUSPENDED"


class TestForce:
    def test_what_would_suspend_is_refused_and_named(self) -> None:
        model = organization(100)
        model.enable(T, "app", 60, allocation_id="a", priority=1)
        model.enable(T, "app", 40, allocation_id="b")
        refused = refusal(model, "update_subscription", T, "s1", credits=70)
        assert (refused.reason, refused.figures["names"]) == ("WOULD_SUSPEND", ["allocations/b"])
        answer = model.update_subscription(T, "s1", credits=70, force=True)
        assert answer.suspended == ("b",)
        assert kinds(model.entries)[-2:] == ["allocation_suspended b", "subscription_amended s1"]

    def test_an_earlier_end_of_coverage_needs_force_too(self) -> None:
        model = organization(100)
        model.enable(T, "app", 60)
        refused = refusal(model, "update_subscription", T, "s1", end=T + 50 * DAY)
        assert refused.figures == {"covered_until": T + 80 * DAY}
        model.update_subscription(T, "s1", credits=60)
        model.update_subscription(T, "s1", end=T + 50 * DAY, force=True)

    def test_it_asks_for_nothing_where_nothing_is_held(self) -> None:
        model = organization(100)
        model.update_subscription(T, "s1", end=T + 50 * DAY)
        assert model.cancel_subscription(T, "s1").changed

    def test_what_only_waits_counts_too(self) -> None:
        model = organization(100, days=1, grace=0)
        model.enable(T, "app", 60)
        model.create_subscription(T, 50, T + 9 * DAY, start=T + 2 * DAY, subscription_id="s2")
        refused = refusal(model, "update_subscription", T + DAY, "s2", end=T + 8 * DAY)
        assert refused.figures == {"covered_until": T + 38 * DAY}

    def test_out_of_grace_with_less_is_a_fall_of_coverage(self) -> None:
        model = organization(100, days=1)
        model.enable(T, "app", 60, allocation_id="a")
        model.enable(T, "app", 20, allocation_id="b")
        model.update_subscription(T + DAY, "s1", credits=70, end=T + 9 * DAY, force=True)
        assert kinds(model.entries)[-2:] == ["allocation_suspended b", "subscription_amended s1"]
        assert model.figures()["valid_credits"] == 70


class TestSubscriptions:
    def test_states_and_what_they_forbid(self) -> None:
        model = organization(100, days=1, grace=DAY)
        assert refusal(model, "update_subscription", T, "s1", start=T + 5).reason == "SUBSCRIPTION_STATE"
        assert not model.update_subscription(T, "s1", start=T, credits=100).changed
        now = T + DAY
        refused = refusal(model, "update_subscription", now, "s1", grace=0)
        assert refused.reason == "INVALID_ARGUMENT"
        assert model.update_subscription(now, "s1", end=now + 1).resource["state"] == "ACTIVE"
        now = T + 9 * DAY
        assert refusal(model, "cancel_subscription", now, "s1").reason == "SUBSCRIPTION_STATE"
        assert refusal(model, "update_subscription", now, "s1", credits=7).reason == "SUBSCRIPTION_STATE"
        assert not model.update_subscription(now, "s1", credits=100).changed

    def test_cancelling_again_changes_nothing(self) -> None:
        model = organization(100)
        assert model.cancel_subscription(T, "s1").changed
        assert not model.cancel_subscription(T, "s1").changed

    def test_a_start_in_the_past_is_now(self) -> None:
        model = organization()
        made = model.create_subscription(T, 1, T + DAY, start=T - DAY, subscription_id="s1")
        assert (made.resource["start"], made.resource["state"]) == (T, "ACTIVE")
        model.create_subscription(T, 1, T + 2 * DAY, start=T + DAY, subscription_id="s2")
        moved = model.update_subscription(T + 5, "s2", start=T)
        assert (moved.resource["start"], moved.resource["state"]) == (T + 5, "ACTIVE")
        assert kinds(model.entries)[-1] == "subscription_amended s2"

    def test_a_renewal_starts_where_the_old_one_ends(self) -> None:
        model = organization(100)
        made = model.create_subscription(T, 100, T + 200 * DAY, subscription_id="s2", renews="s1")
        assert made.resource["start"] == T + 100 * DAY
        second = {"subscription_id": "s3", "renews": "s1"}
        refused = refusal(model, "create_subscription", T, 1, T + 200 * DAY, **second)
        assert refused.reason == "SUBSCRIPTION_STATE"
        model.cancel_subscription(T, "s2")
        model.cancel_subscription(T, "s1")
        made = model.create_subscription(T, 100, T + 200 * DAY, subscription_id="s3", renews="s1")
        assert made.resource["start"] == T

    def test_a_purchase_needs_a_name_or_a_request_id(self) -> None:
        model = organization()
        assert refusal(model, "create_subscription", T, 1, T + DAY).reason == "INVALID_ARGUMENT"
        made = model.create_subscription(T, 1, T + DAY, request_id="r", made_id="k")
        assert model.create_subscription(T, 1, T + DAY, request_id="r", made_id="other") == made


class TestReplay:
    def test_a_retry_returns_the_first_answer_and_another_meaning_is_an_error(self) -> None:
        model = organization(100)
        first = model.enable(T, "app", 5, request_id="r")
        model.disable(T, "app")
        assert model.enable(T + 1, "app", 5, request_id="r") is first
        assert model.enable(T + 1, "app", 5, allocation_id="app", labels={}, request_id="r") is first
        for other in ({"priority": 0}, {"allocation_id": "b"}, {"labels": {"a": "b"}}):
            refused = refusal(model, "enable", T + 1, "app", 5, request_id="r", **other)
            assert refused.reason == "REQUEST_ID_REUSED"
        assert refusal(model, "disable", T, "app", request_id="r").reason == "REQUEST_ID_REUSED"

    def test_refused_calls_are_forgotten_and_unchanged_ones_are_not(self) -> None:
        model = organization(10)
        refusal(model, "enable", T, "app", 50, request_id="r")
        model.create_subscription(T, 100, T + DAY, subscription_id="s2")
        assert model.enable(T, "app", 50, request_id="r").changed
        same = model.enable(T, "app", 50, request_id="q")
        assert not same.changed
        model.disable(T, "app")
        assert model.enable(T, "app", 50, request_id="q") is same

    def test_an_operation_of_a_partial_call_is_a_call_of_its_own(self) -> None:
        model = organization(100)
        first = model.enable(T, "app", 5, request_id="r")
        op = {"op": "enable", "offering": "app", "units": 5, "request_id": "r"}
        too_much = {"op": "enable", "offering": "app", "units": 500}
        replayed, refused = model.apply(T, [op, too_much], allow_partial=True)
        assert replayed is first
        assert isinstance(refused, Refused)
        assert refused.reason == "INSUFFICIENT_CREDITS"
        assert refused.index is None

    def test_an_adjustment_needs_an_id(self) -> None:
        model = organization(100)
        model.enable(T, "app", 5)
        more = {"op": "adjust", "allocation_id": "app", "delta_units": 1}
        assert refusal(model, "adjust", T, "app", 1).reason == "INVALID_ARGUMENT"
        assert refusal(model, "apply", T, [more]).reason == "INVALID_ARGUMENT"
        model.apply(T, [more], request_id="r")
        assert model.state.allocations["app"].units == 6

    def test_validate_only_changes_nothing_but_time(self) -> None:
        model = organization(100)
        known = len(model.entries)
        said = model.enable(T, "app", 80, request_id="r", validate_only=True)
        assert (said.changed, said.figures["allocated_credits"]) == (True, 80)
        assert len(model.entries) == known
        assert model.enable(T, "app", 3, request_id="r").changed


class TestThresholds:
    def crossed(self, model: HonestOrganization) -> list[int | None]:
        return [e.percent for e in model.entries if e.kind == "threshold_crossed"]

    def test_the_highest_is_named_and_each_is_armed_again_five_below(self) -> None:
        model = organization(100)
        for units in (74, 75, 92, 86, 92, 85, 91, 100, 96, 100, 70, 100):
            model.enable(T, "app", units)
        assert self.crossed(model) == [75, 90, 90, 100, 100]

    def test_not_while_nothing_is_valid(self) -> None:
        model = organization(100, days=1)
        model.enable(T, "app", 100)
        model.disable(T + DAY, "app")
        model.create_subscription(T + DAY, 100, T + 9 * DAY, subscription_id="s2")
        model.enable(T + DAY, "app", 100)
        assert self.crossed(model) == [100, 100]

    def test_an_operation_of_many_is_judged_once_at_the_end(self) -> None:
        model = organization(100)
        up = {"op": "enable", "offering": "app", "units": 100}
        down = {"op": "enable", "offering": "app", "units": 10}
        model.apply(T, [up, down])
        assert self.crossed(model) == []
        assert [e.last for e in model.entries[-2:]] == [False, True]


def test_entitlement_of_an_offering_is_its_best_state_and_the_sum_in_it() -> None:
    model = organization(100, days=1)
    model.enable(T, "app", 60, allocation_id="a")
    model.enable(T, "app", 30, allocation_id="b")
    model.enable(T, "free", 7)
    assert model.check_entitlement(T, offering="app") == Entitlement("ENTITLED", 90, T + 31 * DAY)
    assert model.check_entitlement(T + DAY, offering="app").status == "IN_GRACE"
    assert model.check_entitlement(T + DAY, offering="free") == Entitlement("ENTITLED", 7, None)
    assert model.check_entitlement(T + 31 * DAY, offering="app") == Entitlement("SUSPENDED", 90, None)
    assert model.check_entitlement(T, allocation_id="x") == Entitlement("NOT_ENABLED", 0, None)


def test_an_operation_writes_one_entry_the_first_that_fits() -> None:
    model = organization(100)
    model.enable(T, "app", 1)
    model.enable(T, "app", 2, priority=3)
    model.enable(T, "app", 2, labels={"a": "b"})
    model.enable(T, "app", 2, priority=3, labels={})
    model.update_allocation(T, "app", priority=3)
    model.update_allocation(T, "app", labels={})
    model.disable(T, "app")
    model.disable(T, "app")
    assert [e.kind.partition("_")[2] for e in model.entries[2:]] == [
        "enabled",
        "adjusted",
        "updated",
        "updated",
        "disabled",
    ]


def test_an_allocations_offering_never_changes() -> None:
    model = organization(100)
    model.enable(T, "app", 1, allocation_id="x")
    model.disable(T, "x")
    refused = refusal(model, "enable", T, "free", 1, allocation_id="x")
    assert refused.reason == "ALLOCATION_ALREADY_EXISTS"


def written(model: HonestOrganization) -> list[Entry]:
    return [replace(e, recorded=0) for e in model.entries]


def held_against_itself(model: HonestOrganization, now: int, step: Step, answer: object) -> None:
    """What the specification promises of any state of any organization."""
    until = model.state.covered_until()
    if until is not None:
        assert not [e for e in model.forecast(now, until - 1) if e.kind == "allocation_suspended"]
    if isinstance(answer, Refused) and answer.reason == "INSUFFICIENT_CREDITS":
        buying_the_shortfall_is_enough(model, now, step, answer)
        waiting_for_a_start_is_enough(model, now, step, answer)


def buying_the_shortfall_is_enough(model: HonestOrganization, now: int, step: Step, answer: Refused) -> None:
    shortfall = answer.figures["shortfall"]
    assert isinstance(shortfall, int)
    if shortfall <= MOST:
        buyer = copy.deepcopy(model)
        buyer.create_subscription(now, shortfall, now + 999 * DAY, subscription_id="enough")
        assert not isinstance(take(buyer, buyer.catalogue, now, step), Refused)


def waiting_for_a_start_is_enough(model: HonestOrganization, now: int, step: Step, no: Refused) -> None:
    start = no.figures["next_start"]
    prices = [price for offering in model.catalogue.offerings.values() for price in offering.prices]
    if isinstance(start, int) and all(price.since <= now for price in prices):
        assert start > now
        waiter = copy.deepcopy(model)
        assert not isinstance(take(waiter, waiter.catalogue, start, step), Refused)


def what_would_happen(model: HonestOrganization, now: int, step: Step) -> object:
    """The verdict of `validate_only`, or None for a step of which it says nothing comparable."""
    if step.call in ("settle", "change_price", "retire", "apply") or "request_id" in step.arguments:
        return None
    before = written(model), model.figures()
    asked = replace(step, arguments={**step.arguments, "validate_only": True})
    verdict = take(model, model.catalogue, now, asked)
    assert before == (written(model), model.figures())
    return verdict


@pytest.mark.parametrize("seed", range(20))
def test_random_lives(seed: int) -> None:
    """Each step checks the model's own assertions; here come the promises about the future."""
    catalogue = small_catalogue()
    now = BEGIN
    model = HonestOrganization(catalogue, now)
    steps = life(seed, 60)
    assert steps == life(seed, 60)
    for step in steps:
        late = copy.deepcopy(model)
        for part in (now + step.wait // 3, now + step.wait // 2, now + step.wait):
            model.settle(part)
        now += step.wait
        late.settle(now)
        assert written(late) == written(model)
        foretold = what_would_happen(model, now, step)
        answer = take(model, catalogue, now, step)
        if isinstance(foretold, Refused):
            assert isinstance(answer, Refused)
            assert (foretold.reason, foretold.figures) == (answer.reason, answer.figures)
        elif foretold is not None:
            assert foretold == answer
        held_against_itself(model, now, step, answer)
