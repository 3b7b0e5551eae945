"""Backups of a server as an operator takes them, with Postgres's own tools, and servers restored from them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from services.admin import embedded

ARCHIVE_SECONDS: Final = "60"


class Vault:
    """Where backups are: with no server, so that they outlive every server."""

    def __init__(self, tools: embedded.Tools) -> None:
        self._tools = tools
        self._wal = tools.make_folder("wal")

    @property
    def archiving(self) -> dict[str, str]:
        """The settings of a server whose write-ahead log is to be kept here."""
        return {
            "archive_mode": "on",
            "archive_command": f"test ! -f {self._wal}/%f && cp %p {self._wal}/%f",
            "archive_timeout": ARCHIVE_SECONDS,
        }

    def base_backup(self, server: embedded.Server, name: str = "base") -> Path:
        """Taken while the server works."""
        folder = self._wal.with_name(name)
        self._tools.run("pg_basebackup", f"--dbname={server.url}", f"--pgdata={folder}", "--checkpoint=fast")
        return folder

    @contextmanager
    def restored(self, base: Path, *, port: int = 0, **target: str) -> Iterator[embedded.Machine]:
        """A new server, recovered from the backup and the log up to the target, or to its end without one.

        Its own log is kept here too.
        """
        settings = {
            **self.archiving,
            "restore_command": f"cp {self._wal}/%f %p",
            # Nobody gets in before all is as it was.
            "hot_standby": "off",
            **({"recovery_target_action": "promote"} if target else {}),
            **target,
        }
        with embedded.postgres_machine(self._tools) as machine:
            machine.take(base)
            machine.start(settings, port=port)
            yield machine

    def dump(self, url: str) -> Path:
        """One database, as it is at one instant, while calls go on."""
        file = self._wal.with_name("earmark.dump")
        self._tools.run("pg_dump", f"--dbname={url}", "--format=custom", f"--file={file}")
        return file

    def load(self, dump: Path, server: embedded.Server, name: str) -> str:
        """Into a new database of that name, all of it or nothing; the database's URL."""
        url = server.url.rpartition("/")[0] + f"/{name}"
        self._tools.run("createdb", f"--maintenance-db={server.url}", name)
        self._tools.run("pg_restore", f"--dbname={url}", "--single-transaction", str(dump))
        return url


@contextmanager
def vault() -> Iterator[Vault]:
    """A place for backups, which is gone after the block."""
    with embedded.postgres_tools() as tools:
        yield Vault(tools)
