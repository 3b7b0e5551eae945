"""What is shown and written: one table, and build/bench.json."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import Figures, rounded
from bench.targets import TARGETS, Target

UNITS = (
    ("ops_per_s", "operations/s"),
    ("_rps", "calls/s"),
    ("_per_s", "per second"),
    ("_ms", "ms"),
    ("_mb", "MiB"),
    ("_per_call", "bytes"),
)


def show(console: Console, figures: Figures, keys: Sequence[str]) -> None:
    """The table, in the order of the keys; below it what one number does not say, and what could not be measured."""
    table = Table("key", title="make bench", title_justify="left")
    for heading in ("median", "min .. max"):
        table.add_column(heading, justify="right")
    for heading in ("unit", "target", "met"):
        table.add_column(heading)
    for key in keys:
        if found := figures.values.get(key):
            spread = f"{_text(min(found))} .. {_text(max(found))}" if len(found) > 1 else ""
            table.add_row(key, _text(figures.median(key)), spread, _unit(key), *_judged(key, figures))
    console.print(table)
    for key, details in figures.details.items():
        console.print(f"{key}: {json.dumps(details)}", highlight=False, markup=False)
    for failure in figures.failures:
        console.print(f"NOT MEASURED: {failure}", highlight=False, markup=False)


def write(file: Path, figures: Figures, facts: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {**figures.as_json(), **facts, "failures": figures.failures}
    file.write_text(json.dumps(content, indent=2) + "\n")


def facts(postgres_version: str, rounds: int, seconds: float, scale: float) -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": {"rounds": rounds, "seconds": seconds, "scale": scale},
        "machine": {
            "cores": os.cpu_count(),
            "architecture": platform.machine(),
            "system": platform.system(),
            "python": platform.python_version(),
            "postgres": postgres_version,
        },
    }


def _judged(key: str, figures: Figures) -> tuple[str, str]:
    """(target, whether it is met), as far as what it refers to was measured."""
    target, value = TARGETS.get(key), figures.median(key)
    if target is None or value is None:
        return "", ""
    try:
        return _target_text(target, figures), "yes" if target.met(value, figures.known) else "no"
    except KeyError as missing:
        return target.text, f"needs {missing.args[0]}"


def _target_text(target: Target, figures: Figures) -> str:
    bound = _text(target.bound(figures.known))
    sign = ">=" if target.at_least else "<"
    return f"{sign} {bound}" + ("" if target.text == bound else f" ({target.text})")


def _text(value: float | None) -> str:
    return "" if value is None else f"{rounded(value):,}"


def _unit(key: str) -> str:
    return next((unit for end, unit in UNITS if key.endswith(end)), "")


def _git(*arguments: str) -> str:
    """Empty where there is no git, or no repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
