"""All checks over one folder, and what they found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.checks.acknowledging import (
    acknowledged_once,
    every_entry_was_asked_for,
    open_at_most_once,
    refused_left_nothing,
    repeated_ids_get_the_first_answer,
)
from tests.chaos.checks.books import Books, read_books
from tests.chaos.checks.calling import deadlines_kept, no_bug_was_told
from tests.chaos.checks.crediting import (
    an_increase_is_paid,
    balance_is_the_ledgers,
    disabled_returns_what_it_held,
    never_oversold,
    suspended_at_once,
)
from tests.chaos.checks.entitling import entitled_means_paid
from tests.chaos.checks.lapsing import no_credits_past_their_term
from tests.chaos.checks.noticing import a_notice_is_never_ahead, notices_are_true, notices_catch_up
from tests.chaos.checks.ordering import real_time_order, revisions_without_gaps
from tests.chaos.checks.verdict import Verdict
from tests.chaos.checks.watching import watchers_see_each_revision_once

Check = Callable[[Books, Verdict], None]
CHECKS: Final[Sequence[Check]] = (
    acknowledged_once,
    refused_left_nothing,
    open_at_most_once,
    every_entry_was_asked_for,
    revisions_without_gaps,
    real_time_order,
    balance_is_the_ledgers,
    never_oversold,
    an_increase_is_paid,
    no_credits_past_their_term,
    disabled_returns_what_it_held,
    suspended_at_once,
    repeated_ids_get_the_first_answer,
    watchers_see_each_revision_once,
    notices_are_true,
    notices_catch_up,
    a_notice_is_never_ahead,
    deadlines_kept,
    no_bug_was_told,
    entitled_means_paid,
)
"""The name of each is what it is called in reports; its docstring is what it promises."""


@dataclass(frozen=True)
class Report:
    verdicts: Sequence[Verdict]
    seed: int
    operations: int
    """Calls."""
    faults: int
    """That hit something."""
    cases_min: int
    """A check that judged fewer counts as failed."""

    @property
    def violations(self) -> int:
        return sum(verdict.violations for verdict in self.verdicts)

    @property
    def failed(self) -> bool:
        return bool(self.failing)

    @property
    def failing(self) -> list[str]:
        """The names of the checks that failed."""
        return [each.name for each in self.verdicts if each.violations or each.judged_too_little(self.cases_min)]

    @property
    def violated(self) -> list[str]:
        """The names of the checks that found a violation."""
        return [each.name for each in self.verdicts if each.violations]

    def lines(self) -> list[str]:
        """For people; the last one sums up."""
        lines = [line for verdict in self.verdicts for line in verdict.lines(self.cases_min)]
        if self.failing:
            lines.append(f"failed: {', '.join(self.failing)}")
        sums = f"{self.operations} operations, {self.faults} faults, {self.violations} violations"
        return [*lines, f"chaos: seed {self.seed}, {sums}"]


def check_folder(folder: Path, *, cases_min: int = 100, seed: int = 0) -> Report:
    """Judges the histories and the ledger that a campaign left in a folder. Reads nothing else."""
    return check_books(read_books(folder), cases_min=cases_min, seed=seed)


def check_books(books: Books, *, cases_min: int = 100, seed: int = 0) -> Report:
    verdicts = []
    for check in CHECKS:
        verdict = Verdict(check.__name__, (check.__doc__ or "").strip())
        check(books, verdict)
        verdicts.append(verdict)
    hits = sum(fault.hits > 0 for fault in books.faults)
    return Report(verdicts, seed, len(books.calls), hits, cases_min)
