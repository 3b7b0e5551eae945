"""A child process of ours that dies with us."""

import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

from services.admin.embedded.guarded import Guarded, Output

KILL_SECONDS = 5.0


class Child:
    """A running child process. What is here behaves as in `subprocess.Popen`."""

    def __init__(self, guard: Guarded, command: Sequence[str]) -> None:
        self._guard = guard
        self.args = list(command)

    @property
    def pid(self) -> int:
        """The child's own process id."""
        return self._guard.pid

    @property
    def returncode(self) -> int | None:
        """What is known of its end: the exit code, negative for a signal; None before."""
        return self._guard.exit_code

    @property
    def stdout(self) -> IO[bytes] | None:
        """The child's output, if it was started with `PIPE`; bytes."""
        return self._guard.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        """The child's error output, if it was started with `PIPE`; bytes."""
        return self._guard.stderr

    def poll(self) -> int | None:
        """The exit code, or None while the child runs."""
        return self._guard.poll()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once the child has ended.

        Raises subprocess.TimeoutExpired after `timeout` seconds.
        """
        code = self._guard.wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens if the child has ended."""
        self._guard.send_signal(number)

    def terminate(self) -> None:
        """Ask it to stop: SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it: SIGKILL."""
        self.send_signal(signal.SIGKILL)


@contextmanager
def child(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdout: Output = None,
    stderr: Output = None,
    grace: float = 20.0,
) -> Iterator[Child]:
    """Run a command while the block runs, and never longer, even if this process is killed.

    `env` replaces the environment, `stdout` and `stderr` are as in `subprocess.Popen` (bytes). The child
    reads nothing, and is in a session of its own: Ctrl-C in the terminal does not reach it, so that the
    caller decides when it stops. At the end of the block it gets SIGTERM and, `grace` seconds later, SIGKILL;
    so do at once the processes it left behind.

    Raises EmbeddedError if the command can't be started.
    """
    guard = Guarded(stdout=stdout, stderr=stderr)
    try:
        stop = [(signal.SIGTERM, grace), (signal.SIGKILL, KILL_SECONDS)]
        guard.run(command, env=env, stop=stop)
        yield Child(guard, command)
    finally:
        guard.close()
