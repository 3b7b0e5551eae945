"""The wheels that `make dist` makes, and clean environments to install them in."""

import asyncio
import os
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Final, Self

from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.version import Version

ROOT: Final = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS: Final = 180.0
# A make above this test, and a path or settings of our own Python, are not for what it starts.
OURS: Final = ("MAKE", "MFLAGS", "MYPY", "PYTHON")
# Installed by `make install`; older than what it was made from, perhaps, but in use.
STAMP: Final = ".venv/installed-for"


@dataclass(frozen=True, slots=True)
class Wheel:
    path: Path

    @property
    def names(self) -> set[str]:
        """Of its files, with slashes."""
        with zipfile.ZipFile(self.path) as archive:
            return set(archive.namelist())

    @property
    def metadata(self) -> Metadata:
        """Raises an exception group if there is anything in it that an index would refuse."""
        return Metadata.from_email(self.read(f"{self._stem}.dist-info/METADATA"), validate=True)

    @property
    def license(self) -> bytes:
        return self.read(f"{self._stem}.dist-info/licenses/LICENSE")

    def read(self, name: str) -> bytes:
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(name)

    def requirements(self, extra: str = "") -> list[Requirement]:
        """What everybody needs; with an extra, what it adds to that."""
        every = self.metadata.requires_dist or []
        general = [each for each in every if each.marker is None or each.marker.evaluate({"extra": ""})]
        if not extra:
            return general
        return [
            each for each in every if each not in general and each.marker and each.marker.evaluate({"extra": extra})
        ]

    @property
    def _stem(self) -> str:
        name, version, *_ = self.path.name.split("-")
        return f"{name}-{version}"


@dataclass(frozen=True, slots=True)
class Dist:
    """A folder in which `make dist` has built."""

    folder: Path

    @classmethod
    async def built(cls, folder: Path) -> Self:
        await run("make", f"--assume-old={STAMP}", "dist", f"DIST={folder}", cwd=ROOT)
        return cls(folder)

    @property
    def client(self) -> Wheel:
        [path] = self.folder.glob("earmark_client-*.whl")
        return Wheel(path)

    @property
    def server(self) -> Wheel:
        [path] = self.folder.glob("earmark_server-*.whl")
        return Wheel(path)

    @property
    def contents(self) -> dict[str, bytes]:
        """Of every file, by its name."""
        return {each.name: each.read_bytes() for each in self.folder.iterdir()}


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment that has what is installed here, and nothing else: not even pip."""

    folder: Path

    @classmethod
    async def made(cls, folder: Path) -> Self:
        await run(sys.executable, "-m", "venv", "--without-pip", folder)
        return cls(folder)

    def program(self, name: str) -> Path:
        return self.folder / "bin" / name

    async def pip(self, *arguments: str | Path) -> str:
        """Our own pip, at work in there."""
        options = ("--python", self.folder, "--disable-pip-version-check", "--no-input")
        return await run(sys.executable, "-m", "pip", *options, *arguments)

    async def install(self, *what: str | Path) -> None:
        """Only wheels: nothing is compiled, neither here nor to .pyc."""
        await self.pip("install", "--quiet", "--only-binary=:all:", "--no-compile", *what)

    def versions(self) -> dict[str, Version]:
        return {each.metadata["Name"]: Version(each.version) for each in distributions(path=[self._site_packages])}

    def files(self, name: str) -> dict[Path, bytes]:
        """Every file that the installed distribution `name` consists of, and what is in it."""
        [found] = distributions(name=name, path=[self._site_packages])
        paths = [Path(str(each.locate())).resolve() for each in found.files or []]
        return {path: path.read_bytes() for path in paths}

    @property
    def _site_packages(self) -> str:
        [folder] = self.folder.glob("lib/python*/site-packages")
        return str(folder)


def damaged(files: dict[Path, bytes]) -> list[Path]:
    """Those that are gone, or hold something else now."""
    return [path for path, content in files.items() if not path.exists() or path.read_bytes() != content]


def lowest(requirements: Iterable[Requirement]) -> list[str]:
    """Each of them at the version that its range begins with."""
    return [
        f"{each.name}=={least.version}" for each in requirements for least in each.specifier if least.operator == ">="
    ]


async def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What it printed. AssertionError, with all of that, unless it ended well."""
    code, printed = await end_of(*command, cwd=cwd)
    assert code == 0, printed
    return printed


async def end_of(*command: str | Path, cwd: Path | None = None) -> tuple[int, str]:
    """The exit status, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if not name.startswith(OURS)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, printed.decode()
