"""Options that several commands share, and how they are checked and carried out."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.errors import DataError, UsageError
from dltrain.runs.prediction import Inversion

if TYPE_CHECKING:
    from dltrain.config.experiment import Loaded
    from dltrain.runs.averaging import Members
    from dltrain.runs.loading import Trained

ConfigFile = Annotated[
    Path, typer.Argument(help="A YAML file, a run directory, the name of a shipped config, or - for standard input.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override one value of the config; may be repeated."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start a new run, in the next numbered directory.")]
MaxTime = Annotated[
    str | None, typer.Option(help="Stop with a checkpoint after this long (90s, 30m, 2h); exit code 75.")
]
Inexact = Annotated[
    bool, typer.Option("--inexact", help="Resume even if the result may differ from an uninterrupted run's.")
]
NoLock = Annotated[
    bool, typer.Option("--no-lock", help="Train where the file system has no locks; keep other processes out yourself.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")]
JsonTables = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


def use_run(path: Path) -> Path:
    """The run that RUN names, which may also be that of a config; prints a note then."""
    from dltrain.runs.finding import find_run

    found = find_run(path)
    if found != path:
        typer.echo(f"note: the run {found} is used", err=True)
    return found


RunPath = Annotated[
    Path,
    typer.Argument(
        callback=use_run,
        help="A run directory, a checkpoint in it, an exported .safetensors file, or the config of runs/NAME.",
    ),
]
CheckpointName = Annotated[str | None, typer.Option(help="last, or the name of a checkpoint. [default: best]")]
DeviceName = Annotated[str | None, typer.Option(help="Device to run on. [default: the one used in training]")]
DataRoot = Annotated[str | None, typer.Option(help="Folder of the data. [default: the one used in training]")]
ChangedData = Annotated[
    bool, typer.Option("--changed-data", help="Use the data even if it has changed since the run was trained.")
]
Views = Annotated[
    int | None,
    typer.Option(min=2, metavar="N", help="Average over N views of each image, changed as in training."),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        metavar="PROBABILITY",
        help="Probability from which the positive class is predicted (binary). [default: the task's]",
    ),
]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE", help="Include what a plug-in registers.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Invert = Annotated[Inversion, typer.Option(help="Swap dark and bright; auto decides by the image's border.")]

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_seconds(text: str | None) -> float | None:
    """`90`, `90s`, `30m`, `2h`, `1h30m` in seconds. Raises UsageError for anything else."""
    if text is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"--max-time: found '{text}'; allowed is a duration such as 90s, 30m, 2h or 1h30m")
    return sum(float(number) * SECONDS[unit or "s"] for number, unit in parts)


def refuse_both(as_json: bool, as_csv: bool) -> None:
    """Raises UsageError where --json and --csv are given together."""
    if as_json and as_csv:
        raise UsageError("--json and --csv: the output has one format", advice="leave out one of the two")


def load_config(file: Path, overrides: Sequence[str] | None) -> Loaded:
    """Read a config; prints its warnings."""
    from dltrain.config.experiment import load_experiment

    loaded = load_experiment(file, overrides or ())
    for warning in loaded.experiment.warnings:
        print_notice(warning)
    return loaded


def check_output(output: Path | None) -> None:
    """Raises UsageError for what no file can be written over, or in; called before any work, which would be lost."""
    from dltrain.files import is_stream

    if output is None or (is_stream(output) and os.access(output, os.W_OK)):
        return
    if not output.parent.is_dir():
        fault, advice = f"there is no folder {output.parent}", "make it, or name another place"
    elif output.is_dir():
        fault, advice = "this is a folder", "name a file in it"
    elif is_stream(output):
        fault, advice = "it cannot be written into", "name a file"
    elif not os.access(output.parent, os.W_OK | os.X_OK):
        fault = f"the folder {output.parent} cannot be written to"
        advice = "change its permissions, or name another place"
    else:
        return
    raise UsageError(f"--output {output}: {fault}", advice=advice)


def load_model(
    run: Path,
    checkpoint: str | None,
    device: str | None = None,
    *,
    threshold: float | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Trained:
    """The model that RUN and --checkpoint name, with other `settings`; prints the notice of its training data."""
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained, override_threshold

    chosen = find_checkpoint(run, checkpoint)
    changed = {**(settings or {}), **({"trainer": {"device": device}} if device else {})}
    trained = load_trained(chosen, {**changed, **override_threshold(run, chosen.record, threshold)})
    print_notice(trained.record.notice)
    return trained


def load_members(
    members: Members, checkpoint: str | None, device: str | None, *, threshold: float | None = None
) -> list[Trained]:
    """The models of the members of a parent directory, which can be averaged; prints the first one's notice."""
    from dltrain.runs.averaging import check_members
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained, override_threshold

    trained = []
    for path in members.paths:
        chosen = find_checkpoint(path, checkpoint)
        changed = {**members.settings, **({"trainer": {"device": device}} if device else {})}
        trained.append(load_trained(chosen, {**changed, **override_threshold(path, chosen.record, threshold)}))
    print_notice(trained[0].record.notice)
    check_members(members, trained)
    return trained


def list_files(arguments: Sequence[str], accepts: Callable[[Path], bool], kind: str, plural: str) -> list[Path]:
    """The input files that arguments and standard input name; prints a note of the files in folders that are skipped.

    Raises DataError where there is none.
    """
    from dltrain.data.input_files import describe_skipped, list_input_files

    skipped: list[Path] = []
    files = list_input_files(arguments, iter(sys.stdin or ()), accepts, kind, skipped=skipped)
    for note in describe_skipped(skipped, kind):
        typer.echo(f"note: {note}", err=True)
    if not files:
        raise DataError(f"no {plural} given, on the command line or on standard input")
    return files


def print_remark(line: str) -> None:
    """Print a line for the user beside the results."""
    typer.echo(line, err=True)


def print_notice(notice: str | None) -> None:
    """Print what a dataset says about itself, such as that it is a sample, or a config, as a warning."""
    if notice:
        typer.echo(f"warning: {notice}", err=True)
