"""A real Valkey, which speaks Redis's protocol, for development, demonstration and tests."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.admin.embedded.account import make_folder
from services.admin.embedded.binaries import valkey_program
from services.admin.embedded.wire import valkey_process
from services.admin.embedded.workplace import ENVIRONMENT, HOST, Server, Workplace, on_free_port, workplace

STOP = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))


@contextmanager
def redis(data_folder: Path | None = None, *, port: int = 0) -> Iterator[Server]:
    """Run Valkey while the block runs.

    Data are kept in `data_folder/redis` (an append-only file, synced every second) and used again the next
    time; without a folder nothing is kept. `port` 0 takes a free one. The server listens on 127.0.0.1 only,
    but there asks for no password: every user of this machine can use it. That is for development;
    production names its own server by URL.

    Started by root, it runs as the owner of the existing data or as uid 65534. It stops with the block, or
    with this process however that ends.

    Raises FolderInUseError if another server works in the folder, AddressInUseError if the port is taken,
    EmbeddedError if a package is missing or the server does not answer within 30 s.
    """
    with workplace("redis", data_folder) as place:
        program = valkey_program(place.account, place.scratch)
        if not place.data.exists():
            make_folder(place.data, place.account)
        keeps = data_folder is not None
        yield on_free_port(port, lambda chosen: _start(place, program, chosen, keeps=keeps))


def _start(place: Workplace, program: Path, port: int, *, keeps: bool) -> Server:
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": ".",
        "save": "",
        "appendonly": "yes" if keeps else "no",
        "daemonize": "no",
    }
    pid = place.guard.run(
        [str(program), *(part for name, value in options.items() for part in (f"--{name}", value))],
        stop=STOP,
        env=ENVIRONMENT,
        cwd=place.data,
        account=place.account,
        log=place.log,
    )
    place.await_ready(lambda: _answers(pid, port))
    return Server(f"redis://{HOST}:{port}/0", HOST, port, place.data, pid)


def _answers(pid: int, port: int) -> bool:
    """Whether our server, and not another one on that port, answers."""
    try:
        return valkey_process((HOST, port)) == pid
    except OSError:
        return False
