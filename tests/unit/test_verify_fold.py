"""Verifying finds nothing to complain of in what the rules write, whatever the life of the organization."""

import json
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict

from services.admin.verify_fold import FIGURES, Fold
from services.admin.verify_prices import Prices
from services.admin.verify_requests import compare_request
from services.admin.verify_rows import compare_allocation, compare_organization, compare_subscription
from services.admin.verify_usage import SUMS, Usage
from services.ledger.rules.encoding import deltas_json, instant_from
from services.ledger.rules.model import Entry, Figures, Organization
from tests.model.lives import life
from tests.model.words import Catalogue
from tests.support.memory_store import Tables, instant, instead_of_sql
from tests.support.side_by_side import ORGANIZATION, SideBySide

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def without_a_database() -> Iterator[None]:
    with instead_of_sql():
        yield


@pytest.mark.parametrize("seed", range(30))
def test_random_lives_verify(seed: int) -> None:
    both = SideBySide()
    for step in life(seed, 60):
        both.take(step)
    tables = both.rules.tables
    assert tables.organization is not None
    fold = Fold(ORGANIZATION, prices(both.catalogue))
    answered = requests(tables)
    for entry in tables.entries:
        fold.take(entry_row(entry))
        for row, answer in answered.pop(entry.revision, ()):
            compare_request(fold, row, answer)
    compare_organization(fold, organization_row(tables.organization))
    for subscription in tables.subscriptions.values():
        compare_subscription(fold, resource_row(asdict(subscription)))
    for allocation in tables.allocations.values():
        compare_allocation(fold, resource_row(asdict(allocation)))
    compare_usage(fold, tables)
    assert fold.problems.named() == []
    assert fold.not_compared() == []
    assert answered == {}
    assert fold.entries == tables.organization.revision


def test_sums_that_were_left_behind_are_those_of_their_revision() -> None:
    both = SideBySide()
    steps = life(1, 60)
    for step in steps[:30]:
        both.take(step)
    kept = Tables(both.catalogue, usage=list(both.rules.tables.usage), hours=list(both.rules.tables.hours))
    revision = len(both.rules.tables.entries)
    for step in steps[30:]:
        both.take(step)
    fold = Fold(ORGANIZATION, prices(both.catalogue), Usage(up_to=revision))
    for entry in both.rules.tables.entries:
        fold.take(entry_row(entry))
    assert 1 < revision < fold.entries
    compare_usage(fold, kept)
    assert fold.problems.named() == []


def test_every_module_of_verifying_is_kept_from_the_rules() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [contract] = [
        each for each in settings["tool"]["importlinter"]["contracts"] if each["name"].startswith("Verifying")
    ]
    modules = {f"services.admin.{path.stem}" for path in (ROOT / "services" / "admin").glob("verify*.py")}
    assert set(contract["source_modules"]) == modules
    assert contract["forbidden_modules"] == ["services.ledger.rules"]


def prices(catalogue: Catalogue) -> Prices:
    return Prices.of(
        {
            "offering": name,
            "version": each.version,
            "effective_time": instant(each.since),
            "credits_per_block": each.credits_per_block,
            "block_units": each.block_units,
            "max_credits": each.max_credits,
        }
        for name, offering in catalogue.offerings.items()
        for each in offering.prices
    )


def requests(tables: Tables) -> dict[int, list[tuple[dict[str, Any], Any]]]:
    """By the revision that was answered: the rows and their answers. A call is recorded as of when it is answered."""
    found = defaultdict(list)
    for request_id, (meaning, text) in tables.requests.items():
        answer = json.loads(text)
        row = {"request_id": request_id, "meaning": meaning, "recorded_time": instant_from(answer["as_of"])}
        found[answer["revision"]].append((row, answer))
    return found


def compare_usage(fold: Fold, tables: Tables) -> None:
    """Of the rows that the store keeps there are here the changes, in the order in which they were written."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SUMS, 0))
    for change in tables.usage:
        for name in SUMS:
            sums[change.offering][name] += getattr(change, name)
    for offering, row in sums.items():
        fold.usage.compare_offering(fold.problems, {"offering": offering, **row})
    hours: dict[Any, dict[str, Any]] = {}
    for each in tables.hours:
        row = hours.setdefault(each.hour, {"first_revision": each.first_revision, "peak_allocated_credits": 0})
        row.setdefault("begins_at_start", each.begins_at_start)
        row |= {"valid_credits": each.valid, "allocated_credits": each.allocated, "last_revision": each.last_revision}
        row["peak_allocated_credits"] = max(row["peak_allocated_credits"], each.peak_allocated)
    for hour, row in hours.items():
        fold.usage.compare_hour(fold.problems, {"hour": hour, **row})
    fold.usage.missing(fold.problems)


def entry_row(entry: Entry) -> dict[str, Any]:
    """As the database gives it: JSON as text."""
    row = {each: getattr(entry, each) for each in ("effective_time", "recorded_time", "actor", "request_id", "digest")}
    row |= {each: getattr(entry, each) for each in ("revision", "resource", "cause_count", "last")}
    row |= {"kind": str(entry.kind), "causes": list(entry.causes)}
    row |= {"after": json.dumps(entry.after), "detail": json.dumps(entry.detail)}
    return row | _figures(entry.figures) | {f"{key}_delta": value for key, value in deltas_json(entry).items()}


def organization_row(organization: Organization) -> dict[str, Any]:
    row = asdict(organization)
    del row["figures"], row["organization"]
    return row | _figures(organization.figures) | {"usage_revision": organization.revision}


def resource_row(row: dict[str, Any]) -> dict[str, Any]:
    del row["organization"]
    return row | {"state": str(row["state"]), "labels": json.dumps(row["labels"])}


def _figures(figures: Figures) -> dict[str, Any]:
    credits = {f"{figure}_credits": getattr(figures, figure) for figure in FIGURES}
    return {
        **credits,
        "overdraft_limit": figures.overdraft_limit,
        "overdraft_unlimited": figures.overdraft_unlimited,
    }
