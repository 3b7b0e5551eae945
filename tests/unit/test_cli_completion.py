"""Completion, asked for as a shell asks for it."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from earmark.cli import main

BASH = shutil.which("bash")
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

in_bash = pytest.mark.skipif(BASH is None, reason="there is no bash")


def completed(*words: str) -> list[str]:
    """What bash is told by the printed script, sorted; the last word is the one that is typed."""
    script = f"""
        eval "$(earmark completion bash)"
        COMP_WORDS=({" ".join(shlex.quote(word) for word in words)})
        COMP_CWORD={len(words) - 1}
        complete -p earmark >&2
        _earmark_completion earmark
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert BASH is not None
    done = subprocess.run([BASH, "--norc", "-c", script], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert done.stderr == "complete -o nosort -F _earmark_completion earmark\n"
    return sorted(done.stdout.split())


@in_bash
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["earmark", "off"], ["offering"]),
        (["earmark", "comp"], ["completion"]),
        (["earmark", "completion", ""], ["bash", "fish", "zsh"]),
        (["earmark", "offerings", "l"], ["list", "load"]),
        (["earmark", "allocation", "list", "--sta"], ["--state"]),
        (["earmark", "allocation", "list", "--state", ""], ["disabled", "enabled", "suspended"]),
        (["earmark", "subscription", "list", "--state", "G"], ["grace"]),
        (["earmark", "entries", "o-1", "--kind", "allocation-s"], ["allocation-suspended"]),
        (["earmark", "history", "o-1", "--by", ""], ["day", "hour"]),
    ],
)
def test_bash_completes_commands_options_and_values(words: list[str], expected: list[str]) -> None:
    assert completed(*words) == expected


@in_bash
def test_nothing_is_called_for_it() -> None:
    assert completed("earmark", "--address", "127.0.0.1:1", "usage", "o") == []


@pytest.mark.parametrize(
    ("shell", "said"),
    [
        ("bash", "complete -o nosort -F _earmark_completion earmark"),
        ("zsh", "#compdef earmark"),
        ("fish", "complete --no-files --command earmark"),
    ],
)
def test_each_shell_has_its_script(shell: str, said: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert (result.exit_code, result.stderr) == (0, "")
    assert said in result.stdout
    assert f"_EARMARK_COMPLETE={shell}_complete" in result.stdout


def test_help_says_how_to_install_it() -> None:
    line = 'eval "$(earmark completion bash)"'
    assert line in CliRunner().invoke(main, ["--help"]).output
    assert line in CliRunner().invoke(main, ["completion", "--help"]).output
