"""Every mutant: what is broken, under which faults it shows, and which checks are to find it."""

from dataclasses import dataclass
from typing import Final

SECOND_LINE: Final = """
ALTER TABLE entry DROP CONSTRAINT entry_pkey;
CREATE INDEX entry_revision ON entry (organization, revision);
"""
"""Revisions are unique by the database, too; without that only the code sees to it."""
NO_COVERAGE_CHECK: Final = """
ALTER TABLE organization DROP CONSTRAINT allocated_is_covered;
ALTER TABLE entry DROP CONSTRAINT allocated_is_covered;
"""
QUIET: Final = ("slow_callers",)
HANGING: Final = ("standby_paused", "standby_lost", "commit_cut_hanging")


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    """In `breaking.py`, or in `load.py` where it is the clients that are broken."""
    what: str
    caught_by: tuple[str, ...]
    """The checks that are made for this: one of them must find it."""
    faults: tuple[str, ...] = QUIET
    """Under which it shows."""
    before: str = ""
    """SQL that takes the database's own guard away."""
    worker_too: bool = False
    """Whether the workers are broken like the allocators."""
    clients: bool = False
    """Whether it is the clients, and nothing else, that are broken."""


MUTANTS: Final = (
    Mutant(
        "no_row_lock",
        "an organization is changed without its row being locked",
        ("revisions_without_gaps", "acknowledged_once", "balance_is_the_ledgers", "never_oversold"),
        before=SECOND_LINE,
    ),
    Mutant(
        "read_before_lock",
        "what is decided on is read before the lock is waited for",
        ("revisions_without_gaps", "acknowledged_once", "balance_is_the_ledgers", "never_oversold"),
        before=SECOND_LINE,
    ),
    Mutant(
        "revision_from_a_sequence",
        "revisions come from a sequence",
        ("revisions_without_gaps",),
        before="CREATE SEQUENCE mutant_revision INCREMENT 50",
    ),
    Mutant(
        "notice_before_commit",
        "a notice goes out before the commit",
        ("notices_are_true", "a_notice_is_never_ahead"),
        HANGING,
    ),
    Mutant(
        "request_ids_apart",
        "request ids are written in another transaction than the entries",
        ("repeated_ids_get_the_first_answer", "open_at_most_once", "acknowledged_once"),
        ("allocator_killed", "commit_cut"),
    ),
    Mutant(
        "looked_up_without_the_lock",
        "what became of a lost commit is read without the lock",
        ("refused_left_nothing",),
        ("commit_cut_hanging",),
    ),
    Mutant(
        "expired_credits_counted",
        "expired credits count as valid",
        ("no_credits_past_their_term",),
        worker_too=True,
    ),
    Mutant(
        "grace_pays_for_more",
        "credits in grace pay for an increase",
        ("an_increase_is_paid",),
    ),
    Mutant(
        "settling_skipped",
        "a call does not settle what is due",
        ("no_credits_past_their_term",),
    ),
    Mutant(
        "suspended_later",
        "what no longer fits is suspended by the next call",
        ("suspended_at_once", "never_oversold"),
        before=NO_COVERAGE_CHECK,
        worker_too=True,
    ),
    Mutant(
        "repeated_ids_get_news",
        "a repeated request id gets today's figures",
        ("repeated_ids_get_the_first_answer",),
    ),
    Mutant(
        "cancelled_commits_count",
        "a commit that waits for its standby is cancelled and taken for done",
        ("acknowledged_once",),
        ("both_lost",),
    ),
    Mutant(
        "unknown_is_told_as_refused",
        "who waits in vain for a commit is told that nothing was changed",
        ("refused_left_nothing",),
        HANGING,
    ),
    Mutant(
        "forgetful_watcher",
        "a watcher forgets where it was when it reconnects",
        ("watchers_see_each_revision_once",),
        ("cut_callers",),
        clients=True,
    ),
)
