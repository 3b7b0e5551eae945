"""`earmark-admin`: what needs the database, and all of Earmark on one machine."""

import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.admin import embedded
from services.admin.catalog_file import SAMPLE_CATALOG, BadCatalog, load_catalog
from services.admin.connected import with_connection
from services.admin.demo.run import demo as run_demo
from services.admin.stack import StackError
from services.admin.up import up as run_up
from services.admin.verify_command import verify_command
from services.ledger.store.clock import Clock, ClockNotMovable, advance_clock, read_clock
from services.ledger.store.database import Connection
from services.ledger.store.migrate import SchemaMismatch, migrate
from services.runtime.settings import BadSettings

PARTS = re.compile(r"(?:([0-9]+)w)?(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?\Z")

EXPECTED = (
    BadCatalog,
    BadSettings,
    ClockNotMovable,
    SchemaMismatch,
    StackError,
    embedded.EmbeddedError,
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)
"""What goes wrong in ways that its message explains."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Earmark's administration. The database is that of EARMARK_DATABASE_URL.

    Exit codes: 0 done, 1 failed (the message says why), 2 usage.
    """


cli.add_command(verify_command)


@cli.command("migrate")
@click.option(
    "--movable-clock",
    is_flag=True,
    help="Only when the database is created: let its clock be moved, for tests and demonstrations.",
)
def migrate_command(movable_clock: bool) -> None:
    """Bring the schema up to date."""

    async def work(connection: Connection) -> list[str]:
        return await migrate(connection, movable_clock=movable_clock or None)

    done = with_connection(work)
    click.echo(f"applied {', '.join(done)}" if done else "the schema is up to date")


@cli.group("catalog")
def catalog_group() -> None:
    """The offerings and their prices."""


@catalog_group.command("load")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=SAMPLE_CATALOG)
@click.option("--only-new", is_flag=True, help="Leave alone what is there already.")
def catalog_load(file: Path, only_new: bool) -> None:
    """Create or change the offerings of a CSV FILE; without one, those of the sample catalogue."""

    async def work(connection: Connection) -> str:
        loaded = await load_catalog(connection, file, only_new=only_new)
        return f"{loaded.offerings} offerings, {loaded.changed} of them new or changed"

    click.echo(with_connection(work))


@cli.group("clock")
def clock_group() -> None:
    """The clock of a database that was created as movable."""


@clock_group.command("show")
def clock_show() -> None:
    """Show what time it is for Earmark."""
    click.echo(_clock_text(with_connection(read_clock)))


@clock_group.command("advance")
@click.argument("duration")
def clock_advance(duration: str) -> None:
    """Move time forwards by DURATION, such as 30d or 1d12h (w, d, h, m, s), for every process."""
    by = _duration(duration)

    async def work(connection: Connection) -> Clock:
        try:
            return await advance_clock(connection, by)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="DURATION") from error

    click.echo(_clock_text(with_connection(work)))


@cli.command("up")
@click.option("--ephemeral", is_flag=True, help="Keep no data.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".earmark"),
    show_default=True,
    help="Where to keep the data.",
)
@click.option("--listen", default="127.0.0.1:50051", show_default=True, help="Host and port of the allocator.")
@click.option("--movable-clock", is_flag=True, help="For a new database: let its clock be moved.")
def up_command(ephemeral: bool, data: Path, listen: str, movable_clock: bool) -> None:
    """Run all of Earmark here until Ctrl-C: Postgres, Redis, schema, catalogue, allocator and expiry worker.

    What EARMARK_DATABASE_URL and EARMARK_REDIS_URL name is used instead of starting it.
    """
    sys.exit(run_up(None if ephemeral else data.absolute(), listen, movable_clock=movable_clock))


@cli.command("demo")
def demo_command() -> None:
    """Tell the story of one organization on real servers, with every figure checked.

    The servers are started for it and gone afterwards. No variable EARMARK_... has a part in it: what
    EARMARK_DATABASE_URL names is never touched.
    """
    sys.exit(run_demo())


@cli.command("testbed")
@click.option("--catalog", metavar="FILE|sample", default="", help="Offerings that are there after each reset, too.")
def testbed_command(catalog: str) -> None:
    """Run an Earmark for the tests of a service, in any language, until the standard input ends.

    Its clock can be moved and it can be emptied: requests are JSON lines on the standard input, each answered with
    one line on the standard output. The first line there tells the address:

    \b
    {"address": "127.0.0.1:...", "redis_url": "redis://...", "now": "2026-01-01T00:00:00+00:00"}
    {"do": "now"}                          -> {"now": "..."}
    {"do": "advance", "seconds": 86400.5}  -> {"now": "..."}
    {"do": "reset"}                        -> {"now": "..."}
    anything else                          -> {"error": "..."}

    The servers are started for it and gone afterwards. No variable EARMARK_... has a part in it.
    """
    # It brings both services with it, for whose import no other command is to wait.
    from services.admin.testbed.run import testbed  # noqa: PLC0415

    testbed(catalog)


@cli.command("health")
@click.argument("address", default="127.0.0.1:50051")
def health_command(address: str) -> None:
    """Exit with 0 if the allocator at ADDRESS says that it is serving."""
    with grpc.insecure_channel(address) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError as error:
            sys.exit(f"{address}: {error}")
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    click.echo(f"{address}: {status}")
    sys.exit(0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1)


def _duration(text: str) -> timedelta:
    found = PARTS.match(text)
    if not text or not found:
        raise click.BadParameter(f"{text!r} is no duration; such are 30d, 12h or 1d12h", param_hint="DURATION")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    try:
        return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError as error:
        raise click.BadParameter(f"{text!r} is too long", param_hint="DURATION") from error


def _clock_text(clock: Clock) -> str:
    return f"{clock.now.isoformat()}, {clock.ahead} ahead, {'movable' if clock.movable else 'not movable'}"


def main() -> None:
    try:
        cli()
    except EXPECTED as error:
        sys.exit(f"earmark-admin: {error}")


if __name__ == "__main__":
    main()
