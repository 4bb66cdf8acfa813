"""`dltrain completion`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def print_script(
    shell: Annotated[
        Literal["bash", "zsh", "fish"] | None, typer.Argument(help="The shell. [default: the one that runs this]")
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Write it to where the shell looks for it, in your home directory.")
    ] = False,
) -> None:
    """Print or install completion for a shell.

    Completes commands, options and their values, shipped configs and YAML files, paths and values of settings, names of
    models and other parts, and runs.

    Examples:

      dltrain completion --install

      dltrain completion bash > /etc/bash_completion.d/dltrain
    """
    from dltrain.cli.completion.scripts import SCRIPTS, detect_shell, install_script

    name = shell or detect_shell()
    if not install:
        typer.echo(SCRIPTS[name], nl=False)
        return
    for path in install_script(name, Path.home()):
        typer.echo(path)
    typer.echo(f"completion is active in the next {name} that you start", err=True)
