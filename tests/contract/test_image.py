"""The Dockerfile against the repository: no engine is needed to see that it would copy, build and install all."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.contract.image import ROOT, DockerIgnore, files_below, files_of_the_context, stages

STAGES = stages((ROOT / "Dockerfile").read_text())
IGNORE = DockerIgnore((ROOT / ".dockerignore").read_text())
BUILD, FINAL = STAGES[0], STAGES[-1]
SOURCES = [
    word
    for stage in STAGES
    for each in stage
    if each.keyword == "COPY" and not each.is_of_another_stage
    for word in each.words[:-1]
]
SCRIPTS = {
    script
    for project in ("pyproject.toml", "clients/python/pyproject.toml")
    for script in tomllib.loads((ROOT / project).read_text())["project"]["scripts"]
}


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_copied_is_there_and_let_through(source: str) -> None:
    files = files_below(ROOT / source)
    assert files, f"{source} is not there"
    kept_back = [each for each in files if not IGNORE.lets_through(each.relative_to(ROOT).as_posix())]
    assert kept_back == []


def test_nothing_that_is_not_copied_is_sent_to_the_builder() -> None:
    unused = [
        path
        for path in files_of_the_context(IGNORE)
        if not any(path == source or path.startswith(f"{source}/") for source in SOURCES)
    ]
    # Three lists of packages are one folder to .dockerignore; the image needs two of them.
    assert [path for path in unused if not path.startswith("requirements/")] == []


@pytest.mark.parametrize(
    "path", [".env", ".git/config", ".venv/bin/python", ".earmark/postgres/PG_VERSION", "services/__pycache__/a.pyc"]
)
def test_secrets_data_and_leavings_stay_out(path: str) -> None:
    assert not IGNORE.lets_through(path)


def test_every_package_is_pinned_by_hash() -> None:
    installs = [
        command.strip()
        for stage in STAGES
        for each in stage
        if each.keyword == "RUN"
        for command in each.arguments.split("&&")
        if " pip " in command and " check" not in command
    ]
    assert len(installs) == 4
    for command in installs:
        # Either with hashes, or without a network.
        assert ("--require-hashes" in command) != ("--no-index" in command), command


def test_it_runs_as_nobody_in_particular() -> None:
    users = [each.arguments for each in FINAL if each.keyword == "USER"]
    assert users
    assert all(part.isdigit() and int(part) > 0 for part in users[-1].split(":"))


def test_it_has_the_python_that_the_wheels_ask_for() -> None:
    assert {stage[0].words[0] for stage in STAGES} == {"python:3.11-slim"}
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"] == ">=3.11"


def test_its_command_is_a_script_of_a_wheel() -> None:
    [command] = [each.words for each in FINAL if each.keyword == "CMD"]
    assert command[0] in SCRIPTS


def test_the_wheels_build_from_what_is_let_through(tmp_path: Path) -> None:
    """As in the image: nothing but the context, and nothing fetched."""
    for path in files_of_the_context(IGNORE):
        copy = tmp_path / "context" / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, copy)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "wheel", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path)]
    done = subprocess.run(
        [*pip, *options, "./clients/python", "."],
        cwd=tmp_path / "context",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    contents = [set(zipfile.ZipFile(wheel).namelist()) for wheel in sorted(tmp_path.glob("*.whl"))]
    assert len(contents) == 2
    client, server = contents
    assert {"earmark/client.py", "earmark/v1/resources_pb2.py", "earmark/py.typed"} <= client
    wanted = [
        *(ROOT / "services/ledger/store/migrations").glob("*.sql"),
        *(ROOT / "services/admin/catalog").glob("*.csv"),
    ]
    assert wanted
    assert {each.relative_to(ROOT).as_posix() for each in wanted} <= server
    assert client & server == set(), "two wheels that hold the same file break each other"
