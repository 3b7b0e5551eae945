"""How long the command line waits for an allocator that does not answer."""

import math

from earmark.errors import EarmarkError
from earmark.messages.retrying import Retry

UNHEARD_MAX = 3
"""So many attempts in all, within half a second."""


class Impatient(Retry):
    """Until the deadline where the allocator asks to be called again; not for long where nobody hears.

    A person has mistyped the address, and a script has its own ideas of how long to wait for a server to be back.
    """

    __slots__ = ()

    def pause_seconds(self, failures: int, error: EarmarkError) -> float:
        if not error.reason and failures >= UNHEARD_MAX:
            return math.inf
        return super().pause_seconds(failures, error)


class Beginning:
    """The same for a watch, which tries one address after the other."""

    def __init__(self, address: str) -> None:
        self._attempts_left = max(UNHEARD_MAX, address.count(",") + 1)
        self._heard = False

    def heard(self) -> None:
        self._heard = True

    def lost(self, error: EarmarkError) -> bool:
        """Whether that is worth a word. Raises the error where nobody was ever heard, and no address is left to try."""
        if self._heard or error.reason:
            return True
        self._attempts_left -= 1
        if not self._attempts_left:
            raise error
        return False
