"""When a call is tried again, and after how long."""

import random
from dataclasses import dataclass
from typing import Final

import grpc

from earmark.errors import EarmarkError

# What gRPC itself makes of a connection that is lost, reset or cut off by something in between.
_BROKEN: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Trying again what may pass, never beyond the deadline.

    Safe for every call: a mutation keeps its request id, so it takes effect at most once.

    initial_seconds: the longest first pause; each one after that may be twice as long.
    max_seconds: what no pause exceeds, but for what the server asks for (`RetryInfo`).
    attempts_max: calls in all, the first included; None: until the deadline.
    """

    initial_seconds: float = 0.05
    max_seconds: float = 2.0
    attempts_max: int | None = None

    def pause_seconds(self, failures: int, error: EarmarkError) -> float:
        """After so many failures in a row; what the server asks for comes on top.

        Up to half of it is left to chance, so that callers do not come in step.
        """
        longest = min(self.max_seconds, self.initial_seconds * (1 << min(failures - 1, 16)))
        return error.retry_after_seconds + longest * random.uniform(0.5, 1)


def may_pass(error: EarmarkError) -> bool:
    """Whether another attempt may succeed."""
    return error.code is grpc.StatusCode.UNAVAILABLE or (not error.reason and error.code in _BROKEN)
