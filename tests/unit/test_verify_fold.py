"""Verifying finds nothing to complain of in what the rules write, whatever the life of the organization."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from services.admin.verify_fold import FIGURES, Fold
from services.admin.verify_rows import compare_allocation, compare_organization, compare_subscription
from services.ledger.rules.encoding import deltas_json
from services.ledger.rules.model import Entry, Figures, Organization
from tests.model.lives import life
from tests.support.memory_store import instead_of_sql
from tests.support.side_by_side import ORGANIZATION, SideBySide


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
    fold = Fold(ORGANIZATION)
    for entry in tables.entries:
        fold.take(entry_row(entry))
    compare_organization(fold, organization_row(tables.organization))
    for subscription in tables.subscriptions.values():
        compare_subscription(fold, resource_row(asdict(subscription)))
    for allocation in tables.allocations.values():
        compare_allocation(fold, resource_row(asdict(allocation)))
    assert fold.problems.named() == []
    assert fold.not_compared() == []
    assert fold.entries == tables.organization.revision


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
    return row | _figures(organization.figures)


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
