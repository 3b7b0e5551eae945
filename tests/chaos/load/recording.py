"""What the clients see, written down as it happens, and counted."""

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from earmark.errors import EarmarkError
from tests.chaos.history import CALLS, NOTICES, WATCHES, Book, Call, Heard, Message, Outcome, Seen

OK: Final = "OK"


def as_dict(message: Any) -> Message:
    """As the histories have messages."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


@dataclass(frozen=True, slots=True)
class Wish:
    """A call that somebody wants to make."""

    method: str
    organization: str
    """Its id; empty for what concerns no single one."""
    request: Any
    """The message of the contract."""

    @property
    def request_id(self) -> str:
        return getattr(self.request, "request_id", "")


@dataclass(frozen=True, slots=True)
class Made:
    """A call that was made, and what became of it."""

    wish: Wish
    outcome: Outcome
    reason: str
    answer: Any
    """The message; None unless it is ok."""


@dataclass
class Counts:
    calls: int = 0
    ok: int = 0
    refused: int = 0
    open: int = 0
    in_flight: int = 0
    heard: int = 0
    watched: int = 0
    """Entries, by all watchers."""
    resumed: int = 0
    """Watches that broke off, or were broken off, and went on."""

    def ended(self, outcome: Outcome) -> None:
        self.calls += 1
        match outcome:
            case "ok":
                self.ok += 1
            case "refused":
                self.refused += 1
            case "open":
                self.open += 1


class Recorder:
    """The books of one process, all of them, and its counts. Of each client the calls are numbered from 1."""

    def __init__(self, folder: Path) -> None:
        self.counts = Counts()
        self._calls = Book(folder, CALLS, "load")
        self._watches = Book(folder, WATCHES, "load")
        self._notices = Book(folder, NOTICES, "load")

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for book in (self._calls, self._watches, self._notices):
            book.__exit__(kind, error, trace)

    def seen(self, seen: Seen) -> None:
        self._watches.write(seen)
        self.counts.watched += seen.what == "entry"

    def resumed(self) -> None:
        self.counts.resumed += 1

    def heard(self, heard: Heard) -> None:
        self._notices.write(heard)
        self.counts.heard += heard.what == "notice"

    async def call(
        self, wish: Wish, calling: Awaitable[Any], *, client: str, number: int, actor: str, address: str, seconds: float
    ) -> Made:
        """Makes the call. It is `calling` that ends at the deadline, so many seconds from now, and that brings the
        answer's message or raises EarmarkError."""
        answer, reason, code = None, "", OK
        outcome: Outcome = "ok"
        self.counts.in_flight += 1
        started = time.monotonic()
        try:
            answer = await calling
        except EarmarkError as error:
            reason, code, outcome = error.reason, error.code.name, outcome_of(error)
        finally:
            self.counts.in_flight -= 1
        ended = time.monotonic()
        self.counts.ended(outcome)
        self._calls.write(
            Call(
                client=client,
                number=number,
                organization=wish.organization,
                method=wish.method,
                request=as_dict(wish.request),
                request_id=wish.request_id,
                actor=actor,
                address=address,
                started=started,
                ended=ended,
                deadline=started + seconds,
                outcome=outcome,
                code=code,
                reason=reason,
                answer=None if answer is None else as_dict(answer),
            )
        )
        return Made(wish, outcome, reason, answer)


def outcome_of(error: EarmarkError) -> Outcome:
    """What somebody else than Earmark says, as gRPC or a relay does, says nothing of what was changed."""
    return "open" if error.is_outcome_open or not error.reason else "refused"
