"""A real Postgres for development, demonstration and tests."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from services.admin.embedded.account import make_folder
from services.admin.embedded.binaries import postgres_programs
from services.admin.embedded.wire import PostgresError, postgres_execute
from services.admin.embedded.workplace import ENVIRONMENT, HOST, Server, Workplace, on_free_port, workplace

USER = "earmark"
DATABASE = "earmark"
NO_SUCH_DATABASE = "3D000"
STOP = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))
# Gently at first: killed, Postgres's own helpers would leave shared memory behind.
STOP_INITIALISING = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


@contextmanager
def postgres(
    data_folder: Path | None = None, *, port: int = 0, settings: Mapping[str, str] = NO_SETTINGS
) -> Iterator[Server]:
    """Run PostgreSQL 18 while the block runs, with an empty database `earmark` at first.

    Data are kept in `data_folder/postgres` and used again the next time; without a folder nothing is kept.
    `port` 0 takes a free one. `settings` are Postgres's own, for this run. UTF-8, locale C, timezone UTC.
    The server listens on 127.0.0.1 only, but there asks for no password: every user of this machine can log
    in, as superuser. That is for development; production names its own server by URL.

    Started by root, it runs as the owner of the existing data or as uid 65534; no account is created and no
    existing folder changes its mode. It stops with the block, or with this process however that ends.

    Raises FolderInUseError if another server works in the folder, AddressInUseError if the port is taken,
    EmbeddedError if a package is missing or the server does not answer within 30 s.
    """
    with workplace("postgres", data_folder) as place:
        programs = postgres_programs(place.account, place.scratch)
        if not place.data.exists():
            initialise(place, programs, sync=data_folder is not None)
        forget_stale_process(place.data)
        yield on_free_port(port, lambda chosen: start(place, programs, chosen, settings))


def initialise(place: Workplace, programs: Path, *, sync: bool) -> None:
    """Make a cluster under another name first: half a cluster is never mistaken for one."""
    unfinished = place.home / "postgres.new"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    make_folder(unfinished, place.account)
    command = [
        str(programs / "initdb"),
        f"--pgdata={place.named_for_server(unfinished)}",
        f"--username={USER}",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-instructions",
    ]
    place.run(command if sync else [*command, "--no-sync"], unfinished, STOP_INITIALISING)
    unfinished.rename(place.data)


def start(place: Workplace, programs: Path, port: int, settings: Mapping[str, str]) -> Server:
    """Start on the data of `place`; returns when it answers. Raises as `postgres` does."""
    chosen = {
        "timezone": "UTC",
        "log_timezone": "UTC",
        **settings,
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": "",
    }
    options = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
    pid = place.guard.run(
        [str(programs / "postgres"), "-D", place.named_for_server(place.data), *options],
        stop=STOP,
        # Not SIGKILL, which would leave the server's shared memory behind.
        death_signal=signal.SIGQUIT,
        env=ENVIRONMENT,
        cwd=place.data,
        account=place.account,
        log=place.log,
    )
    place.await_ready(lambda: _answers(place.data, pid, port))
    return Server(f"postgresql://{USER}@{HOST}:{port}/{DATABASE}", HOST, port, place.data, pid)


def _answers(data: Path, pid: int, port: int) -> bool:
    """Whether our server, and not another one on that port, lets us into the database.

    The database is created if it isn't there: on the first start, or after one that was cut short.
    """
    lines = _process_file(data)
    if len(lines) < 8 or lines[0] != str(pid) or lines[7].strip() != "ready":
        return False
    try:
        _enter_database((HOST, port))
    except (PostgresError, OSError):
        return False
    return True


def _enter_database(address: tuple[str, int]) -> None:
    try:
        postgres_execute(address, USER, DATABASE)
    except PostgresError as error:
        if error.code != NO_SUCH_DATABASE:
            raise
        postgres_execute(address, USER, "postgres", f'CREATE DATABASE "{DATABASE}"')


def forget_stale_process(data: Path) -> None:
    """Postgres won't start if the process id that a crash left on file now belongs to another program.

    Our lock says that no server of ours lives; a Postgres that somebody else started here has its
    working directory here.
    """
    lines = _process_file(data)
    if sys.platform != "linux" or not lines:
        return
    process = Path("/proc", lines[0])
    try:
        stale = process.exists() and not os.path.samefile(process / "cwd", data)
    except OSError:
        stale = True
    if stale:
        (data / "postmaster.pid").unlink()


def _process_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []
