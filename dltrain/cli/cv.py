"""`dltrain cv`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dltrain.cli.shared.options import (
    ConfigFile,
    Fresh,
    Inexact,
    JsonTables,
    MaxTime,
    NoLock,
    Overrides,
    Quiet,
    parse_seconds,
)
from dltrain.cli.shared.settings import SHORTHANDS, takes_settings
from dltrain.cli.shared.tables import format_confusion, format_facts, format_members, print_summary
from dltrain.observers.console import Messenger
from dltrain.runtime.interrupts import Interrupts


@takes_settings(*SHORTHANDS)
def cross_validate(
    context: typer.Context,
    config: ConfigFile,
    folds: Annotated[int, typer.Option(min=2, help="Parts that the training data is divided into.")] = 5,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The runs' parent directory. [default: runs/NAME-cv]")
    ] = None,
    fresh: Fresh = False,
    max_time: MaxTime = None,
    inexact: Inexact = False,
    no_lock: NoLock = False,
    quiet: Quiet = False,
    as_json: JsonTables = False,
) -> None:
    """Cross-validate.

    Trains once for each fold on the other folds and evaluates on that fold. Every example of the training data is held
    out exactly once; the dataset's own test set is not read. Each run keeps its data.validation share of the other
    folds to choose its best epoch by. Where the data has labels, each fold has their shares; where the config says
    data.group, no group is in two folds.

    Examples:

      dltrain cv configs/iris_dense.yaml

      dltrain cv configs/mnist_mlp.yaml --folds 10 --epochs 3 --json
    """
    from dltrain.sweeps.members import RunOptions
    from dltrain.sweeps.repeats import train_folds

    interrupts: Interrupts = context.obj
    interrupts.limit(parse_seconds(max_time))
    options = RunOptions(interrupts, Messenger(quiet), inexact, output, fresh=fresh, locking=not no_lock)
    parent, summary = train_folds(config, overrides or [], folds, options)
    print_summary(parent, summary, format_folds(summary), as_json=as_json, quiet=quiet)


def format_folds(summary: Mapping[str, Any]) -> Iterator[str]:
    """The scores on the folds, and their confusion matrices summed, as lines."""
    from dltrain.sweeps.repeats import pool_confusion

    finished = [result for result in summary["members"] if result["state"] == "finished"]
    if finished:
        yield f"held-out folds of {finished[0]['dataset']}, {len(finished)} of {len(summary['members'])}"
        yield from format_facts(finished)
    yield format_members(summary, "fold")
    confusion = pool_confusion(summary["members"])
    if confusion is not None and len(finished) > 1:
        title = "confusion matrix of all folds together (rows: true, columns: predicted)"
        yield f"\n{title}\n{format_confusion(*confusion)}"
