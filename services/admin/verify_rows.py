"""The rows that the ledger keeps beside the entries, held against what the entries come to."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from services.admin.verify_fold import COLLECTIONS, FIGURES, Fold
from services.admin.verify_problems import Row, instant_text, parsed

DAY: Final = timedelta(days=1)
REMINDED_DAYS_BEFORE_END: Final = (90, 30, 7, 1)
REMINDED_DAYS_BEFORE_GRACE_END: Final = (7, 1)


def compare_organization(fold: Fold, row: Row | None) -> None:
    """Call it when every entry was taken, and before the subscriptions are compared."""
    if fold.newest is None:
        fold.problems.add("organization", "has a row, but no entries" if row else "has neither entries nor a row")
        return
    fold.problems.differs(f"entry {fold.newest['revision']}", "last", fold.newest["last"], True)
    if row is None:
        fold.problems.add("organization", "has entries, but no row")
        return
    expected: dict[str, Any] = {**fold.own, "threshold_percent": fold.threshold_percent}
    expected |= {f"{figure}_credits": fold.sums[figure] for figure in FIGURES}
    expected["overdraft_limit"], expected["overdraft_unlimited"] = fold.overdraft
    expected["open_allocations"] = fold.open_allocations
    expected |= {key: fold.newest[key] for key in ("revision", "digest")}
    expected["settled_time"] = instant_text(fold.newest["recorded_time"])
    following = next_transition(fold, row["settled_time"])
    expected["next_transition_time"] = following and instant_text(following)
    for column, value in expected.items():
        fold.problems.differs("organization", column, _plain(row.get(column)), value)
    if row["usage_revision"] > row["revision"]:
        fold.problems.add("organization", f"usage_revision is {row['usage_revision']}, above its revision")


def compare_subscription(fold: Fold, row: Row) -> None:
    columns = {key: _plain(value) for key, value in row.items()}
    columns["labels"] = parsed(row["labels"])
    columns["grace_microseconds"] = columns.pop("grace_period")
    _compare(fold, "SUBSCRIPTION", columns.pop("subscription"), columns)


def compare_allocation(fold: Fold, row: Row) -> None:
    columns = {key: _plain(value) for key, value in row.items()}
    columns["labels"] = parsed(row["labels"])
    _compare(fold, "ALLOCATION", columns.pop("allocation"), columns)


def next_transition(fold: Fold, after: datetime) -> datetime | None:
    """The first instant after `after` at which time alone writes something about a subscription."""
    found = (
        instant
        for (kind, _), text in fold.resources.items()
        if kind == "SUBSCRIPTION"
        for instant in _instants(parsed(text))
    )
    return min((instant for instant in found if instant > after), default=None)


def _instants(subscription: Row) -> Iterator[datetime]:
    """Every turn of its life, and every reminder that falls into its term or its grace."""
    if subscription["state"] in ("EXPIRED", "CANCELLED"):
        return
    start, end = (datetime.fromisoformat(subscription[key]) for key in ("start_time", "end_time"))
    grace_end = end + timedelta(microseconds=subscription["grace_microseconds"])
    yield from (start, end, grace_end)
    for begin, over, reminded in (
        (start, end, REMINDED_DAYS_BEFORE_END),
        (end, grace_end, REMINDED_DAYS_BEFORE_GRACE_END),
    ):
        yield from (over - days * DAY for days in reminded if over - days * DAY >= begin)


def _compare(fold: Fold, kind: str, name: str, columns: dict[str, Any]) -> None:
    where = f"{COLLECTIONS[kind]}/{name}"
    text = fold.resources.pop((kind, name), None)
    if text is None:
        fold.problems.add(where, "has a row, but no entry")
        return
    expected = parsed(text)
    if columns == expected:
        return
    for column in sorted(expected.keys() | columns.keys()):
        fold.problems.differs(where, column, columns.get(column), expected.get(column))


def _plain(value: Any) -> Any:
    """As an entry writes it."""
    if isinstance(value, datetime):
        return instant_text(value.astimezone(UTC))
    return value // timedelta(microseconds=1) if isinstance(value, timedelta) else value
