"""What both servers need around them: a folder, its lock, an account, a guardian, a port, a time limit."""

import fcntl
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.admin.embedded.account import Account, account_for
from services.admin.embedded.binaries import scratch_root
from services.admin.embedded.errors import AddressInUseError, EmbeddedError, FolderInUseError
from services.admin.embedded.guarded import Guarded, StopSteps, guarded

HOST = "127.0.0.1"
READY_SECONDS = 30.0
LOCK_SECONDS = 5.0
PORT_TRIES = 10
POLL_SECONDS = 0.02
LOG_TAIL_LINES = 20
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class Server:
    """A server that answers, on this machine's loopback address only."""

    url: str
    host: str
    port: int
    data_folder: Path
    """Where the server itself keeps its data: within the folder that was asked for."""
    pid: int


@dataclass(frozen=True)
class Workplace:
    """Where one server works, and as whom. `scratch` is removed at the end, `home` holds data and log."""

    name: str
    home: Path
    scratch: Path
    account: Account | None
    guard: Guarded

    @property
    def data(self) -> Path:
        return self.home / self.name

    @property
    def log(self) -> Path:
        return self.home / f"{self.name}.log"

    def named_for_server(self, folder: Path) -> str:
        """How the server names `folder`, which is also its working directory when it starts.

        Under a folder that its account can't enter (a clone in root's home), only the working
        directory itself, entered while still root, is within reach.
        """
        if self.account is None or self.account.reaches(folder):
            return str(folder)
        if sys.platform != "linux":
            raise EmbeddedError(
                f"As root, the server runs as uid {self.account.uid}, which can't enter {folder}: "
                "choose a data folder which every user can reach"
            )
        return "/proc/self/cwd"

    def run(self, command: Sequence[str], cwd: Path, stop: StopSteps) -> None:
        """Run a program to its end. Raises EmbeddedError with the end of its log if it fails."""
        self.guard.run(
            command,
            stop=stop,
            death_signal=stop[0][0],
            env=ENVIRONMENT,
            cwd=cwd,
            account=self.account,
            log=self.log,
        )
        code = self.guard.wait(READY_SECONDS)
        if code != 0:
            fate = f"ended with {code}" if code is not None else f"took more than {READY_SECONDS:.0f} s"
            raise EmbeddedError(f"{Path(command[0]).name} {fate}:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines that were logged."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "(nothing was logged)"
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def await_ready(self, answers: Callable[[], bool]) -> None:
        """Wait until the server answers.

        Raises AddressInUseError if its port is taken, EmbeddedError if it ends or takes too long; both with
        the end of its log.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not answers():
            if self.guard.wait(POLL_SECONDS) is not None:
                tail = self.log_tail()
                taken = "Address already in use" in tail
                kind = AddressInUseError if taken else EmbeddedError
                raise kind(f"{self.name} did not start:\n{tail}")
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self.name} did not answer within {READY_SECONDS:.0f} s:\n{self.log_tail()}")


@contextmanager
def workplace(name: str, data_folder: Path | None) -> Iterator[Workplace]:
    """Prepare for a server; at the end stop it. Without a data folder, nothing of it remains.

    Raises FolderInUseError if a server works in the data folder, EmbeddedError if the folder is no good.
    """
    with ExitStack() as stack:
        home = None if data_folder is None else _opened(data_folder)
        keep = [] if home is None else [stack.enter_context(_locked(home / f"{name}.lock", home))]
        account = account_for(None if home is None else home / name)
        guard = stack.enter_context(guarded(keep))
        scratch = scratch_root(account) / f"earmark-{name}-{secrets.token_hex(6)}"
        guard.make_scratch(scratch, account)
        place = Workplace(name, home or scratch, scratch, account, guard)
        place.log.unlink(missing_ok=True)
        yield place


def on_free_port(port: int, start: Callable[[int], Server]) -> Server:
    """Start on `port`, or on a free one if it is 0, trying others should somebody else be quicker.

    Raises AddressInUseError if the port that was asked for is taken.
    """
    for _ in range(PORT_TRIES - 1):
        try:
            return start(port or _free_port())
        except AddressInUseError:
            if port:
                raise
    return start(port or _free_port())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _opened(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedError(f"The data folder {folder} can't be used: {error.strerror}") from error
    return folder.resolve()


@contextmanager
def _locked(path: Path, home: Path) -> Iterator[int]:
    """Hold the lock of a data folder. The kernel drops it with its last holder, the server.

    It is worth a moment's wait: a server whose parent was killed is still stopping.
    """
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise EmbeddedError(f"The data folder {home} can't be used: {error.strerror}") from error
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _lock(lock):
            if time.monotonic() > deadline:
                raise FolderInUseError(
                    f"Another server works in the data folder {home}: stop it, or choose another folder"
                )
            time.sleep(POLL_SECONDS)
        yield lock
    finally:
        os.close(lock)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
