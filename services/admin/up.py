"""`earmark-admin up`: all of Earmark on this machine until Ctrl-C."""

import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import click

from services.admin import embedded
from services.admin.stack import DATABASE_VARIABLE, Stack, stack

WATCH_SECONDS = 0.5


def up(data_folder: Path | None, listen_address: str, *, movable_clock: bool) -> int:
    """Serves until SIGINT or SIGTERM; returns the exit status, 1 if a part of it ended by itself."""
    stop, parent = threading.Event(), os.getppid()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stop.set())
    with stack(data_folder, listen_address=listen_address, movable_clock=movable_clock) as running:
        click.echo(_greeting(running, data_folder))
        sys.stdout.flush()
        while not stop.wait(WATCH_SECONDS):
            if "MAKELEVEL" in os.environ and os.getppid() != parent:
                return 1  # Make was killed, and nobody is left to type Ctrl-C.
            ended = _ended(running.children)
            if ended:
                click.echo(f"{' '.join(ended.args[-1:])} ended with status {ended.returncode}; stopping", err=True)
                return 1
        click.echo("\nstopping")
    return 0


def _ended(children: Sequence[embedded.Child]) -> embedded.Child | None:
    return next((child for child in children if child.poll() is not None), None)


def _greeting(running: Stack, data_folder: Path | None) -> str:
    [address] = running.addresses
    kept = f"in {data_folder}" if data_folder else "nowhere: all is gone when this ends"
    if os.environ.get(DATABASE_VARIABLE):
        kept = f"in the database of {DATABASE_VARIABLE}"
    return f"""
Earmark is up, with {running.offerings} offerings in its catalogue. Ctrl-C stops it.

  gRPC       {address}
  Postgres   {without_password(running.database_url)}
  Redis      {without_password(running.redis_url)}
  data       {kept}

Try it:

  .venv/bin/earmark --address {address} offering list
  grpcurl -plaintext -d '{{"page_size": 3}}' {address} earmark.v1.CatalogService/ListOfferings
"""


def without_password(url: str) -> str:
    return re.sub(r"(?<=:)[^:@/]*(?=@)", "***", url)
