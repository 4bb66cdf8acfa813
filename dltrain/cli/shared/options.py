"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from dltrain.errors import UsageError

ConfigFile = Annotated[Path, typer.Argument(help="A YAML file that describes the training, or a run directory.")]
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
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")]
JsonTables = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]

RunPath = Annotated[Path, typer.Argument(help="A run directory, or one checkpoint's directory.")]
CheckpointName = Annotated[str | None, typer.Option(help="last, or the name of a checkpoint. [default: best]")]
DeviceName = Annotated[str | None, typer.Option(help="Device to run on. [default: the one used in training]")]

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_seconds(text: str | None) -> float | None:
    """`90`, `90s`, `30m`, `2h`, `1h30m` in seconds. Raises UsageError for anything else."""
    if text is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"--max-time: found '{text}'; allowed is a duration such as 90s, 30m, 2h or 1h30m")
    return sum(float(number) * SECONDS[unit or "s"] for number, unit in parts)
