"""All of Earmark as a child process of a test: started, emptied, moved in time, and ended."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import IO, Final

COMMAND: Final = ("-P", "-m", "services.admin", "testbed")
"""Without -P a folder `services` of whoever runs the tests could be taken for Earmark's."""
MISSING: Final = ("No module named 'services", "No module named services", "earmark-server[embedded]")
"""What is said where Earmark's server is not installed, or without its extra."""
ANSWER_SECONDS: Final = 90.0
"""Longer than it takes to start or to answer on any machine that works at all."""
STOP_SECONDS: Final = 30.0
LOG_TAIL_BYTES: Final = 8_192


class ServerError(RuntimeError):
    """The server did not start, has ended, or refused; the message says why."""


class ServerNotInstalled(ServerError):
    """The server's package is not there."""


class Server:
    """A real Earmark of its own: Postgres, Redis, an allocator and an expiry worker, on free ports of this machine.

    It starts when it is made and ends with the `with` block, with `close`, or with this process, however that ends;
    nothing of it is kept. Organizations and offerings there are none at first. Any thread may use it. Its methods
    block for some milliseconds and need no event loop, so tests with one and without one use it alike.
    """

    address: str
    """Of the allocator, `127.0.0.1:port`, for `earmark.Client`; without TLS. A reset does not change it."""
    redis_url: str
    """Where notices are published."""

    def __init__(self, *, catalog: str | os.PathLike[str] = "") -> None:
        """Takes a second or two. `catalog`: offerings that are there from the start and after each reset, from a CSV
        file (as for `earmark-admin catalog load`) or, if it is "sample", of the sample catalogue.

        Raises ServerNotInstalled, or ServerError with what the server said.
        """
        options = ("--catalog", os.fspath(catalog)) if catalog else ()
        self._turn = threading.Lock()
        self._awaited = 0
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        try:
            # In a session of its own: a Ctrl-C in the terminal is for the tests, whose last words may need a server.
            self._process = subprocess.Popen(
                [sys.executable, *COMMAND, *options],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,
            )
        except BaseException:
            self._log.close()
            raise
        try:
            self._awaited += 1
            greeting = self._answer()
            self.address, self.redis_url = greeting["address"], greeting["redis_url"]
        except BaseException:
            self.close()
            raise

    def now(self) -> datetime:
        """What time it is for Earmark; in UTC. It runs on, as any clock does."""
        return self._ask(do="now")

    def advance(self, by: timedelta) -> datetime:
        """Moves time forwards, and returns the time that it is then. Raises ServerError for backwards.

        What came due is settled and committed before this returns: the next call to any method, lists of all
        organizations included, finds it so. Watches and notices tell of it as they always do, a few milliseconds
        after the commit: a test waits for the event, which is certain to come, and not for time to pass.

        The clocks of this process and of others stay as they are. What your service compares with Earmark's instants
        it must have from `now`, or from Earmark's answers.
        """
        return self._ask(do="advance", seconds=by.total_seconds())

    def reset(self) -> None:
        """Empties it: everything is as it was at the start, at the same address, and the time is the present again.

        A client may stay open, and connects anew by itself. A watch ends; where it is resumed, its organization is
        not found. A call still under way is carried out before, or fails with UNAVAILABLE.
        """
        self._ask(do="reset")

    def close(self) -> None:
        """Ends it and waits until it is gone, half a second or so. May be called again."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # What it started ends with it.
            process.wait()
        process.stdout.close()
        self._log.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, **request: str | float) -> datetime:
        with self._turn:
            stdin = self._process.stdin
            if stdin is None or stdin.closed:
                raise ServerError("the server was closed")
            self._awaited += 1
            with suppress(BrokenPipeError):  # It has ended, and so do its answers.
                stdin.write(json.dumps(request).encode() + b"\n")
            return datetime.fromisoformat(self._answer()["now"])

    def _answer(self) -> dict[str, str]:
        """To the last request. Others before it may be unread: of whoever was interrupted as it waited."""
        line = b""
        while self._awaited:
            line = self._line()
            self._awaited -= 1
        answer: dict[str, str] = json.loads(line)
        if "error" in answer:
            raise ServerError(answer["error"])
        return answer

    def _line(self) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if not selector.select(ANSWER_SECONDS):
                raise ServerError(f"the server did not answer within {ANSWER_SECONDS:.0f} s{self._log_tail()}")
        line: bytes = stdout.readline()
        if not line:
            raise self._ended()
        return line

    def _ended(self) -> ServerError:
        status = self._process.wait()
        said = self._log_tail()
        if any(each in said for each in MISSING):
            return ServerNotInstalled(
                "Earmark's server is not installed beside this package: pip install 'earmark-client[testing]'" + said
            )
        return ServerError(f"the server ended with status {status}{said}")

    def _log_tail(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), LOG_TAIL_BYTES, max(0, size - LOG_TAIL_BYTES))
        return f"; the end of its log:\n{tail.decode(errors='replace')}" if tail else ""
