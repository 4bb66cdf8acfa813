"""`dltrain cv`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dltrain.cli.shared.training import Fresh, Inexact, MaxTime, Overrides, Quiet, seconds
from dltrain.observers.messages import Messenger
from dltrain.runtime.interrupts import Interrupts


def cross_validate(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="The YAML file that says what to train.")],
    folds: Annotated[int, typer.Option(min=2, help="Parts that the training data is divided into.")] = 5,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The runs' parent directory. [default: runs/NAME-cv]")
    ] = None,
    fresh: Fresh = False,
    max_time: MaxTime = None,
    inexact: Inexact = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Cross-validate.

    Trains once for each fold on the other folds and evaluates on that fold. Every example of the training data is held
    out exactly once; the dataset's own test set is not read. Each run keeps its data.validation share of the other
    folds to choose its best epoch by. Where the data has labels, each fold has their shares; where the config says
    data.group, no group is in two folds.

    Examples:

      dltrain cv configs/iris.yaml

      dltrain cv configs/mnist_mlp.yaml --folds 10 --set trainer.epochs=3 --json
    """
    from dltrain.config.experiment import load_experiment
    from dltrain.runs.directory import Lock
    from dltrain.sweeps.folds import FOLD, KIND, check_folds, held_out, member
    from dltrain.sweeps.members import Manner, named_file, prepare, raise_failed, refuse_set, run_all

    interrupts: Interrupts = context.obj
    interrupts.limit(seconds(max_time))
    refuse_set(overrides or [], FOLD, "cv")
    file, name = named_file(config)
    check_folds(file, load_experiment(file, overrides or ()).experiment)
    members = [member(file, overrides or [], index, folds) for index in range(folds)]
    parent = prepare(output or Path("runs") / f"{name}-cv", KIND, fresh)
    manner = Manner(interrupts, Messenger(quiet, False), inexact)
    lock = Lock(parent)
    try:
        summary = run_all(parent, KIND, members, manner, lambda one: held_out(parent, one, manner))
    finally:
        lock.release()
    if as_json:
        typer.echo(json.dumps(summary))
    elif not quiet:
        _print(parent, summary)
    raise_failed(parent, summary["members"])


def _print(parent: Path, summary: Mapping[str, Any]) -> None:
    from dltrain.sweeps.folds import pooled
    from dltrain.sweeps.members import SUMMARY, table, tables

    finished = [result for result in summary["members"] if result["state"] == "finished"]
    if finished:
        typer.echo(f"held-out folds of {finished[0]['dataset']}, {len(finished)} of {len(summary['members'])}")
    typer.echo(tables(summary, "fold"))
    confusion = pooled(summary["members"])
    if confusion is not None and len(finished) > 1:
        labels, counts = confusion
        rows = [["", *labels], *([label, *map(str, row)] for label, row in zip(labels, counts, strict=True))]
        typer.echo(f"\nconfusion matrix of all folds together (rows: true, columns: predicted)\n{table(rows)}")
    typer.echo(f"\nsummary: {parent / SUMMARY}")
