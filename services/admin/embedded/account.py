"""Who a server runs as when root starts it: Postgres refuses root, and Valkey needs it for nothing."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from services.admin.embedded.errors import EmbeddedError

NOBODY = 65534


@dataclass(frozen=True)
class Account:
    """A user by number. It needs no entry in the system's list of users, and none is made."""

    uid: int
    gid: int

    def reaches(self, path: Path) -> bool:
        """Whether the modes of `path` and of every folder above it let this user read and enter it."""
        path = path.resolve()
        return all(self._allowed(folder, 0o1) for folder in path.parents) and self._allowed(path, 0o5)

    def _allowed(self, path: Path, wanted: int) -> bool:
        status = path.stat()
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid == self.gid else 0
        return (stat.S_IMODE(status.st_mode) >> shift) & wanted == wanted


def account_for(existing: Path | None) -> Account | None:
    """None if the server runs as the caller; for root, whoever owns the existing data, or nobody."""
    status = existing.stat() if existing is not None and existing.exists() else None
    if os.geteuid() == 0:
        return Account(status.st_uid, status.st_gid) if status and status.st_uid else Account(NOBODY, NOBODY)
    if status is not None and status.st_uid != os.geteuid():
        raise EmbeddedError(
            f"The data in {existing} belong to another user (uid {status.st_uid}): "
            "start the server as that user or as root, or choose another data folder"
        )
    return None


def make_folder(path: Path, account: Account | None) -> None:
    """Create a folder with mode 0700 that belongs to the account.

    Raises EmbeddedError if root may not give it away.
    """
    path.mkdir(mode=0o700)
    give(path, account)


def give(path: Path, account: Account | None) -> None:
    """Hand one file or folder of ours to the account. Raises EmbeddedError if root may not."""
    if account is None:
        return
    try:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    except OSError as error:
        raise EmbeddedError(
            f"As root, the server runs as uid {account.uid}, but {path} can't be handed to it "
            f"({error.strerror}): start it as an ordinary user"
        ) from error


def give_all(folder: Path, account: Account | None) -> None:
    """A private copy belongs to who runs it: then no mode matters, not even those of a strict umask."""
    give(folder, account)
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            give(Path(above, name), account)
