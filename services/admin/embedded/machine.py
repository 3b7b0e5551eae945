"""Postgres as an operator has it: the tools that come with it, and servers that crash and start again."""

import random
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.admin.embedded.account import Account, give_all, make_folder
from services.admin.embedded.binaries import postgres_programs
from services.admin.embedded.errors import AddressInUseError, EmbeddedError
from services.admin.embedded.postgresql import (
    DATABASE,
    NO_SETTINGS,
    STOP_INITIALISING,
    USER,
    forget_stale_process,
    initialise,
    start,
)
from services.admin.embedded.wire import Row, postgres_execute
from services.admin.embedded.workplace import HOST, PORT_TRIES, Server, Workplace, workplace

TOOLS = ("createdb", "pg_basebackup", "pg_dump", "pg_restore")
PORTS = range(10000, 30000)
"""Below those that systems give to outgoing connections: a port must still be free when a server comes back, and a
client that tries a port nobody listens at must not meet itself there."""
END_SECONDS = 15.0


class Tools:
    """Postgres's programs, and a folder that its servers and tools may write to."""

    def __init__(self, place: Workplace, programs: Path) -> None:
        self._place = place
        self.programs = programs

    @property
    def account(self) -> Account | None:
        return self._place.account

    def make_folder(self, name: str) -> Path:
        """A new, empty folder, which is removed with these tools."""
        folder = self._place.scratch / name
        make_folder(folder, self.account)
        return folder

    def run(self, tool: str, *arguments: str) -> None:
        """Run a tool to its end. Raises EmbeddedError with the end of what it said if it fails."""
        self._place.run([str(self.programs / tool), *arguments], self._place.scratch, STOP_INITIALISING)


class Machine:
    """Where one server works. It keeps its data and its port until the end of the block, whatever it goes through."""

    def __init__(self, place: Workplace, tools: Tools) -> None:
        self._place = place
        self._programs = tools.programs
        self._port = 0
        self._server: Server | None = None

    @property
    def server(self) -> Server:
        """As it runs, or ran last."""
        if self._server is None:
            raise EmbeddedError("The server has not been started")
        return self._server

    @property
    def data_folder(self) -> Path:
        return self._place.data

    def initialise(self) -> None:
        """Make a new, empty cluster. Raises EmbeddedError if it fails."""
        initialise(self._place, self._programs, sync=True)

    def copy_of(self, server: Server, *arguments: str) -> None:
        """Take over a server's data by pg_basebackup, while that server works."""
        command = ["pg_basebackup", f"--dbname={server.url}", f"--pgdata={self.data_folder}", *arguments]
        self._place.run([str(self._programs / command[0]), *command[1:]], self._place.home, STOP_INITIALISING)

    def take(self, data: Path) -> None:
        """Start later from a copy of what pg_basebackup has put into a folder, and recover it as the settings say."""
        shutil.copytree(data, self.data_folder, symlinks=True)
        (self.data_folder / "recovery.signal").touch()
        give_all(self.data_folder, self._place.account)

    def start(self, settings: Mapping[str, str] = NO_SETTINGS, *, port: int = 0) -> Server:
        """Start on the data that are there; returns when it answers. `port` 0 is the one of last time, or a free one.

        Raises AddressInUseError if the port is taken, EmbeddedError with the end of its log if it does not answer
        within 30 s.
        """
        forget_stale_process(self.data_folder)
        self._server = self._started(port or self._port, settings)
        self._port = self._server.port
        return self._server

    def stop(self) -> None:
        """In good order, as for a planned restart; nothing happens if it does not run."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """At once, leaving the data as they are on disk; nothing happens if it does not run."""
        # Not SIGKILL, which would leave shared memory behind, and backends that work on for a moment.
        self._end(signal.SIGQUIT)

    @property
    def runs(self) -> bool:
        return self._server is not None and self._place.guard.poll() is None

    def ask(self, statement: str) -> list[Row]:
        """The rows of one statement. Raises PostgresError if the server refuses, OSError if it is not there."""
        return postgres_execute((HOST, self.server.port), USER, DATABASE, statement)

    def _started(self, port: int, settings: Mapping[str, str]) -> Server:
        for _ in range(PORT_TRIES - 1):
            try:
                return start(self._place, self._programs, port or _free_port(), settings)
            except AddressInUseError:
                if port:
                    raise
        return start(self._place, self._programs, port or _free_port(), settings)

    def _end(self, number: signal.Signals) -> None:
        if not self.runs:
            return
        self._place.guard.send_signal(number)
        if self._place.guard.wait(END_SECONDS) is None:
            raise EmbeddedError(f"Postgres did not end within {END_SECONDS:.0f} s:\n{self._place.log_tail()}")


@contextmanager
def postgres_tools(names: Sequence[str] = TOOLS) -> Iterator[Tools]:
    """The programs of PostgreSQL 18 named here, and the server, while the block runs.

    Started by root, everything runs as uid 65534. Raises EmbeddedError if the package is missing.
    """
    with workplace("tools", None) as place:
        yield Tools(place, postgres_programs(place.account, place.scratch, names))


@contextmanager
def postgres_machine(tools: Tools) -> Iterator[Machine]:
    """A place for a server, with no data yet. At the end of the block, or of this process, nothing remains."""
    with workplace("postgres", None) as place:
        yield Machine(place, tools)


def _free_port() -> int:
    """One that nobody uses now."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
