"""`dltrain share`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dltrain.cli.shared.options import Json, check_output, use_run


def share(
    run: Annotated[Path, typer.Argument(callback=use_run, help="A run directory, or the config of runs/NAME.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The file. [default: NAME.dltrain.zip]")
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Leave out report.html.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run into one file.

    It contains the config, the plug-ins, the best and the last checkpoint, the metrics, the report, and the hashes of
    the data, but no data, and neither the host nor the command. The config has the paths of the data, and the report
    may show examples of it. `dltrain reproduce FILE` trains the run again; unpacked, it is a run directory.

    Examples:

      dltrain share runs/mnist_cnn

      dltrain share runs/mnist_cnn --no-report -o mnist.zip
    """
    from dltrain.runs.sharing import share_run

    path = output or Path(f"{run.resolve().name}.dltrain.zip")
    check_output(path)
    names = share_run(run, path, report=not no_report)
    size = path.stat().st_size
    if as_json:
        typer.echo(json.dumps({"run": str(run), "file": str(path), "bytes": size, "files": names}))
    else:
        typer.echo(f"{path}: {size:,} bytes, {len(names)} files\nnext: dltrain reproduce {path}")
