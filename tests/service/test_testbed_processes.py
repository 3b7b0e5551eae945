"""The processes behind `earmark.testing`: how they start, what they say, and that they end, whatever ends first."""

import json
import os
import signal
import subprocess
import sys
import venv
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

import pytest

import earmark.sync
from earmark.errors import Unreachable
from earmark.testing import Server, ServerError, ServerNotInstalled
from tests.support.descendants import all_end, descendants
from tests.support.own_tests import EMPTY_EACH_TIME, INTERRUPTED, WITH_A_CATALOGUE, run_pytest
from tests.support.processes import ADMIN, environment
from tests.support.service_stories import DAY

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="watches processes by pidfd and /proc")

ORPHANED = """
import os, signal
from earmark.testing import Server
server = Server()
if "fork" in os.environ and not os.fork():
    signal.pause()  # It has a copy of all pipes.
print("up", flush=True)
signal.pause()
"""


@needs_linux
def test_closing_twice_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says of servers elsewhere has no part in it."""
    monkeypatch.setenv("EARMARK_DATABASE_URL", "postgresql://127.0.0.1:1/nobody-elses")
    monkeypatch.setenv("EARMARK_CALLS_MAX", "0")
    monkeypatch.setenv("PGSSLMODE", "require")
    before = set(descendants(os.getpid()))
    server = Server()
    pids = set(descendants(os.getpid())) - before
    assert len(pids) >= 4  # Itself, Postgres, Redis, and who guards them.
    with all_end(pids):
        server.close()
        server.close()
    with pytest.raises(ServerError, match="the server was closed"):
        server.now()


@needs_linux
def test_a_server_that_dies_takes_everything_with_it_and_is_an_error() -> None:
    before = set(descendants(os.getpid()))
    with Server() as server:
        with all_end(set(descendants(os.getpid())) - before):
            [main] = [each for each in descendants(os.getpid()) if each not in before and _parent(each) == os.getpid()]
            os.kill(main, signal.SIGKILL)
        with pytest.raises(ServerError, match="the server ended with status -9"):
            server.advance(DAY)
        with earmark.sync.Client(server.address, timeout_seconds=1) as client, pytest.raises(Unreachable):
            client.create_organization("o-1")


@needs_linux
@pytest.mark.parametrize("fork", [False, True], ids=["alone", "with a copy of its pipes"])
def test_tests_that_are_killed_leave_nothing_behind(fork: bool) -> None:
    env = {**os.environ, **({"fork": "1"} if fork else {})}
    with subprocess.Popen([sys.executable, "-c", ORPHANED], stdout=subprocess.PIPE, env=env) as tests:
        assert tests.stdout is not None
        assert tests.stdout.readline() == b"up\n"
        children = [each for each in descendants(tests.pid) if _parent(each) == tests.pid]
        forked = [each for each in children if Path(f"/proc/{each}/cmdline").read_bytes().count(b"testbed") == 0]
        assert len(forked) == fork
        try:
            with all_end(set(descendants(tests.pid)) - set(forked)):
                tests.kill()
        finally:
            for each in forked:
                os.kill(each, signal.SIGKILL)


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    catalog = tmp_path / "offerings.csv"
    with pytest.raises(ServerError, match=r"status 1; .*\n.*No such file or directory: .*offerings\.csv"):
        Server(catalog=catalog)
    catalog.write_text("offering_id,price\nx,1\n")
    with pytest.raises(ServerError, match=r"status 1; .*\n.*line 1: the columns must be"):
        Server(catalog=catalog)


def test_without_the_servers_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "services" / "admin").mkdir(parents=True)  # As somebody may have one, which is not Earmark's.
    (tmp_path / "services" / "admin" / "__main__.py").write_text("raise SystemExit('not Earmark')")
    with pytest.raises(ServerNotInstalled, match=r"pip install 'earmark-client\[testing\]'") as caught:
        Server()
    assert "not Earmark" not in str(caught.value)


@pytest.mark.parametrize("tests", [EMPTY_EACH_TIME, WITH_A_CATALOGUE], ids=["empty", "catalogue"])
def test_the_fixtures_of_pytest(tmp_path: Path, tests: str) -> None:
    done = run_pytest(tmp_path, tests)
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_who_interrupts_the_tests_leaves_the_server_to_their_fixtures(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, INTERRUPTED)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    assert "ended at 2" in done.stdout
    assert "KeyboardInterrupt" in done.stdout
    assert done.stderr == ""


@needs_linux
def test_the_lines_that_any_language_can_speak() -> None:
    command = [sys.executable, "-m", ADMIN, "testbed"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        greeting = _said(process.stdout)
        assert greeting.keys() == {"address", "redis_url", "now"}
        lines = [
            '{"do": "advance", "seconds": 86400.5}',
            '{"do": "dance"}',
            '{"do": "advance"}',
            '{"do": "advance", "seconds": "1"}',
            '{"do": "advance", "seconds": NaN}',
            '{"do": "advance", "seconds": 1e30}',
            "{",
            "",
            '{"do": "now"}',
            '{"do": "reset"}',
        ]
        process.stdin.write("".join(f"{line}\n" for line in lines))  # All at once: the answers come in order.
        advanced, *wrong, now, reset = [_said(process.stdout) for _ in lines]
        began = datetime.fromisoformat(greeting["now"])
        assert began + timedelta(seconds=86400.5) < datetime.fromisoformat(advanced["now"])
        assert [list(each) for each in wrong] == [["error"]] * 7
        assert 'a request is {"do": "now"}, ' in wrong[0]["error"]
        assert datetime.fromisoformat(advanced["now"]) < datetime.fromisoformat(now["now"])
        assert datetime.fromisoformat(reset["now"]) < began + DAY
        with all_end(descendants(process.pid)):
            process.stdin.close()
        assert process.wait(20) == 0


def _said(output: IO[str]) -> dict[str, str]:
    said: dict[str, str] = json.loads(output.readline())
    return said


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
