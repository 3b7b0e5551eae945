"""Releases of before, as processes: from the repository's history, by the same interpreter.

No version has been released yet. A release stands for the last commit before a migration was added: what ran until
then on the schema as it was.
"""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from services.admin import embedded
from tests.contract.image import ROOT
from tests.support.processes import ALLOCATOR, DEADLINE_SECONDS, EXPIRY, environment

MIGRATIONS: Final = "services/ledger/store/migrations"
SOURCES: Final = ("services", "clients/python/earmark")
LOCATIONS: Final = "import earmark, services; print(services.__file__, earmark.__file__, sep='\\n')"


@dataclass(frozen=True)
class Release:
    """Processes of one release. Those of the working tree, where there is no folder."""

    folder: Path | None = None
    """Holds its sources."""

    def run(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Runs Python with these arguments, until it ends by itself."""
        return subprocess.run(
            [sys.executable, "-P", *arguments],
            env=self._environment(settings),
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def sources(self) -> list[Path]:
        """The folders from which its processes take `services` and `earmark`."""
        told = self.run("-c", LOCATIONS)
        assert told.returncode == 0, told.stderr
        return [Path(each).parent for each in told.stdout.splitlines()]

    @contextmanager
    def allocator(self, address: str, **settings: str) -> Iterator[embedded.Child]:
        """One that serves at `address`, while the block runs."""
        command = [sys.executable, "-P", "-m", ALLOCATOR]
        env = self._environment({**settings, "listen_address": address})
        with embedded.child(command, env=env, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline().decode() == f"serving on {address}\n", "its log above says why"
            yield child

    @contextmanager
    def worker(self, **settings: str) -> Iterator[embedded.Child]:
        command = [sys.executable, "-P", "-m", EXPIRY]
        with embedded.child(command, env=self._environment(settings)) as child:
            yield child

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        """PYTHONPATH goes before what is installed, and with -P nothing goes before PYTHONPATH."""
        ours = environment(**settings)
        folder = ROOT if self.folder is None else self.folder
        return {**ours, "PYTHONPATH": os.pathsep.join([str(folder), str(folder / "clients/python")])}


def release_before(migration: str, folder: Path) -> Release:
    """The last release without that migration; its sources are put into `folder`.

    Where the history is not at hand, as in an exported copy or a shallow clone, the test is skipped and says so.
    """
    try:
        added = (
            _git("log", "-1", "--diff-filter=A", "--format=%H", "--", f"{MIGRATIONS}/{migration}.sql").decode().strip()
        )
        archive = _git("archive", "--format=tar", f"{added}^", *SOURCES)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no history from before {migration} is at hand; git fetch --unshallow may bring it ({error})")
    with tarfile.open(fileobj=io.BytesIO(archive)) as sources:
        sources.extractall(folder, filter="data")
    assert not Path(folder, MIGRATIONS, f"{migration}.sql").exists()
    return Release(folder)


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=True).stdout
