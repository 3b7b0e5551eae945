"""What a campaign leaves behind: one JSON line for each thing that somebody saw, in files of one folder.

Times are seconds of the machine's monotonic clock (`time.monotonic()`), which is the same one for all its processes.
Messages of the API are as `google.protobuf.json_format.MessageToDict(message, preserving_proto_field_name=True,
always_print_fields_with_no_presence=True)` gives them: `int64` are strings there.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, TypeVar

CALLS: Final = "calls"
WATCHES: Final = "watches"
NOTICES: Final = "notices"
FAULTS: Final = "faults"
LEDGER: Final = "ledger"

Outcome = Literal["ok", "refused", "open"]
"""`refused`: the caller was told that nothing was changed. `open`: it was not told whether anything was."""

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one client, from sending it to its end; with the SDK's client, retries included."""

    client: str
    number: int
    """Among the calls of this client, from 1."""
    organization: str
    """Its id; empty for what concerns no single organization."""
    method: str
    """Of the contract: `EnableAllocation`."""
    request: Message
    request_id: str
    """Empty where the call had none. The same id in a later call of any client is a repetition of the first."""
    actor: str
    """What the ledger's entries of this call name. Where the call has no request id, no other call has this actor."""
    address: str
    """Of the allocator that it was sent to; empty where the SDK chose."""
    started: float
    ended: float
    deadline: float
    """The caller was to have its answer by then."""
    outcome: Outcome
    code: str
    """`OK`, or the name of gRPC's status code."""
    reason: str
    """Of the error's ErrorInfo; empty where there is none."""
    answer: Message | None
    """Where it is `ok`."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One message of one watch of one organization, or its beginning."""

    watcher: str
    """One that is resumed by whatever means stays the same watcher."""
    organization: str
    at: float
    what: Literal["began", "snapshot", "entry", "reset"]
    """`began`: revision is after which it asked, or -1 where it asked for a snapshot. `entry`: one line for each.
    `reset`: it was told that its token is of another history, and begins anew."""
    revision: int
    entry: Message | None
    """The entry, or the balance of the snapshot."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A notice, or a change of whether the listener is connected. The listener speaks to Redis itself, by no relay."""

    at: float
    what: Literal["notice", "connected", "disconnected"]
    organization: str
    revision: int
    balance: Message | None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was done to the system, and the proof that it hit something."""

    kind: str
    """`allocator_killed`, `standby_lost`, ..."""
    target: str
    """Which process, server or relay."""
    began: float
    ended: float
    """When what was taken away was there again."""
    disturbs: list[str]
    """Of `redis`, `postgres` (for writing), `worker`, `allocator`, `network`: what did not work in between."""
    hits: int
    """Calls in flight, statements without an answer, bytes cut or held back: what the proof says. 0: it hit nothing."""
    proof: str
    """In words, with the figure."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the final ledger, with the columns of the table `entry`; instants are ISO 8601, in UTC."""

    organization: str
    revision: int
    kind: str
    resource: str
    effective_time: str
    recorded_time: str
    actor: str
    request_id: str
    causes: list[str]
    after: Message
    valid_delta: int
    grace_delta: int
    allocated_delta: int
    suspended_delta: int
    valid_credits: int
    grace_credits: int
    allocated_credits: int
    suspended_credits: int
    overdraft_limit: int
    overdraft_unlimited: bool
    last: bool
    digest: str
    """Hexadecimal."""


Record = TypeVar("Record", Call, Seen, Heard, Fault, Entry)


class Book:
    """Writes records of one kind down, line by line, as they come: what a killed process saw is kept."""

    def __init__(self, folder: Path, kind: str, writer: str) -> None:
        self._file = (folder / f"{kind}-{writer}.jsonl").open("a", encoding="utf-8", buffering=1)

    def write(self, record: Call | Seen | Heard | Fault | Entry) -> None:
        self._file.write(json.dumps(asdict(record), separators=(",", ":")) + "\n")

    def __enter__(self) -> "Book":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_all(folder: Path, kind: str, record: type[Record]) -> Iterator[Record]:
    """Of all writers, in the order of their names, each in the order in which it was written."""
    for path in sorted(folder.glob(f"{kind}-*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield record(**json.loads(line))
