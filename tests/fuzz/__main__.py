"""`python -m tests.fuzz`: a Postgres, an allocator process, and bad input by the hundred thousand."""

import asyncio
import sys

import asyncpg
import click

from services.admin import embedded
from services.ledger.store.migrate import migrate
from tests.fuzz.campaign import campaign
from tests.fuzz.report import Report
from tests.support.processes import running_allocator

HEARTBEAT_SECONDS = "0.1"
"""A watch that is accepted has something to say soon."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--inputs", type=click.IntRange(1, 100_000_000), default=100_000, help="How many are tried.")
@click.option("--seed", type=int, default=1, help="The same seed gives the same inputs, on the same day.")
def fuzz(inputs: int, seed: int) -> None:
    """Calls the service wrongly in every way there is. Exits with 1 if it did anything that it must not."""
    with embedded.postgres() as postgres:
        asyncio.run(_migrate(postgres.url))
        with running_allocator(postgres.url, watch_heartbeat_seconds=HEARTBEAT_SECONDS) as found:
            process, address = found
            report: Report = asyncio.run(campaign(address, postgres.url, inputs, seed, process.pid, click.echo))
            if process.poll() is not None:
                report.violations.append(f"the allocator ended with {process.returncode}")
    click.echo("\n".join(report.lines()))
    sys.exit(1 if report.violations else 0)


async def _migrate(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await migrate(connection)
    await connection.close()


if __name__ == "__main__":
    fuzz()
