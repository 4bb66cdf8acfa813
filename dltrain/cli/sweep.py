"""`dltrain sweep`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from dltrain.cli.shared.training import Fresh, Inexact, MaxTime, Overrides, Quiet, seconds
from dltrain.errors import Stopped, UsageError
from dltrain.observers.messages import Messenger
from dltrain.runtime.interrupts import Interrupts

ROWS_SHOWN = 15


def sweep(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="The YAML file that says what to train; its `search:` what to vary.")],
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The trials' parent directory. [default: runs/NAME-sweep]")
    ] = None,
    fresh: Fresh = False,
    max_time: MaxTime = None,
    inexact: Inexact = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Search for better options.

    Tries values of the options that the config's `search:` section names. Each trial is a run of its own. The same
    command continues up to the number of trials; run by several processes, or by machines that share the directory, it
    shares the trials among them.

    Examples:

      dltrain sweep configs/mnist_sweep.yaml

      dltrain sweep configs/mnist_sweep.yaml --set search.trials=50 --max-time 2h
    """
    interrupts: Interrupts = context.obj
    interrupts.limit(seconds(max_time))
    if find_spec("optuna") is None:
        raise UsageError("a sweep needs Optuna, which is not installed", advice="pip install 'dltrain[sweep]'")
    from dltrain.config.experiment import load_experiment
    from dltrain.sweeps.members import named_file, raise_failed
    from dltrain.sweeps.search import Sweep, TrialManner, check_search

    file, name = named_file(config)
    loaded = load_experiment(file, overrides or ())
    check_search(file, loaded)
    manner = TrialManner(interrupts, Messenger(quiet, False), inexact)
    asked = Sweep(file, overrides or [], loaded, output or Path("runs") / f"{name}-sweep", fresh, manner)
    try:
        asked.run()
    except Stopped as stopped:
        asked.conclude()
        raise Stopped(f"{stopped}\n{asked.progress()}; the same command continues", stopped.exit_code) from None
    summary = asked.conclude()
    if as_json:
        typer.echo(json.dumps(summary))
    elif not quiet:
        _print(asked.directory, summary)
    blamed = [result for result in summary["trials"] if result["state"] == "failed" and not result["outcome"]]
    if blamed or summary["best"] is None:
        raise_failed(asked.directory, summary["trials"])


def _print(directory: Path, summary: Mapping[str, Any]) -> None:
    from dltrain.sweeps.members import SUMMARY, shown, table
    from dltrain.sweeps.search import BEST, PICTURE, best_of

    trials = summary["trials"]
    scored = [result for result in trials if "score" in result]
    if scored:
        sign = -1 if scored[0]["direction"] == "max" else 1
        scored.sort(key=lambda result: (result["state"] != "finished", sign * result["score"]))
        paths = list(dict.fromkeys(path for result in scored for path in result["values"]))
        rows = [["trial", "state", "epoch", scored[0]["metric"], *paths]]
        for one in scored[:ROWS_SHOWN]:
            values = [shortened(one["values"].get(path, "-")) for path in paths]
            rows.append(
                [str(one["number"]), one["state"], f"{one['epoch']}/{one['epochs']}", shown(one["score"]), *values]
            )
        typer.echo(table(rows))
        if len(scored) > ROWS_SHOWN:
            typer.echo(f"and {len(scored) - ROWS_SHOWN} more in {directory / SUMMARY}")
    for one in trials:
        if one["state"] == "failed":
            typer.echo(f"{one['name']} failed: exit code {one['exit_code']}: {one['message'].partition(chr(10))[0]}")
    running = sum(one["state"] == "running" for one in trials)
    if running:
        typer.echo(f"unfinished, or run by other processes: {running}")
    best = best_of(trials)
    if best is not None:
        typer.echo(
            f"\nbest: {best['name']}, validation {best['metric']} {best['score']:.6g}, the best of {len(scored)}"
        )
        typer.echo(f"config: {directory / BEST}\npicture: {directory / PICTURE}")
        typer.echo(f"next: dltrain eval {best['directory']}")


def shortened(value: str) -> str:
    """A value for a table: a number with many digits with six."""
    try:
        return f"{float(value):.6g}" if len(value) > 8 else value
    except ValueError:
        return value
