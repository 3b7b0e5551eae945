"""A Postgres primary with a synchronous standby, as real processes, and what can befall the two."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from services.admin import embedded
from services.admin.embedded.wire import PostgresError

DEADLINE_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.02
NO_SETTINGS: Final[Mapping[str, str]] = MappingProxyType({})
REPLICATION: Final = {
    # On both, so that a standby that was promoted waits for one of its own too.
    "synchronous_standby_names": "FIRST 1 (*)",
    "synchronous_commit": "on",
    "hot_standby": "on",
    "max_connections": "100",
    "wal_retrieve_retry_interval": "50ms",
    "wal_sender_timeout": "10s",
    "wal_receiver_timeout": "10s",
    "wal_keep_size": "512MB",
}
IN_SYNC: Final = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'"
CHECKPOINTER: Final = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
A_BACKEND: Final = """
SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walwriter')
ORDER BY backend_type, state = 'active' DESC NULLS LAST, xact_start LIMIT 1
"""

Node = embedded.Server


@dataclass(frozen=True)
class Place:
    """A machine, and what takes it away with all that is on it."""

    machine: embedded.Machine
    life: ExitStack


class Cluster:
    """Both servers. Every method blocks until it is done; call one at a time.

    They raise EmbeddedError if a server does not do its part within 30 s.
    """

    def __init__(self, tools: embedded.Tools, settings: Mapping[str, str], life: ExitStack) -> None:
        self._tools = tools
        self._settings = {**REPLICATION, **settings}
        self._life = life
        self._standby: Place | None = None
        self._paused: int | None = None
        self._primary = self._place()
        self._primary.machine.initialise()
        self.start_primary()
        self.seed_standby()

    @property
    def primary(self) -> Node:
        """As it runs, or ran last: its process id changes with each start, its port does not."""
        return self._primary.machine.server

    @property
    def standby(self) -> Node | None:
        """As it runs, or ran last; None from a promotion until the next is seeded."""
        return None if self._standby is None else self._standby.machine.server

    def crash_primary(self) -> None:
        """End it at once, as when the power fails."""
        self._primary.machine.crash()

    def start_primary(self) -> None:
        """Start it on the data it left, at the same port; returns when it answers.

        Until its standby is back, which takes a moment, it serves reads and no commit ends.
        """
        self._primary.machine.start(self._settings)

    def crash_backend(self) -> None:
        """Kill one backend, a busy one if there is one; returns when Postgres has thrown everybody out and recovered.

        Without any backend it is one of Postgres's own processes, with the same effect.
        """
        before = self._primary.machine.ask(CHECKPOINTER)
        found = self._primary.machine.ask(A_BACKEND)
        os.kill(int(found[0][0] or 0), signal.SIGKILL)
        _await("recover", lambda: self._primary.machine.ask(CHECKPOINTER) not in (before, []))

    def lose_standby(self) -> None:
        """End it at once; its data are kept. Commits hang from now on."""
        self._kill_paused()
        self._present_standby().machine.crash()

    def start_standby(self) -> None:
        """The one that was lost again; returns when commits wait for it, and go through."""
        self._present_standby().machine.start(self._settings)
        self.await_sync()

    def promote_standby(self) -> None:
        """Make it the primary, once the primary is gone for good with its data; returns when it accepts writes.

        One that was lost is started for it, with the data it has. No commit ends before a standby is seeded.
        """
        promoted = self._present_standby()
        self._primary.machine.crash()
        self._primary.life.close()
        self.resume_standby()
        if not promoted.machine.runs:
            promoted.machine.start(self._settings)
        promoted.machine.ask("SELECT pg_promote(false)")
        _await("promote", lambda: promoted.machine.ask("SELECT pg_is_in_recovery()") == [("f",)])
        self._primary, self._standby = promoted, None

    def seed_standby(self) -> None:
        """A new standby, from a copy of the primary as it is; returns when commits wait for it, and go through."""
        if self._standby is not None:
            self.lose_standby()
            self._standby.life.close()
        self._standby = self._place()
        self._standby.machine.copy_of(self.primary, "--checkpoint=fast", "--write-recovery-conf")
        self.start_standby()

    def pause_standby(self) -> None:
        """It is there, and takes nothing in: commits hang. The primary gives it up after 10 s."""
        found = self._present_standby().machine.ask("SELECT pid FROM pg_stat_wal_receiver")
        self._paused = int(found[0][0] or 0)
        os.kill(self._paused, signal.SIGSTOP)

    def resume_standby(self) -> None:
        """It takes in what it missed; nothing happens if it was not paused."""
        if self._paused is not None:
            os.kill(self._paused, signal.SIGCONT)
            self._paused = None

    def await_sync(self) -> None:
        """Returns when commits wait for the standby, and go through."""
        _await("replicate", lambda: self._primary.machine.ask(IN_SYNC) != [])

    def _place(self) -> Place:
        life = self._life.enter_context(ExitStack())
        return Place(life.enter_context(embedded.postgres_machine(self._tools)), life)

    def _present_standby(self) -> Place:
        if self._standby is None:
            raise embedded.EmbeddedError("There is no standby: seed one")
        return self._standby

    def _kill_paused(self) -> None:
        """A paused process ends by nothing else."""
        if self._paused is not None:
            os.kill(self._paused, signal.SIGKILL)
            self._paused = None


@contextmanager
def cluster(settings: Mapping[str, str] = NO_SETTINGS) -> Iterator[Cluster]:
    """A primary and a standby in sync with it, with an empty database `earmark`; nothing of them remains.

    `settings` are Postgres's, for both. Raises EmbeddedError if they can't be started.
    """
    with embedded.postgres_tools(["pg_basebackup"]) as tools, ExitStack() as life:
        both = Cluster(tools, settings, life)
        try:
            yield both
        finally:
            both.resume_standby()


def _await(what: str, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not _answers(done):
        if time.monotonic() > deadline:
            raise embedded.EmbeddedError(f"Postgres did not {what} within {DEADLINE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def _answers(done: Callable[[], bool]) -> bool:
    """What is asked, and False while nobody answers."""
    try:
        return done()
    except (OSError, PostgresError):
        return False
