"""The process that stands between Earmark and a program it started.

Run by path as a script, alone and with the standard library only, so that it is up in a few
milliseconds and needs no installed package. It is single threaded and is the parent of the program: on
Linux the kernel ends the program with the guardian, and that promise is bound to the thread that forked.

Orders arrive as JSON lines on standard input, reports leave as JSON lines on the descriptor named by the
first argument; the second is the process id of whoever gives the orders. Once that process is gone,
however it went, the program is stopped, everything it left behind is killed and the scratch folder removed.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

ORDERS = 0
SWEEP_SECONDS = 5.0
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
END_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def _prctl() -> Callable[[int, int], None]:
    """Linux's process control; elsewhere a function that does nothing."""
    if sys.platform != "linux":
        return lambda option, value: None
    libc = ctypes.CDLL(None)

    def call(option: int, value: int) -> None:
        libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0)

    return call


class Guardian:
    """Obeys one parent, keeps at most one program at a time, and outlives neither for long."""

    def __init__(self, reports: int, parent: int, kept: list[int]) -> None:
        """`kept` are descriptors (a folder's lock) which the program holds open as long as it lives."""
        self._reports = reports
        self._kept = kept
        self._prctl = _prctl()
        self._prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._program: subprocess.Popen[bytes] | None = None
        self._stop: list[tuple[int, float]] = []
        self._scratch: str | None = None
        self._ending = False
        self._unread = b""
        self._wakeup = self._listen_to_signals()
        self._parent = self._watch(parent)

    def serve(self) -> None:
        """Obey until the parent hangs up, dies, or a signal asks for the end."""
        watched = [fd for fd in (ORDERS, self._wakeup, self._parent) if fd is not None]
        while not self._ending:
            ready, _, _ = select.select(watched, [], [])
            if self._wakeup in ready:
                self._note_signals()
            if self._parent in ready:
                return
            if ORDERS in ready and not self._obey():
                return

    def end(self) -> None:
        """Stop the program step by step, kill what it left behind, remove the scratch folder."""
        for number, seconds in self._stop:
            if self._program is None:
                break
            self._send(number)
            self._await_program(seconds)
        self._sweep()
        if self._scratch is not None:
            import shutil  # noqa: PLC0415 - a third of the start-up time, and only needed here

            shutil.rmtree(self._scratch, ignore_errors=True)

    def report(self, **facts: Any) -> None:
        """Tell the parent, if there still is one."""
        try:
            os.write(self._reports, json.dumps(facts).encode() + b"\n")
        except OSError:
            self._ending = True

    def _listen_to_signals(self) -> int:
        wakeup, bell = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(bell, False)
        signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *END_SIGNALS):
            signal.signal(number, lambda number, frame: None)
        return wakeup

    def _watch(self, parent: int) -> int | None:
        """A descriptor that becomes readable when the parent dies.

        The end of its pipe says so too, unless the parent forked and a copy of it holds the pipe open.
        """
        watch = None
        if sys.platform == "linux":
            try:
                watch = os.pidfd_open(parent)
            except OSError:
                watch = None
        if os.getppid() != parent:
            self._ending = True
        return watch

    def _note_signals(self) -> None:
        try:
            numbers = os.read(self._wakeup, 4096)
        except BlockingIOError:
            return
        self._ending = self._ending or any(number in END_SIGNALS for number in numbers)
        self._reap()

    def _obey(self) -> bool:
        """Carry out what arrived; False once the parent has hung up."""
        obey: dict[str, Callable[..., None]] = {
            "scratch": self._make_scratch,
            "run": self._run,
            "signal": self._send,
        }
        received = os.read(ORDERS, 65536)
        *lines, self._unread = (self._unread + received).split(b"\n")
        for line in lines:
            order = json.loads(line)
            try:
                obey[order.pop("do")](**order)
            except OSError as error:
                self.report(error=f"{error.strerror or error}: {error.filename or line.decode()}")
        return bool(received)

    def _make_scratch(self, path: str, uid: int | None, gid: int | None) -> None:
        os.mkdir(path, 0o700)
        self._scratch = path
        if uid is not None and gid is not None:
            os.chown(path, uid, gid)
        self.report(scratch=path)

    def _run(
        self,
        command: list[str],
        env: dict[str, str] | None,
        cwd: str | None,
        uid: int | None,
        gid: int | None,
        log: str | None,
        stop: list[tuple[int, float]],
        death_signal: int,
    ) -> None:
        """Start the program in a session of its own, where no Ctrl-C of the terminal reaches it.

        It writes to the file `log`, or to what the guardian itself was given as output.
        """
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644) if log else None
        guardian = os.getpid()

        def die_with_guardian() -> None:
            # Last, after the change of user: that would clear it.
            self._prctl(PR_SET_PDEATHSIG, death_signal)
            if os.getppid() != guardian:
                os._exit(1)

        try:
            self._program = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=uid,
                group=gid,
                extra_groups=None if uid is None else [],
                start_new_session=True,
                pass_fds=self._kept,
                preexec_fn=die_with_guardian,  # noqa: PLW1509 - safe: there is one thread
            )
        finally:
            self._release_output(output)
        self._stop = stop
        self.report(pid=self._program.pid)

    def _release_output(self, output: int | None) -> None:
        """Hold no output open: whoever reads it waits for the program's end, not for the guardian's."""
        if output is not None:
            os.close(output)
            return
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os.close(nothing)

    def _send(self, number: int) -> None:
        if self._program is not None:
            os.kill(self._program.pid, number)

    def _reap(self) -> None:
        """Collect every child that ended: the program, and orphans of it, which fall to the guardian."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._program is not None and pid == self._program.pid:
                self._program.returncode = os.waitstatus_to_exitcode(status)
                self.report(exit=self._program.returncode)
                self._program = None

    def _await_program(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._program is not None and (left := deadline - time.monotonic()) > 0:
            if select.select([self._wakeup], [], [], left)[0]:
                self._note_signals()

    def _sweep(self) -> None:
        """Kill the program's orphans. Only children of the guardian are, so no id can have been reused."""
        deadline = time.monotonic() + SWEEP_SECONDS
        while (orphans := self._children()) and time.monotonic() < deadline:
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
            select.select([self._wakeup], [], [], 0.1)
            self._note_signals()

    def _children(self) -> list[int]:
        self._reap()
        try:
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as children:
                return [int(pid) for pid in children.read().split()]
        except OSError:
            return []


def main() -> None:
    reports, parent, *kept = map(int, sys.argv[1:])
    for descriptor in (reports, *kept):
        os.set_inheritable(descriptor, False)
    guardian = Guardian(reports, parent, kept)
    try:
        guardian.serve()
    except Exception as error:
        guardian.report(error=repr(error))
        raise
    finally:
        guardian.end()


if __name__ == "__main__":
    main()
