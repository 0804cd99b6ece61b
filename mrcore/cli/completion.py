"""`mrcore completion`: print a completion script for the shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from mrcore.cli import base

SHELLS = ("bash", "zsh", "fish")


@base.command()
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print a shell script that completes commands, options and values.

    \b
      bash: echo 'eval "$(mrcore completion bash)"' >> ~/.bashrc
      zsh:  echo 'eval "$(mrcore completion zsh)"' >> ~/.zshrc
      fish: mrcore completion fish > ~/.config/fish/completions/mrcore.fish
    """
    from mrcore.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None, "click supports every shell offered"
    click.echo(kind(cli, {}, "mrcore", "_MRCORE_COMPLETE").source())
