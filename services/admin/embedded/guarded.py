"""Programs that die with this process, however it ends: the parent's side of the guardian."""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import IO, Any

from services.admin.embedded.account import Account
from services.admin.embedded.errors import EmbeddedError

GUARDIAN = Path(__file__).with_name("guardian.py")
ANSWER_SECONDS = 30.0
KILL_SECONDS = 10.0

StopSteps = Sequence[tuple[signal.Signals, float]]
"""Signals in the order in which to send them, each with the seconds to wait for the end."""

Output = int | IO[Any] | None
"""As in `subprocess`: None inherits, else a descriptor, a file, `DEVNULL`, `PIPE` or `STDOUT`."""


class Guarded:
    """A guardian process and the program that it runs. Not safe for use by two threads at once."""

    def __init__(
        self,
        stdout: Output = subprocess.DEVNULL,
        stderr: Output = subprocess.DEVNULL,
        keep: Sequence[int] = (),
    ) -> None:
        """Start the guardian, with no program yet. The program holds the descriptors `keep` open."""
        incoming, reports = os.pipe()
        self._reports = FileIO(incoming)
        try:
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", GUARDIAN, *map(str, (reports, os.getpid(), *keep))],
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                bufsize=0,
                pass_fds=(reports, *keep),
                start_new_session=True,
            )
        except BaseException:
            self._reports.close()
            raise
        finally:
            os.close(reports)
        self._unread = b""
        self._scratch: Path | None = None
        self._patience = 0.0
        self.stdout = self._guardian.stdout
        self.stderr = self._guardian.stderr
        self.pid = 0
        self.exit_code: int | None = None

    def make_scratch(self, path: Path, account: Account | None) -> None:
        """Create a folder (mode 0700) that the guardian removes at the end. It must not exist yet.

        Raises EmbeddedError if it can't be created or handed to the account.
        """
        self._scratch = path
        self._order("scratch", "scratch", account, path=str(path))

    def run(
        self,
        command: Sequence[str],
        *,
        stop: StopSteps,
        death_signal: signal.Signals = signal.SIGKILL,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        account: Account | None = None,
        log: Path | None = None,
    ) -> int:
        """Start a program, one at a time, and return its process id; `death_signal` is for Linux only.

        Raises EmbeddedError if it can't be started.
        """
        self.exit_code = None
        self._patience = sum(seconds for _, seconds in stop) + KILL_SECONDS
        answer = self._order(
            "run",
            "pid",
            account,
            command=list(command),
            env=None if env is None else dict(env),
            cwd=None if cwd is None else str(cwd),
            log=None if log is None else str(log),
            stop=[(int(number), seconds) for number, seconds in stop],
            death_signal=int(death_signal),
        )
        self.pid = answer["pid"]
        return self.pid

    def poll(self) -> int | None:
        """The program's exit code, negative if a signal ended it; None while it runs."""
        return self.wait(0)

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for the program's end, for ever or so many seconds; the exit code, or None if it runs on."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.exit_code is None and self._receive(deadline) is not None:
            pass
        return self.exit_code

    def send_signal(self, number: int) -> None:
        """Pass a signal to the program; nothing happens if it has ended."""
        self._write("signal", number=number)

    def close(self) -> None:
        """Stop the program, wait for its end, remove the scratch folder. May be called again."""
        if self._guardian.stdin is not None:
            self._guardian.stdin.close()
        try:
            self._guardian.wait(self._patience + KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()
        self.wait(0)
        self._reports.close()
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        if self._scratch is not None and self._scratch.exists():
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _order(self, do: str, answer: str, account: Account | None, **fields: Any) -> dict[str, Any]:
        ids = {"uid": account.uid, "gid": account.gid} if account else {"uid": None, "gid": None}
        self._write(do, **fields, **ids)
        deadline = time.monotonic() + ANSWER_SECONDS
        while (report := self._receive(deadline)) is not None:
            if "error" in report:
                advice = f" (as uid {account.uid}; an ordinary user may do better than root)" if account else ""
                raise EmbeddedError(f"Cannot start: {report['error']}{advice}")
            if answer in report:
                return report
        raise EmbeddedError("Cannot start: the guardian process gave no answer")

    def _write(self, do: str, **fields: Any) -> None:
        assert self._guardian.stdin is not None
        line = json.dumps({"do": do, **fields}).encode() + b"\n"
        try:
            while line:
                line = line[self._guardian.stdin.write(line) or 0 :]
        except BrokenPipeError:
            pass  # The guardian is gone, and its reports end: that is where the caller sees it.

    def _receive(self, deadline: float | None) -> dict[str, Any] | None:
        """The next report; None at the deadline, or when there will be no more."""
        while b"\n" not in self._unread:
            if self._reports.closed or not self._readable(deadline):
                return None
            received = os.read(self._reports.fileno(), 65536)
            self._unread += received
            if not received:
                self._reports.close()
                if self.exit_code is None:
                    self.exit_code = -signal.SIGKILL
                return None
        line, _, self._unread = self._unread.partition(b"\n")
        report: dict[str, Any] = json.loads(line)
        if "exit" in report:
            self.exit_code = report["exit"]
        return report

    def _readable(self, deadline: float | None) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self._reports, selectors.EVENT_READ)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            return bool(selector.select(left))


@contextmanager
def guarded(keep: Sequence[int] = ()) -> Iterator[Guarded]:
    """A guardian without output of its own, for programs that write to a log."""
    guard = Guarded(keep=keep)
    try:
        yield guard
    finally:
        guard.close()
