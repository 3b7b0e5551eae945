"""A process with metrics and probes, and what it says over HTTP."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from services.admin import embedded
from tests.support.processes import DEADLINE_SECONDS, environment

MARK = "metrics and probes at "


@dataclass(frozen=True)
class Monitored:
    child: embedded.Child
    url: str

    def get(self, path: str) -> tuple[int, str]:
        """Status and text."""
        return get(self.url + path)

    def value(self, name: str, **labels: str) -> float:
        """Of one sample at this moment; 0 if it is not there yet."""
        return self.samples().get((name, frozenset(labels.items())), 0.0)

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        status, text = self.get("/metrics")
        assert status == 200
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


def get(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=DEADLINE_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def until(holds: Callable[[], bool]) -> None:
    """Asks again and again, outside the event loop."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - nobody else can tell us
            await asyncio.sleep(0.01)


@contextmanager
def monitored_process(module: str, **settings: str) -> Iterator[Monitored]:
    """The process, as soon as it answers over HTTP, ready or not."""
    env = environment(**{"listen_address": "127.0.0.1:0", "metrics_address": "127.0.0.1:0", **settings})
    command = [sys.executable, "-m", module]
    with embedded.child(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if MARK in line.decode():
                break
            sys.stderr.buffer.write(line)
        else:
            raise AssertionError(f"{module} did not start; its log above says why")
        threading.Thread(target=child.stderr.read, daemon=True).start()  # Or a full pipe would hold the process.
        yield Monitored(child, line.decode().partition(MARK)[2].strip())


def serving_at(monitored: Monitored) -> str:
    """The allocator's address, once it serves."""
    assert monitored.child.stdout is not None
    line = monitored.child.stdout.readline().decode()
    assert line.startswith("serving on "), "it did not start"
    return line.removeprefix("serving on ").strip()
