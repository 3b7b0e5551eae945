"""What the expiry worker takes for unpublished, look by look."""

import pytest

from services.expiry import unheard
from services.expiry.unheard import Unheard

NOBODY: dict[str, int] = {}


@pytest.fixture
def looks() -> Unheard:
    return Unheard()


def look(looks: Unheard, **changed: int) -> list[str]:
    return looks.compare(looks.take_heard(), changed)


def test_what_was_not_heard_by_the_next_look_is_overdue(looks: Unheard) -> None:
    assert look(looks, acme=7) == []
    assert look(looks, acme=7) == ["acme"]
    assert look(looks, acme=7) == ["acme"], "it was not published"
    looks.is_told("acme", 7)
    assert look(looks, acme=7) == []


@pytest.mark.parametrize("heard_before_the_first_look", [True, False])
def test_what_was_heard_is_not(looks: Unheard, heard_before_the_first_look: bool) -> None:
    if heard_before_the_first_look:
        looks.hear("acme", 7)
    assert look(looks, acme=7) == []
    if not heard_before_the_first_look:
        looks.hear("acme", 7)
    for _ in range(3):
        assert look(looks, acme=7) == []


def test_one_that_changes_all_the_time_is_heard_all_the_time(looks: Unheard) -> None:
    for revision in range(10, 1000, 10):
        looks.hear("acme", revision - 1)  # The newest is still on its way.
        assert look(looks, acme=revision) == []


def test_the_notice_of_an_older_revision_is_not_enough(looks: Unheard) -> None:
    looks.hear("acme", 6)
    assert look(looks, acme=7) == []
    looks.hear("acme", 6)
    assert look(looks, acme=8) == ["acme"]


def test_a_false_revision_counts_for_nothing(looks: Unheard) -> None:
    looks.hear("acme", 10**18)
    assert look(looks, acme=7) == []
    looks.hear("acme", 10**18)
    looks.hear("other", 10**18)
    assert look(looks, acme=7) == ["acme"]
    assert look(looks, acme=7, other=3) == ["acme"]
    assert look(looks, acme=7, other=3) == ["acme", "other"]


def test_a_true_notice_after_a_false_one_counts(looks: Unheard) -> None:
    assert look(looks, acme=7) == []
    looks.hear("acme", 10**18)
    looks.hear("acme", 7)
    assert look(looks, acme=7) == []


def test_what_waits_is_kept_when_it_is_no_longer_among_the_latest(looks: Unheard) -> None:
    """As while Redis is away for longer than the database is asked for."""
    assert look(looks, acme=7) == []
    assert look(looks) == ["acme"]
    assert look(looks) == ["acme"]
    looks.is_told("acme", 7)
    assert look(looks) == []


def test_a_history_that_was_undone_is_told_again(looks: Unheard) -> None:
    """After a failover that lost a commit revision 7 is another one."""
    looks.hear("acme", 7)
    assert look(looks, acme=7) == []
    assert look(looks, acme=6) == []
    assert look(looks, acme=6) == ["acme"]


def test_an_organization_that_is_not_there_is_let_go(looks: Unheard) -> None:
    look(looks, acme=7)
    assert look(looks) == ["acme"]
    looks.is_told("acme", 0)
    assert look(looks) == []


def test_nothing_grows_without_bound(looks: Unheard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unheard, "HEARD_MAX", 3)
    monkeypatch.setattr(unheard, "WAITING_MAX", 4)
    for each in range(10):
        looks.hear(f"o-{each}", 1)
    assert looks.take_heard() == {"o-0": 1, "o-1": 1, "o-2": 1}
    assert looks.take_heard() == NOBODY
    assert look(looks, **{f"o-{each}": 1 for each in range(10)}) == []
    assert look(looks) == [f"o-{each}" for each in range(4)]
