"""The command line `earmark`."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click

from earmark.cli import (
    allocation,
    completion,
    entries,
    estimate,
    export,
    history,
    monitor,
    offering,
    offering_load,
    organization,
    parse,
    subscription,
    usage,
    watch,
)
from earmark.cli.nouns import Nouns
from earmark.cli.patience import Impatient
from earmark.cli.session import Session
from earmark.client import Client
from earmark.messages.channels import Tls

_PEM = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(
    cls=Nouns,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""
    \b
    Exit codes:
      0  done
      1  interrupted, nobody reads on, or a file cannot be written
      2  usage: nothing was sent
      3  refused by a rule: too few credits, would suspend, exists already, ...;
         check: it may not be used
      4  not found
      5  invalid argument
      6  unavailable, or no answer in time
      7  internal or unknown
    """,
)
@click.option(
    "--address",
    envvar="EARMARK_ADDRESS",
    default="127.0.0.1:50051",
    show_default=True,
    show_envvar=True,
    help="host:port; several with commas.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, one object per line; for scripts.")
@click.option("--actor", envvar="EARMARK_ACTOR", default="", show_envvar=True, help="Who asks, for the ledger.")
@click.option(
    "--timeout",
    type=parse.duration,
    default="10s",
    show_default=True,
    help="The longest that a call may take, with all its retries.",
)
@click.option("--tls", is_flag=True, help="Speak TLS; so does any of the following.")
@click.option("--tls-ca", type=_PEM, envvar="EARMARK_TLS_CA", show_envvar=True, help="Root certificates, PEM.")
@click.option("--tls-cert", type=_PEM, envvar="EARMARK_TLS_CERT", show_envvar=True, help="Our certificate, PEM.")
@click.option("--tls-key", type=_PEM, envvar="EARMARK_TLS_KEY", show_envvar=True, help="Its key, PEM.")
@click.version_option(package_name="earmark-client")
@click.pass_context
def main(ctx: click.Context, /, address: str, as_json: bool, actor: str, timeout: timedelta, **tls: Any) -> None:
    """Earmark: credits that customers earmark for what they switch on, and get back.

    \b
    Instants are RFC 3339, a date (midnight UTC), `now`, or relative: +30d, -2h,
    reckoned by the server's clock.
    Durations are 30d, 12h, 1d12h (w, d, h, m, s).

    For completion with TAB, add to ~/.bashrc: eval "$(earmark completion bash)"
    """
    if not timeout:
        raise click.BadParameter("a call needs some time.", ctx, param_hint="--timeout")
    client = partial(
        Client,
        address,
        actor=actor,
        timeout_seconds=timeout.total_seconds(),
        retry=Impatient(),
        tls=_credentials(**tls),
    )
    ctx.obj = Session(client, address=address, as_json=as_json)


def _credentials(*, tls: bool, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None) -> Tls | None:
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    if not (tls or tls_ca or tls_cert):
        return None
    root, key, certificate = (path.read_bytes() if path else None for path in (tls_ca, tls_key, tls_cert))
    return Tls(root_certificates=root, client_key=key, client_certificate=certificate)


for group in (
    organization.organization,
    subscription.subscription,
    offering.offering,
    allocation.allocation,
):
    main.add_command(group)
offering.offering.add_command(offering_load.load)
# The daily ones, without the noun.
for command in (subscription.buy, allocation.enable, allocation.disable):
    main.add_command(command)
# What looks at an organization as a whole.
for command in (
    usage.usage,
    history.history,
    history.forecast,
    estimate.estimate,
    usage.check,
    entries.entries,
    export.export,
    watch.watch,
    monitor.monitor,
    completion.completion,
):
    main.add_command(command)
