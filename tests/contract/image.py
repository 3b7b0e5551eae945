"""What an image would be built from: the Dockerfile's instructions, and the files that .dockerignore lets through."""

import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Instruction:
    keyword: str
    arguments: str

    @property
    def words(self) -> list[str]:
        """The arguments, in JSON's form or the shell's, without options."""
        if self.arguments.startswith("["):
            return [str(each) for each in json.loads(self.arguments)]
        return [word for word in shlex.split(self.arguments) if not word.startswith("--")]

    @property
    def is_of_another_stage(self) -> bool:
        return "--from=" in self.arguments


def stages(dockerfile: str) -> list[list[Instruction]]:
    """The instructions of each stage, the first of which is its FROM."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found: list[list[Instruction]] = []
    for line in joined.splitlines():
        keyword, _, arguments = line.strip().partition(" ")
        if keyword == "FROM":
            found.append([])
        found[-1].append(Instruction(keyword, arguments.strip()))
    return found


class DockerIgnore:
    """The last pattern that matches a path, or a folder above it, decides."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        self._rules = [
            (line.startswith("!"), re.compile(_regex(line.removeprefix("!").strip("/"))))
            for line in lines
            if line and not line.startswith("#")
        ]

    def lets_through(self, path: str) -> bool:
        """`path` is relative to the top, with slashes."""
        parts = path.split("/")
        above = ["/".join(parts[: length + 1]) for length in range(len(parts))]
        through = True
        for includes, pattern in self._rules:
            if any(pattern.fullmatch(each) for each in above):
                through = includes
        return through


def files_below(source: Path) -> list[Path]:
    """A file itself, or all files of a folder but what Python compiled."""
    if source.is_file():
        return [source]
    return sorted(each for each in source.rglob("*") if each.is_file() and "__pycache__" not in each.parts)


def files_of_the_context(ignore: DockerIgnore) -> list[str]:
    """Every file that would be sent to the builder."""
    found: list[str] = []
    for above, folders, files in os.walk(ROOT):
        folders[:] = [each for each in folders if each not in (".git", ".venv", "node_modules")]
        paths = (Path(above, name).relative_to(ROOT).as_posix() for name in files)
        found += [path for path in paths if ignore.lets_through(path)]
    return sorted(found)


def _regex(pattern: str) -> str:
    """`**` stands for any number of folders, `*` and `?` for anything within one name."""
    regex = re.escape(pattern)
    regex = regex.replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*")
    regex = regex.replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return regex.replace(r"\[", "[").replace(r"\]", "]")
