"""The documents hold: links lead somewhere, commands exist, and the README's first calls do what it says."""

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path

import click
import pytest
from google.protobuf.json_format import Parse

from earmark.cli import main as earmark_cli
from earmark.v1.allocation_service_pb2 import EnableAllocationRequest
from services.admin.__main__ import cli as admin_cli
from services.admin.catalog_file import SAMPLE_CATALOG, load_catalog
from services.allocator.server import AllocatorServer
from services.ledger.rules import limits
from services.ledger.store.database import Connection
from tests.contract.image import ROOT
from tests.contract.page import code, doc, sections

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "clients").rglob("*.md")],
    key=lambda path: path.as_posix(),
)
README = (ROOT / "README.md").read_text()
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
COMMANDS = {"earmark": earmark_cli, "earmark-admin": admin_cli}
USUAL_ADDRESS = "127.0.0.1:50051"


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchor(heading: str) -> str:
    """As the page's viewers make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def command_lines(text: str) -> list[list[str]]:
    """What is to be typed: in fenced blocks, and between backticks where it begins with a program of ours."""
    lines = [line for _, block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`((?:earmark|earmark-admin|make) [^`]+)`", FENCE.sub("", text))
    found = [shlex.split(line.removesuffix(" &"), comments=True) for line in lines if is_ours(line)]
    return [[each for each in words if "=" not in each or each.startswith("-")] for words in found]


def is_ours(line: str) -> bool:
    return bool(re.match(r"(?:\w+=\S+ )?(?:\.venv/bin/)?(?:earmark|earmark-admin|make)(?: |$)", line))


def check_command(command: click.Command, arguments: list[str]) -> None:
    """Follows the names of commands, and looks each option up. A name in capitals stands for any."""
    flags = {name: getattr(each, "is_flag", False) for each in command.params for name in each.opts}
    words = iter(arguments)
    for word in words:
        if word == "|":
            return
        if word == "--help":
            continue
        if word.startswith("--"):
            assert word in flags, f"{command.name} has no {word}"
            if not flags[word]:
                next(words, None)  # Its value.
        elif isinstance(command, click.Group) and not word.isupper():
            sub = command.get_command(click.Context(command), word)
            assert sub is not None, f"{command.name} has no {word}"
            check_command(sub, list(words))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(FENCE.sub("", path.read_text())):
        file, _, fragment = link.partition("#")
        if "://" in link:
            continue
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if fragment:
            assert fragment in {anchor(heading) for heading in sections(target)}, link


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_exist(path: Path) -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    for program, *arguments in command_lines(path.read_text()):
        if program == "make":
            assert set(arguments[:1]) <= targets, arguments
        else:
            check_command(COMMANDS[Path(program).name], arguments)


def test_the_readme_is_seen_through() -> None:
    typed = [" ".join(words[:2]) for words in command_lines(README)]
    assert {"make demo", "make up", ".venv/bin/earmark buy", "make test"} <= set(typed)


@pytest.fixture
async def address(allocator: AllocatorServer, connection: Connection) -> str:
    """An allocator with the sample catalogue, as after `make up`."""
    await load_catalog(connection, SAMPLE_CATALOG)
    return allocator.address


async def run(*command: str, address: str) -> str:
    environment = {**os.environ, "EARMARK_ADDRESS": address}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_the_first_call_from_python_prints_what_the_readme_says(address: str) -> None:
    [(index, program)] = [
        (index, text) for index, (language, text) in enumerate(FENCE.findall(README)) if language == "python"
    ]
    _, expected = FENCE.findall(README)[index + 1]
    assert USUAL_ADDRESS in program
    assert await run(sys.executable, "-c", program.replace(USUAL_ADDRESS, address), address=address) == expected


async def test_the_first_calls_on_the_command_line_succeed(address: str) -> None:
    earmark = str(Path(sys.executable).with_name("earmark"))
    typed = [words for words in command_lines(README) if words[0] == ".venv/bin/earmark"]
    assert len(typed) == 5
    for _, *arguments in typed:
        await run(earmark, *arguments, address=address)
    looks = [words[1:] for words in command_lines(README) if words[0] == "earmark" and len(words) > 2]
    assert [each[0] for each in looks] == ["usage", "history", "forecast", "watch"]
    for arguments in looks[:-1]:
        await run(earmark, *arguments, address=address)


def test_the_first_call_with_grpcurl_is_a_request() -> None:
    [body] = re.findall(r"grpcurl -plaintext -d '([^']+)'", README)
    request = Parse(body, EnableAllocationRequest())
    assert (request.parent, request.units) == ("organizations/second", 300)
    assert f"{USUAL_ADDRESS} earmark.v1.AllocationService/EnableAllocation" in README


def test_every_limit_is_in_the_table() -> None:
    names = {name for name in vars(limits) if name.isupper() and name != "UTC" and not name.endswith("_PATTERN")}
    rows = {code(row["name"])[0]: row["value"] for row in doc("architecture.md")["Limits"].table}
    assert rows.keys() == names
    for name, value in rows.items():
        limit = getattr(limits, name)
        if isinstance(limit, int) and 0 < limit < 10**6 and name != "ANSWER_BYTES_MAX":
            assert f"{limit:,}" in value, name
    assert (limits.CREDITS_MAX, limits.UNITS_MAX, limits.PRICE_MAX) == (10**12, 10**12, 10**9)
    assert (limits.HELD_CREDITS_MAX, limits.ANSWER_BYTES_MAX) == (2**52, 3 * 2**20)


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    files = {path.name for path in folder.glob("[0-9]*.md")}
    assert set(LINK.findall((folder / "README.md").read_text())) == files
    assert sorted(int(name[:4]) for name in files) == list(range(1, len(files) + 1))
    for name in files:
        assert list(sections(folder / name))[1:] == ["Context", "Decision", "Consequences"]
