"""`earmark completion`"""

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

PROGRAM = "earmark"
VARIABLE = "_EARMARK_COMPLETE"
SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes `earmark` in a shell. One line installs it:

    \b
      ~/.bashrc                   eval "$(earmark completion bash)"
      ~/.zshrc, after compinit    eval "$(earmark completion zsh)"
      ~/.config/fish/config.fish  earmark completion fish | source
    """
    click.echo(SHELLS[shell](ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
