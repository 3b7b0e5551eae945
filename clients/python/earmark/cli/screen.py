"""The two outputs, and who looks at them."""

import os
import stat
import sys
from typing import IO

from rich.console import Console

# Width where the output is no terminal, and no COLUMNS says otherwise.
PIPE_WIDTH = 200


def console(*, stderr: bool) -> Console:
    """With colours on a terminal only, whatever FORCE_COLOR says, and not where NO_COLOR is set."""
    made = Console(
        stderr=stderr,
        force_terminal=is_terminal(sys.stderr if stderr else sys.stdout),
        markup=False,
        emoji=False,
        highlight=False,
    )
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = PIPE_WIDTH
    return made


def is_terminal(stream: IO[str] | None) -> bool:
    return stream is not None and stream.isatty()


def may_be_drawn(stream: IO[str] | None) -> bool:
    """Whether what is written there may be seen at once: on the terminal, or by a pager behind a pipe."""
    if stream is None:
        return False
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except OSError:  # Not a file of the system's.
        return False
    return stream.isatty() or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
