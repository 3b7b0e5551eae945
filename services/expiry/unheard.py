"""Which organizations have a revision that nobody has published, as far as can be heard. Pure: no clock, no server."""

from collections.abc import Mapping
from itertools import islice
from typing import Final

HEARD_MAX: Final = 100_000
"""Organizations between two looks. What is heard beyond is published once more."""
WAITING_MAX: Final = 100_000
"""Organizations, while Redis is away."""


class Unheard:
    """Compares, look by look, what was heard with what the database has.

    A revision that was there at one look and was not heard by the next is overdue. What is heard is a hint: it counts
    only if it is the last that was heard of its organization, and the database has that revision.
    """

    def __init__(self) -> None:
        self._heard: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._waiting: dict[str, int] = {}

    def hear(self, organization: str, revision: int) -> None:
        if organization in self._heard or len(self._heard) < HEARD_MAX:
            self._heard[organization] = revision

    def take_heard(self) -> dict[str, int]:
        """What was heard since the last time. Whatever of it is true, the database has: ask it after this."""
        heard, self._heard = self._heard, {}
        return heard

    def compare(self, heard: Mapping[str, int], changed: Mapping[str, int]) -> list[str]:
        """The organizations that are overdue, the longest waiting first.

        `changed` has the newest revision of each organization that changed lately. Whoever is not among them any more
        and does not wait is forgotten.
        """
        told = self._told
        self._told = {each: _told(told.get(each, 0), heard.get(each, 0), newest) for each, newest in changed.items()}
        overdue = [each for each, revision in self._waiting.items() if self._told.get(each, 0) < revision]
        waiting = {each: self._waiting[each] for each in overdue}
        for each, newest in changed.items():
            if self._told[each] < newest:
                waiting[each] = newest
        self._waiting = dict(islice(waiting.items(), WAITING_MAX))
        return overdue

    def is_told(self, organization: str, revision: int) -> None:
        """Its newest revision was handed to Redis by ourselves, or there is no such organization (0)."""
        self._told[organization] = revision
        self._waiting.pop(organization, None)


def _told(told: int, heard: int, newest: int) -> int:
    """The newest revision that is known to be told: a revision that the database lacks counts for nothing."""
    return max(each if each <= newest else 0 for each in (told, heard))
