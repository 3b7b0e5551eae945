"""How the ledger's values are written down: nothing is lost, and nothing changes unnoticed."""

import json
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.admin import verify_fold
from services.ledger.rules.answers import (
    AllocationNames,
    Answer,
    Balance,
    Consequences,
    Outcome,
    answer_from,
    answer_json,
)
from services.ledger.rules.encoding import (
    allocation_from,
    allocation_json,
    canonical,
    entry_digest,
    figures_from,
    figures_json,
    instant_from,
    instant_text,
    subscription_from,
    subscription_json,
)
from services.ledger.rules.model import (
    Allocation,
    AllocationState,
    Entry,
    EntryKind,
    Figures,
    OrganizationFields,
    Subscription,
    SubscriptionState,
)

PAGE = Path(__file__).parents[2] / "docs" / "ledger.md"
T = datetime(2027, 1, 31, 12, 0, 0, 1, tzinfo=UTC)
DAY = timedelta(days=1)
FIGURES = Figures(valid=1_000, allocated=60, overdraft_limit=50)

SUBSCRIPTION = Subscription(
    organization="acme",
    subscription="first",
    state=SubscriptionState.CANCELLED,
    credits=10**12,
    start_time=T,
    end_time=T + 365 * DAY,
    grace_period=timedelta(days=30, microseconds=1),
    renews="zero",
    order_reference="PO 4711, Ä",
    labels={"b": "2", "a": "ü"},
    changed_revision=7,
    create_time=T,
    update_time=T + DAY,
    cancel_time=T + DAY,
)
ALLOCATION = Allocation(
    organization="acme",
    allocation="endpoint-sensor",
    offering="endpoint-sensor",
    state=AllocationState.ENABLED,
    units=3,
    credits=60,
    suspended_credits=0,
    price_version=1,
    priority=-5,
    labels={"site": "Zürich"},
    enabled_revision=3,
    changed_revision=3,
    create_time=T,
    update_time=T,
)
ENTRY = Entry(
    organization="acme",
    revision=3,
    kind=EntryKind.ALLOCATION_ENABLED,
    resource="endpoint-sensor",
    effective_time=T,
    recorded_time=T,
    actor="inventory",
    request_id="8d2c7c1e",
    causes=(),
    cause_count=0,
    after=allocation_json(ALLOCATION),
    detail={},
    before=replace(FIGURES, allocated=0),
    figures=FIGURES,
    last=True,
)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


class TestRoundTrips:
    def test_an_instant(self) -> None:
        assert instant_text(T) == "2027-01-31T12:00:00.000001Z"
        assert instant_text(T.replace(microsecond=0)) == "2027-01-31T12:00:00.000000Z"
        assert instant_from(instant_text(T)) == T

    def test_figures(self) -> None:
        for figures in (FIGURES, Figures(), Figures(overdraft_unlimited=True, suspended=2**52)):
            assert figures_from(through_json(figures_json(figures))) == figures

    def test_a_subscription(self) -> None:
        never_cancelled = replace(SUBSCRIPTION, state=SubscriptionState.ACTIVE, cancel_time=None, renews=None)
        for each in (SUBSCRIPTION, never_cancelled):
            assert subscription_from("acme", "first", through_json(subscription_json(each))) == each

    def test_an_allocation(self) -> None:
        assert allocation_from("acme", "endpoint-sensor", through_json(allocation_json(ALLOCATION))) == ALLOCATION

    def test_every_field_is_written(self) -> None:
        """Of whatever is added later, too."""
        apart = {"organization", "subscription", "allocation", "grace_period", "grace_microseconds"}
        for value, written in (
            (SUBSCRIPTION, subscription_json(SUBSCRIPTION)),
            (ALLOCATION, allocation_json(ALLOCATION)),
        ):
            assert set(value.__struct_fields__) - apart == written.keys() - apart

    def test_answers(self) -> None:
        balance = Balance("acme", 7, T, FIGURES)
        fields = OrganizationFields("acme", "Acme", 1, T, T)
        lists = Consequences(AllocationNames(("a",), 1), AllocationNames(), AllocationNames(("b", "c"), 400))
        for outcome in (
            Outcome(),
            Outcome(allocations=(ALLOCATION, ALLOCATION)),
            Outcome(subscription=SUBSCRIPTION, consequences=lists),
            Outcome(organization=fields),
            Outcome(organization=fields, consequences=Consequences()),
        ):
            answer = Answer(balance, outcome)
            assert answer_from("acme", through_json(answer_json(answer))) == answer


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)


