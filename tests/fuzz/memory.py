"""How much memory a process has, where the system tells it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 2**20
PEAK_MIB_MAX: Final = 512
GROWTH_MIB_MAX: Final = 100
"""From the first block to the last."""


@dataclass
class Memory:
    """Resident memory of a process, in MiB; nothing is known without a process or without /proc."""

    pid: int | None
    first: int | None = None
    """After the first block."""
    last: int | None = None
    peak: int | None = None
    """As the kernel saw it, also between two looks."""

    def look(self) -> None:
        found = _status(self.pid)
        self.last, self.peak = found.get("VmRSS"), found.get("VmHWM")
        self.first = self.last if self.first is None else self.first

    def problems(self) -> list[str]:
        """Which bounds were passed."""
        if self.first is None or self.last is None or self.peak is None:
            return []
        found = []
        if self.peak > PEAK_MIB_MAX:
            found.append(f"memory: {self.peak} MiB at the highest point; at most {PEAK_MIB_MAX} are allowed")
        if self.last - self.first > GROWTH_MIB_MAX:
            found.append(
                f"memory: from {self.first} to {self.last} MiB; at most {GROWTH_MIB_MAX} more are allowed at the end"
            )
        return found

    def __str__(self) -> str:
        if self.peak is None:
            return "not measured: there is no /proc, or no process of its own"
        return (
            f"{self.first} MiB after the first block, {self.last} at the end (at most {GROWTH_MIB_MAX} more),"
            f" {self.peak} at the highest point (at most {PEAK_MIB_MAX})"
        )


def _status(pid: int | None) -> dict[str, int]:
    """The sizes that the kernel tells, in MiB."""
    try:
        lines = Path("/proc", str(pid), "status").read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) * 1024 // MIB for line in lines if line.endswith(" kB")}
