"""`dltrain config`: check a config, show it resolved, print its schema. None of them starts anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dltrain.cli.shared.options import ConfigFile, Json, Overrides, Plugins, load_config
from dltrain.cli.shared.settings import takes_settings

app = typer.Typer(help="Check or show a config, or print its JSON Schema.", no_args_is_help=True)


@app.command("check")
@takes_settings()
def check_config(config: ConfigFile, overrides: Overrides = None) -> None:
    """Check a config without touching data or device."""
    from dltrain.runs.finding import find_config

    experiment = load_config(find_config(config)[0], overrides).experiment
    epochs = "1 epoch" if experiment.trainer.epochs == 1 else f"{experiment.trainer.epochs} epochs"
    typer.echo(
        f"{config}: ok\n"
        f"{experiment.task.name}: {experiment.model.name} on {experiment.data.name}, {experiment.optimizer.name} "
        f"with {experiment.schedule.name} schedule, {epochs}, seed {experiment.seed}"
    )


@app.command("show")
@takes_settings()
def show_config(
    config: ConfigFile,
    overrides: Overrides = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    as_json: Json = False,
) -> None:
    """Print a config with every default.

    Parents, flags and environment variables are resolved. Paths are relative to the working directory.
    """
    from dltrain.config.document import format_yaml
    from dltrain.runs.finding import find_config

    loaded = load_config(find_config(config)[0], overrides)
    tree = loaded.experiment.place_in(Path()).resolved()
    if as_json:
        output = {"config": tree, "origins": dict(loaded.origins)} if origin else tree
        typer.echo(json.dumps(output, indent=2, ensure_ascii=False))
    else:
        typer.echo(format_yaml(tree, loaded.origins if origin else None), nl=False)


@app.command("schema")
def print_schema(plugins: Plugins = None) -> None:
    """Print the JSON Schema, for completion in an editor."""
    from dltrain.config.schema import build_json_schema

    typer.echo(json.dumps(build_json_schema(plugins or ()), indent=2, ensure_ascii=False))
