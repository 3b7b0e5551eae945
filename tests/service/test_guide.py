"""The guide does what it says: each of its blocks is run, on a real Earmark, and prints what is shown below it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess, run

import pytest

from earmark.errors import EarmarkError
from earmark.testing import Server
from tests.contract.image import ROOT
from tests.contract.page import code, sections
from tests.support.guide import blocks

GUIDE = ROOT / "docs" / "guide"
PAGES = sorted(GUIDE.glob("*.md"))
README = ROOT / "clients" / "python" / "README.md"
SECONDS = 60


@pytest.fixture(scope="module")
def started() -> Iterator[Server]:
    with Server(catalog="sample") as server:
        yield server


@pytest.fixture
def server(started: Server) -> Server:
    """As `make up` leaves it to the reader: the sample catalogue, and no customer yet."""
    started.reset()
    return started


def read_and_follow(page: Path, server: Server, folder: Path, *languages: str) -> "CompletedProcess[str]":
    """Does what a page says, somewhere else than in the repository. A warning is an error."""
    runner = ROOT / "tests" / "support" / "guide.py"
    return run(
        [sys.executable, "-P", "-W", "error", runner, page, *languages],
        cwd=folder,
        env={**os.environ, "EARMARK_ADDRESS": server.address},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_of_the_guide_does_what_it_says(page: Path, server: Server, tmp_path: Path) -> None:
    done = read_and_follow(page, server, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(blocks(page.read_text()))


def test_the_clients_readme_does_what_it_says(server: Server, tmp_path: Path) -> None:
    done = read_and_follow(README, server, tmp_path, "python")
    assert done.returncode == 0, done.stderr
    found = [block.language for block in blocks(README.read_text())]
    assert int(done.stdout) == found.count("python") > 0


def test_the_guide_has_something_to_run_and_its_index_names_every_page() -> None:
    index = (GUIDE / "README.md").read_text()
    for page in PAGES:
        if page.name != "README.md":
            assert f"]({page.name})" in index
            found = blocks(page.read_text())
            assert any(block.shown for block in found if block.language == "python"), page.name


def test_what_to_do_on_each_error_is_complete() -> None:
    page = sections(GUIDE / "correct-callers.md")
    tables = [table for section in page.values() for table in section.tables if "class" in table[0]]
    rows = [(code(row["class"])[0], "".join(code(row["reason"]))) for table in tables for row in table]
    reasons = {(kind.__name__, reason) for reason, kind in EarmarkError.reasons.items()}
    without_a_reason = {(kind.__name__, "") for kind in EarmarkError.bare_codes.values()}
    assert sorted(rows) == sorted(reasons | without_a_reason)


FAULTS = {
    "a block that fails": ("```python\nprint(1)\n1 / 0\n```\n", "page.md:1: this fails"),
    "its line in the page": ("Words.\n\n```python\nprint(1)\n1 / 0\n```\n", 'page.md", line 5, in <module>'),
    "a block that leaves early": ("```python\nraise SystemExit\n```\n", "page.md:1: this fails"),
    "what Earmark refuses": (
        '```python\nimport earmark.sync\n\nwith earmark.sync.Client("127.0.0.1:50051") as client:\n'
        '    client.get_usage("nobody")\n```\n',
        "OrganizationNotFound",
    ),
    "another output": ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "page.md:1: this prints something else"),
    "no output": ("```python\n```\n\n```text\n2\n```\n", "page.md:1: this prints something else"),
    "another output of a command": ("```sh\necho 1\n```\n```text\n2\n```\n", "page.md:1: this prints something else"),
    "a command that fails": ("```sh\nfalse\ntrue\n```\n", "page.md:1: this ends with status 1"),
    "what the command line refuses": ("```sh\nearmark usage nobody\n```\n", "this ends with status 4"),
    "a warning": ('```python\nimport warnings\n\nwarnings.warn("old")\n```\n', "UserWarning: old"),
    "a language that nobody runs": ("```javascript\n1\n```\n", "page.md:1: nobody can run 'javascript'"),
    "a block to be passed over": ("```python no-run\n1\n```\n", "page.md:1: nobody can run 'python no-run'"),
    "a block in no language": ("```\n1\n```\n", "page.md:1: nobody can run ''"),
    "output that no block prints": ("```text\n1\n```\n", "page.md:1: no block prints this"),
    "a block in a list": ("- It:\n\n  ```python\n  1 / 0\n  ```\n", "page.md:3: this fails"),
    "a block between tildes": ("~~~python\n1 / 0\n~~~\n", "page.md:1: this fails"),
    "a block that does not end": ("```python\nprint(1)\n", "page.md:1: this block does not end"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_page_that_does_not_hold_is_found(fault: str, started: Server, tmp_path: Path) -> None:
    text, message = FAULTS[fault]
    page = tmp_path / "page.md"
    page.write_text(text)
    done = read_and_follow(page, started, tmp_path)
    assert done.returncode == 1
    assert message in done.stderr


def test_blocks_share_what_they_define_and_find_what_they_should(server: Server, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 1\n```\n```python\nprint(x)\n```\n```text\n1\n```\n"
        f"```sh\ncommand -v earmark\n```\n```text\n{Path(sys.executable).with_name('earmark')}\n```\n"
        "```sh\necho 127.0.0.1:50051\n```\n"
        f"```text\n{server.address}\n```\n"
    )
    done = read_and_follow(page, server, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4\n"
