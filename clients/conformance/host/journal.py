"""What one case is: the faults that it wants, and every attempt that the proxy saw meanwhile."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from clients.conformance.host.contract import Method, as_json, request_ids_of
from clients.conformance.host.faults import Fault


@dataclass
class Attempt:
    """A call as it arrived at the proxy."""

    method: str
    number: int
    """From 1, of this method in this case."""
    address: int
    """From 1: at which of the two it came in."""
    actor: str
    request: dict[str, Any]
    """proto3 JSON with the contract's field names, as it came in."""
    request_ids: list[str]
    """The call's own and those of its operations, as far as there are any."""
    deadline_ms: float | None
    """The time that it was given, as it arrived; None: any."""
    arrived_ms: float
    """Since the case began."""
    ended_ms: float | None = None
    """When the proxy was done with it; None: it is still under way, or the caller gave it up."""
    outcome: str = ""
    """`OK` or the code that the caller was given; empty: none."""
    faults: list[str] = field(default_factory=list)
    """What was done to it."""
    messages: int = 0
    """How many of a stream were passed on."""


class Journal:
    """From the beginning of a case to its end."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults = tuple(faults)
        self.attempts: list[Attempt] = []
        self._counts: Counter[str] = Counter()
        self._began = time.monotonic()

    @property
    def elapsed_ms(self) -> float:
        return (time.monotonic() - self._began) * 1_000

    def arrive(
        self, method: Method, data: bytes, *, address: int, actor: str, deadline_ms: float | None
    ) -> tuple[Attempt, Sequence[Fault]]:
        """The attempt, and what is to be done to it."""
        self._counts[method.name] += 1
        message = method.request_of(data)
        attempt = Attempt(
            method=method.name,
            number=self._counts[method.name],
            address=address,
            actor=actor,
            request=as_json(message),
            request_ids=request_ids_of(message),
            deadline_ms=deadline_ms,
            arrived_ms=self.elapsed_ms,
        )
        faults = [each for each in self.faults if each.is_about(method.name, attempt.number, address)]
        attempt.faults = [each.do for each in faults]
        self.attempts.append(attempt)
        return attempt, faults

    def end(self, attempt: Attempt, outcome: str = "") -> None:
        """To be said before the caller can know it."""
        attempt.ended_ms = self.elapsed_ms
        attempt.outcome = outcome

    def told(self) -> list[dict[str, Any]]:
        return [asdict(each) for each in self.attempts]
