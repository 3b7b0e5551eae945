"""Runs a page: its Python blocks as one program, its shell blocks one by one, all in the order in which they stand.

    EARMARK_ADDRESS=127.0.0.1:50051 python -P -W error tests/support/guide.py PAGE [LANGUAGE ...]

A block of `text` after one of these is what that block prints. Where a block fails, prints something else or is in a
language that nobody can run, it says so on the standard error and ends with status 1; what stands below is not run.
With LANGUAGEs, blocks of others are left alone. The address that pages write stands for the one that is given.
"""

import difflib
import io
import os
import re
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

USUAL_ADDRESS: Final = "127.0.0.1:50051"
OUTPUT: Final = "text"
FENCE: Final = re.compile(r"\s*(`{3,}|~{3,})\s*(.*?)\s*")


class Faulty(Exception):
    """What is wrong with a page; the message begins with where."""


@dataclass(frozen=True)
class Block:
    """`shown` is what it prints, according to the page; None if that does not say."""

    line: int
    language: str
    text: str
    shown: str | None = None


def fences(page: str) -> Iterator[Block]:
    """Every fenced block. Raises Faulty for one that does not end."""
    lines = enumerate(page.splitlines(keepends=True), start=1)
    for number, line in lines:
        opening = FENCE.fullmatch(line)
        if not opening:
            continue
        inside: list[str] = []
        for _, each in lines:
            closing = FENCE.fullmatch(each)
            if closing and closing[1].startswith(opening[1]) and not closing[2]:
                break
            inside.append(each)
        else:
            raise Faulty(f"{number}: this block does not end")
        yield Block(number, opening[2], textwrap.dedent("".join(inside)))


def blocks(page: str) -> list[Block]:
    """Those to be run, with what they print. Raises Faulty for output that stands below nothing that is run."""
    found: list[Block] = []
    for fence in fences(page):
        if fence.language != OUTPUT:
            found.append(fence)
        elif found and found[-1].shown is None:
            found[-1] = replace(found[-1], shown=fence.text)
        else:
            raise Faulty(f"{fence.line}: no block prints this")
    return found


def run(page: Path, address: str, languages: Collection[str] = ()) -> int:
    """How many blocks were run. Raises Faulty."""
    try:
        found = [each for each in blocks(page.read_text()) if not languages or each.language in languages]
    except Faulty as fault:
        raise Faulty(f"{page}:{fault}") from None
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in found:
        where = f"{page}:{block.line}"
        if block.language not in RUNNERS:
            raise Faulty(f"{where}: nobody can run {block.language!r}; there is {', '.join(RUNNERS)}")
        text = block.text.replace(USUAL_ADDRESS, address)
        printed = RUNNERS[block.language](text, page, block.line, names)
        if block.shown is not None and printed != block.shown:
            diff = difflib.unified_diff(block.shown.splitlines(), printed.splitlines(), "shown", "printed", lineterm="")
            raise Faulty(f"{where}: this prints something else\n" + "\n".join(diff))
    return len(found)


def run_python(text: str, page: Path, line: int, names: dict[str, Any]) -> str:
    """What it prints. It finds what the blocks before it have defined; a traceback has the page's own lines."""
    with redirect_stdout(io.StringIO()) as printed:
        try:
            exec(compile("\n" * line + text, page, "exec"), names)
        except BaseException:
            raise Faulty(f"{page}:{line}: this fails\n{traceback.format_exc()}") from None
    return printed.getvalue()


def run_shell(text: str, page: Path, line: int, names: dict[str, Any]) -> str:
    """What it prints. The programs that were installed beside this Python are found first."""
    del names
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Faulty(f"{page}:{line}: this ends with status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


RUNNERS: Final[Mapping[str, Callable[[str, Path, int, dict[str, Any]], str]]] = {"python": run_python, "sh": run_shell}


def main() -> None:
    try:
        print(run(Path(sys.argv[1]), os.environ["EARMARK_ADDRESS"], sys.argv[2:]))
    except Faulty as fault:
        sys.exit(str(fault))


if __name__ == "__main__":
    main()
