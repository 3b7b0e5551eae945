"""One run: what it runs on, how long each row takes, and what was measured so far."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from bench.crew import BenchError
from bench.figures import Figures, percentile
from bench.jobs import Answers, Load
from bench.load import OK
from bench.stage import Stage

WARM_UP_SECONDS_MAX: Final = 0.5
OPERATIONS: Final = 500
"""Of a call that has several."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured together."""

    keys: tuple[str, ...]
    measure: "Callable[[Bench], Awaitable[Mapping[str, float]]]"
    needs: tuple[str, ...] = ()
    """Keys that are measured before it."""
    once: bool = False
    """Not in each round, since it takes long to prepare or takes its time itself."""

    def is_named(self, names: frozenset[str]) -> bool:
        """Whether one of the names is one of the keys, or what one of them begins with."""
        return any(key == name or key.startswith(f"{name}_") for key in self.keys for name in names)


@dataclass(frozen=True)
class Bench:
    stage: Stage
    seconds: float
    """So long each row is measured in each round."""
    scale: float
    """1 for the sizes that the figures are named for; less for trying the bench itself."""
    figures: Figures = field(default_factory=Figures)

    def scaled(self, size: int) -> int:
        return max(2, round(size * self.scale))

    def job(
        self, call: str, organization: str = "", *, organizations: int = 1, in_flight: int = 0, rate: float = 0.0
    ) -> Load:
        """Calls to the allocator for as long as a row takes."""
        return Load(
            self.stage.address,
            call,
            organization,
            organizations,
            operations=self.scaled(OPERATIONS),
            in_flight=in_flight,
            rate=rate,
            warm_up_seconds=min(WARM_UP_SECONDS_MAX, self.seconds),
            seconds=self.seconds,
        )

    async def run(self, job: Load) -> Answers:
        """Raises BenchError if any call fails."""
        return checked(await self.stage.crew.load(job))

    def known(self, key: str) -> float:
        """What a row that this one needs measured last. Raises BenchError if that failed."""
        found = self.figures.last(key)
        if found is None:
            raise BenchError(f"it needs {key}, which could not be measured")
        return found


def checked(answers: Answers) -> Answers:
    """Raises BenchError if a call failed, or none was answered."""
    failed = {code: count for code, count in answers.codes.items() if code != OK}
    if failed:
        raise BenchError(f"calls failed: {failed}; the first: {answers.first_error}")
    if not answers.latencies_ms:
        raise BenchError("no call was answered")
    return answers


def rate(answers: Answers) -> float:
    """Calls a second. Raises BenchError if the measured time was too short for one."""
    if not answers.finished:
        raise BenchError("no call was answered within the measured time")
    return answers.finished / answers.seconds


def latency(answers: Answers, percent: float) -> float:
    return percentile(answers.latencies_ms, percent)
