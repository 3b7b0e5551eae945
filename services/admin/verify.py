"""Derives every figure of every organization again from the entries alone, and compares it with what is stored.

Nothing here uses the ledger's rules: a fault in them, or a row that somebody altered, would otherwise go unseen.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.admin import verify_reads as reads
from services.admin.verify_fold import Fold
from services.admin.verify_prices import Prices
from services.admin.verify_requests import REMEMBERED, Remembered
from services.admin.verify_rows import compare_allocation, compare_organization, compare_subscription
from services.ledger.store.database import Connection

ENTRIES_PER_TELLING: Final = 1_000

Progress = Callable[[int, int], None]
"""Told every thousand entries: how many were taken, and about how many there are in all."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """What was written down elsewhere: the digest of one entry."""

    revision: int
    digest: str
    """In hexadecimal digits, in lower case; or their beginning."""


@dataclass
class Tally:
    """How far the work has come."""

    progress: Progress
    total: int
    done: int = 0

    def one_more(self) -> None:
        self.done += 1
        if self.done % ENTRIES_PER_TELLING == 0:
            self.progress(self.done, self.total)


@dataclass(frozen=True, slots=True)
class Verified:
    """What became of one organization."""

    organization: str
    entries: int
    newest: str
    """`REVISION:DIGEST` of its newest entry; empty if it has none."""
    problem_count: int
    problems: list[str]
    """The first of them: each names the organization, the entry or row, what it is, and what it should be."""


@dataclass(frozen=True, slots=True)
class Report:
    organizations: int = 0
    entries: int = 0
    problems: list[str] = field(default_factory=list)
    """As those of `Verified`."""


async def verify(connection: Connection, organization: str | None = None) -> Report:
    """Reads one organization, or all, and changes nothing. See `verify_each`."""
    organizations, entries = 0, 0
    problems: list[str] = []
    async for each in verify_each(connection, None if organization is None else [organization]):
        organizations += 1
        entries += each.entries
        problems += each.problems
    return Report(organizations, entries, problems)


async def verify_each(
    connection: Connection,
    named: Sequence[str] | None = None,
    *,
    anchors: Sequence[Anchor] = (),
    progress: Progress = lambda done, total: None,
) -> AsyncIterator[Verified]:
    """Verifies the named organizations, or all (None), one after the other; calls may go on meanwhile.

    Each is read in one snapshot of its own, so that none is held longer than one organization takes. In memory is one
    organization at a time: about half a kilobyte for each of its allocations. Anchors are held against each.
    """
    tally = Tally(progress, await reads.count_entries(connection, named))
    prices = Prices()
    async for name in _names(connection, named):
        fold = Fold(name)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                fold.prices = prices = await _prices(connection, prices)
                await _verify_one(connection, fold, anchors, tally)
        except OverflowError as error:  # Years that Postgres knows and nobody else.
            fold.problems.add("rows", f"one cannot be read, so nothing else was compared: {error}")
        newest = f"{fold.newest['revision']}:{fold.newest['digest'].hex()}" if fold.newest else ""
        yield Verified(name, fold.entries, newest, fold.problems.total, fold.problems.named())


async def _names(connection: Connection, named: Sequence[str] | None) -> AsyncIterator[str]:
    if named is not None:
        for name in named:
            yield name
        return
    page = await reads.organizations(connection, "")
    while page:
        for name in page:
            yield name
        page = await reads.organizations(connection, page[-1])


async def _prices(connection: Connection, known: Prices) -> Prices:
    """Read once, and again when a version was added: an entry of this snapshot may name it."""
    if await reads.count_prices(connection) == len(known.versions):
        return known
    return Prices.of(await reads.prices(connection))


async def _verify_one(connection: Connection, fold: Fold, anchors: Sequence[Anchor], tally: Tally) -> None:
    row = await reads.organization(connection, fold.organization)
    fold.usage.up_to = row["usage_revision"] if row else None
    await _take_entries(connection, fold, anchors, tally)
    compare_organization(fold, row)
    await _compare_rows(connection, fold)
    async for again in reads.reused_request_ids(connection, fold.organization, REMEMBERED):
        what = f"request id {again['request_id']!r} is also that of entry {again['revision_before']}, of another call"
        fold.problems.add(f"entry {again['revision']}", f"{what}, less than a day before")


async def _take_entries(connection: Connection, fold: Fold, anchors: Sequence[Anchor], tally: Tally) -> None:
    """With what was answered at each revision, and what is known of it from elsewhere."""
    young = await reads.now(connection) - REMEMBERED
    remembered = Remembered(reads.requests(connection, fold.organization), young)
    await remembered.begin()
    expected: dict[int, list[str]] = {}
    for anchor in anchors:
        expected.setdefault(anchor.revision, []).append(anchor.digest)
    async for row in reads.entries(connection, fold.organization):
        fold.take(row)
        await remembered.compare(fold)
        for digest in expected.pop(row["revision"], ()):
            if not row["digest"].hex().startswith(digest):
                fold.problems.add(f"entry {row['revision']}", f"digest is {row['digest'].hex()}, expected was {digest}")
        tally.one_more()
    await remembered.end(fold)
    for revision in sorted(expected):
        fold.problems.add(f"entry {revision}", "was expected, and is not there")


async def _compare_rows(connection: Connection, fold: Fold) -> None:
    name = fold.organization
    async for row in reads.subscriptions(connection, name):
        compare_subscription(fold, row)
    async for row in reads.allocations(connection, name):
        compare_allocation(fold, row)
    for each in fold.not_compared():
        fold.problems.add(each, "has entries, but no row")
    async for row in reads.offering_usage(connection, name):
        fold.usage.compare_offering(fold.problems, row)
    async for row in reads.usage_hours(connection, name):
        fold.usage.compare_hour(fold.problems, row)
    fold.usage.missing(fold.problems)
