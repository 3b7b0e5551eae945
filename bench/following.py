"""From a commit to the hands of those who follow: watchers of one organization, and a subscriber of its notices.

The process that commits notes each commit's revision and the machine's monotonic time at the moment when it knows that
the commit is durable; whoever follows notes the same clock as a revision arrives. Between the two is all that we do:
reading what is new, encoding it, sending it.
"""

import json
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from bench.bench import Bench, checked
from bench.crew import BenchError
from bench.figures import percentile
from bench.jobs import COMMITS, Heard, Subscribe, Watch
from bench.load import calls_of
from bench.prepare import HOT
from services.runtime.settings import Settings

WATCHERS: Final = 100


async def watches(bench: Bench) -> Mapping[str, float]:
    job = Watch(bench.stage.address, HOT, bench.scaled(WATCHERS))
    return {"watch_p99_ms": percentile(await _delays_ms(bench, job), 99)}


async def notices(bench: Bench) -> Mapping[str, float]:
    job = Subscribe(bench.stage.redis_url, Settings().notice_prefix, HOT)
    return {"notice_p99_ms": percentile(await _delays_ms(bench, job), 99)}


async def _delays_ms(bench: Bench, job: Watch | Subscribe) -> list[float]:
    """Of each commit to each listener, at a quarter of what one organization can take."""
    load = bench.job("enable", HOT, rate=bench.known("hot_rps") / 4)
    heard, answers = await bench.stage.crew.listen(job, load)
    checked(answers)
    async with calls_of(bench.stage.address, COMMITS, 1) as [call]:
        commits: list[tuple[int, float]] = json.loads(await call(HOT.encode()))
    return delays_ms(commits, heard)


def delays_ms(commits: list[tuple[int, float]], heard: Heard) -> list[float]:
    """For each commit, how much later each listener had it: with the first message that goes as far or farther.

    Those before the first message are left out, and so are those at the end that a notice of a later one stands for.
    Raises BenchError if a listener heard nothing.
    """
    found: list[float] = []
    for listener in heard.heard:
        if not listener:
            raise BenchError("a listener heard nothing")
        revisions = [revision for revision, _ in listener]
        for revision, committed_at in commits:
            at = bisect_left(revisions, revision)
            if revisions[0] < revision and at < len(listener):
                found.append((listener[at][1] - committed_at) * 1000)
    if not found:
        raise BenchError("nothing was committed while somebody listened")
    return found