class TestCanonical:
    @given(JSON_VALUES)
    def test_whatever_writes_it_it_is_written_as_the_standard_library_would(self, value: object) -> None:
        """What is hashed today must be hashed the same for ever, whichever encoder is the fast one then."""
        plain = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        assert canonical(value) == canonical(value, floats=False) == plain.encode()

    def test_the_fast_one_escapes_what_must_be(self) -> None:
        told = {"\x7f": '"\\/\n\t\x00\x1f', "ü": "\U0001f600", "a": "~ "}
        assert canonical(told) == json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


class TestDigest:
    def test_a_fixed_entry_has_a_fixed_digest(self) -> None:
        assert (
            entry_digest(ENTRY, bytes(32), last=ENTRY.last).hex()
            == "2cd04657fbc3c86779210a78e405a6b852560340a61cf7830ddf4e6706478eaa"
        )

    def test_it_depends_on_every_field_and_on_the_digest_before(self) -> None:
        others = [
            replace(ENTRY, organization="beta"),
            replace(ENTRY, revision=4),
            replace(ENTRY, kind=EntryKind.ALLOCATION_RESUMED),
            replace(ENTRY, resource="other"),
            replace(ENTRY, effective_time=T - DAY),
            replace(ENTRY, recorded_time=T + DAY),
            replace(ENTRY, actor=""),
            replace(ENTRY, request_id=""),
            replace(ENTRY, causes=("organizations/acme",)),
            replace(ENTRY, cause_count=1),
            replace(ENTRY, after=allocation_json(replace(ALLOCATION, priority=0))),
            replace(ENTRY, detail={"percent": 75}),
            replace(ENTRY, before=FIGURES),
            replace(ENTRY, figures=replace(FIGURES, overdraft_limit=0)),
            replace(ENTRY, last=False),
        ]
        digests = {entry_digest(each, bytes(32), last=each.last) for each in (ENTRY, *others)}
        assert len(digests | {entry_digest(ENTRY, b"\1" * 32, last=ENTRY.last)}) == len(others) + 2

    def test_labels_are_sorted_and_all_but_ascii_is_escaped(self) -> None:
        assert canonical({"b": "ü", "a": [1, None, True]}) == b'{"a":[1,null,true],"b":"\\u00fc"}'
        backwards = replace(SUBSCRIPTION, labels={"a": "ü", "b": "2"})
        assert canonical(subscription_json(backwards)) == canonical(subscription_json(SUBSCRIPTION))

    def test_no_floating_point_number_is_ever_written(self) -> None:
        with pytest.raises(ValueError, match="JSON compliant"):
            canonical(float("nan"))


class TestPage:
    """docs/ledger.md shows one entry and its digest."""

    def test_its_example_is_what_the_ledger_takes_the_digest_over(self) -> None:
        content, digest = example()
        assert sha256(bytes(32) + content.encode("ascii")).hexdigest() == digest
        assert entry_digest(ENTRY, bytes(32), last=ENTRY.last).hex() == digest

    def test_verifying_takes_the_same_digest(self) -> None:
        content, digest = example()
        told = json.loads(content)
        row = {key: told[key] for key in ("revision", "kind", "resource", "actor", "request_id", "cause_count", "last")}
        row |= {"causes": told["causes"], "effective_time": T, "recorded_time": T}
        row |= {key: json.dumps(told[key]) for key in ("after", "detail")}
        row |= {f"{key}_delta": value for key, value in told["deltas"].items()}
        row |= {f"{key}_credits": told["figures"][key] for key in verify_fold.FIGURES}
        row |= {key: told["figures"][key] for key in ("overdraft_limit", "overdraft_unlimited")}
        assert verify_fold.digest("acme", row, bytes(32)).hex() == digest

    def test_it_names_every_kind_of_entry(self) -> None:
        assert set(re.findall(r"^\| `([A-Z_]+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) == set(EntryKind)


def example() -> tuple[str, str]:
    """(content, digest in hexadecimal digits), as the page shows them."""
    found = re.search(r"```json\n(\{.*\})\n```.*?```text\n([0-9a-f]{64})\n```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1], found[2]
