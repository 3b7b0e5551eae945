"""What a worker process is told to do, and what it reports. Both travel as one line of JSON."""

from dataclasses import dataclass, field
from typing import Final

LINE_BYTES_MAX: Final = 2**26

NOOP: Final = "/earmark.bench.Bench/Noop"
NAIVE_ENABLE: Final = "/earmark.bench.Bench/NaiveEnable"
PROCESS: Final = "/earmark.bench.Bench/Process"
COMMITS: Final = "/earmark.bench.Bench/Commits"
SLOW_DOWN: Final = "/earmark.bench.Bench/SlowDown"

CHANNEL_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    # A connection of its own for each channel, so that the calls of one connection are no limit.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
)


@dataclass(frozen=True, slots=True)
class Load:
    """Calls of one kind, as many at a time or as many a second."""

    address: str
    call: str
    """One of `requests.METHODS`."""
    organization: str = ""
    """Of several the number follows."""
    organizations: int = 1
    first: int = 0
    """Of them, the one to begin with: who shares a job does not walk in step."""
    operations: int = 1
    """Of each call that has several."""
    salt: str = ""
    """Makes the ids of this run its own."""
    in_flight: int = 0
    """So many at a time, the next when one is answered. 0: `rate`."""
    rate: float = 0.0
    """So many a second, whatever becomes of them."""
    warm_up_seconds: float = 0.5
    seconds: float = 2.5
    timeout_seconds: float = 30.0
    channels: int = 4
    processes: int = 1
    """The server's; each has an equal part of the channels."""


@dataclass(frozen=True, slots=True)
class Callers:
    """Callers of the SDK's `enable`, all of one client, each with one call at a time."""

    address: str
    organization: str
    coalesce: bool
    in_flight: int
    salt: str = ""
    """Makes the ids of this run its own."""
    warm_up_seconds: float = 0.5
    seconds: float = 2.5
    timeout_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Watch:
    """Watches of one organization, from their snapshots on until the word is given."""

    address: str
    organization: str
    watchers: int
    channels: int = 10


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A subscriber of notices, until the word is given."""

    redis_url: str
    prefix: str
    organization: str


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of the calls of a `Load` or of `Callers`."""

    finished: int
    """OK, and within the measured seconds."""
    seconds: float
    codes: dict[str, int] = field(default_factory=dict)
    """Of all calls, those of the warm-up too."""
    latencies_ms: list[float] = field(default_factory=list)
    """Of those that are OK and began, or were to begin, after the warm-up."""
    first_error: str = ""
    by_process: dict[str, int] = field(default_factory=dict)
    """Of those that are OK, how many each of the server's processes answered."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a `Watch` or a `Subscribe` heard."""

    heard: list[list[tuple[int, float]]]
    """By listener: (revision, when it was in hand in the machine's monotonic time), in order."""
