"""What is aimed at. Bounds are ratios within the run or, where they are not, those of a machine of a certain speed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

REFERENCE_NOOP_RPS: Final = 6_700
"""The machine for which bounds are named that are no ratios; on another one they are scaled by its own `noop_rps`."""

Median = Callable[[str], float]
"""Of a key. Raises KeyError if it was not measured."""


@dataclass(frozen=True, slots=True)
class Target:
    text: str
    bound: Callable[[Median], float]
    at_least: bool
    """Else below."""

    def met(self, value: float, median: Median) -> bool:
        bound = self.bound(median)
        return value >= bound if self.at_least else value < bound


def _rate(reference: float) -> Target:
    return Target(
        f"{reference:,} at {REFERENCE_NOOP_RPS:,} noop_rps",
        lambda median: reference * median("noop_rps") / REFERENCE_NOOP_RPS,
        at_least=True,
    )


def _milliseconds(reference: float) -> Target:
    return Target(
        f"{reference:,} at {REFERENCE_NOOP_RPS:,} noop_rps",
        lambda median: reference * REFERENCE_NOOP_RPS / median("noop_rps"),
        at_least=False,
    )


TARGETS: Final = {
    "hot_rps": Target(
        "5 x naive_hot_rps and 0.5 x noop_rps",
        lambda median: max(5 * median("naive_hot_rps"), 0.5 * median("noop_rps")),
        at_least=True,
    ),
    "hot_p99_ms": _milliseconds(40),
    "spread_rps": Target("1.25 x naive_spread_rps", lambda median: 1.25 * median("naive_spread_rps"), at_least=True),
    "single_p50_ms": Target(
        "3 x (noop_p50_ms + commit_p50_ms)",
        lambda median: 3 * (median("noop_p50_ms") + median("commit_p50_ms")),
        at_least=False,
    ),
    "slow_neighbour_p99_ms": Target(
        "2 x no_slow_neighbour_p99_ms", lambda median: 2 * median("no_slow_neighbour_p99_ms"), at_least=False
    ),
    "batch_ops_per_s": _rate(20_000),
    "batch1_ops_per_s": _rate(12_000),
    "sdk_coalesced_ops_per_s": Target(
        "3 x sdk_plain_ops_per_s and noop_rps",
        lambda median: max(3 * median("sdk_plain_ops_per_s"), median("noop_rps")),
        at_least=True,
    ),
    "replay_rps": Target("hot_rps", lambda median: median("hot_rps"), at_least=True),
    "check_rps": Target("0.4 x noop_rps", lambda median: 0.4 * median("noop_rps"), at_least=True),
    "watch_p99_ms": _milliseconds(25),
    "notice_p99_ms": _milliseconds(15),
    "expire_per_s": _rate(8_000),
    "expire_lag_p99_ms": _milliseconds(1_000),
    "usage_p99_ms": _milliseconds(5),
    "history_p99_ms": _milliseconds(20),
    "history_hours_p99_ms": _milliseconds(200),
    "overload_goodput": Target("0.9", lambda median: 0.9, at_least=True),
}
