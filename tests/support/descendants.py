"""The processes that a process has started, and theirs; and that they end. For Linux."""

import os
import select
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.processes import DEADLINE_SECONDS


def descendants(pid: int) -> Iterator[int]:
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue  # It has just ended.
        if f"\nPPid:\t{pid}\n" in text:
            child = int(status.parent.name)
            yield child
            yield from descendants(child)


@contextmanager
def all_end(pids: Iterable[int]) -> Iterator[None]:
    """Every one of these processes ends, soon after the block is done at the latest."""
    with ExitStack() as stack:
        watched = {}
        for pid in pids:
            watched[pid] = os.pidfd_open(pid)
            stack.callback(os.close, watched[pid])
        yield
        left = [pid for pid, watch in watched.items() if not select.select([watch], [], [], DEADLINE_SECONDS)[0]]
        assert left == [], [_command(each) for each in left]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return "ended"
