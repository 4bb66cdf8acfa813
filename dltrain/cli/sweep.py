"""`dltrain sweep`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from dltrain.cli.shared.options import ConfigFile, Fresh, Inexact, JsonTables, MaxTime, Overrides, Quiet, parse_seconds
from dltrain.cli.shared.settings import SHORTHANDS, takes_settings
from dltrain.cli.shared.tables import format_score, format_table
from dltrain.errors import UsageError
from dltrain.goal import Goal, Ranked
from dltrain.observers.console import Messenger
from dltrain.runtime.interrupts import Interrupts

ROWS_SHOWN = 15


@takes_settings(*SHORTHANDS)
def sweep(
    context: typer.Context,
    config: ConfigFile,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The trials' parent directory. [default: runs/NAME-sweep]")
    ] = None,
    fresh: Fresh = False,
    max_time: MaxTime = None,
    inexact: Inexact = False,
    quiet: Quiet = False,
    as_json: JsonTables = False,
) -> None:
    """Search for better options.

    Tries values of the options that the config's `search:` section names: sampled ones, or with `sampler: grid` every
    combination; none is tried twice. Each trial is a run of its own. The same command continues up to the number of
    trials; run by several processes, or by machines that share the directory, it shares the trials among them.

    Examples:

      dltrain sweep configs/mnist_sweep.yaml

      dltrain sweep configs/mnist_sweep.yaml --set search.trials=50 --max-time 2h

      dltrain sweep configs/mnist_sweep.yaml --set search.pruner=asha
    """
    if find_spec("optuna") is None:
        raise UsageError("a sweep needs Optuna, which is not installed", advice="pip install 'dltrain[sweep]'")
    from dltrain.sweeps.members import raise_failed
    from dltrain.sweeps.search import Sweep, TrialOptions

    interrupts: Interrupts = context.obj
    interrupts.limit(parse_seconds(max_time))
    options = TrialOptions(interrupts, Messenger(quiet), inexact, output, fresh=fresh)
    search = Sweep(config, overrides or [], options)
    summary = search.run()
    if as_json:
        typer.echo(json.dumps(summary))
    elif not quiet:
        typer.echo("\n".join(format_sweep(search.directory, summary)))
    faulty = [result for result in summary["trials"] if result["state"] == "failed" and not result["outcome"]]
    if faulty or summary["best"] is None:
        raise_failed(search.directory, summary["trials"])


def format_sweep(directory: Path, summary: Mapping[str, Any]) -> Iterator[str]:
    """The best trials as a table, the failed ones, and the best one, as lines."""
    from dltrain.runs.listing import SUMMARY
    from dltrain.sweeps.search import BEST, PICTURE, find_best_trial

    trials = summary["trials"]
    scored = [result for result in trials if "score" in result]
    if scored:
        yield format_trials(scored)
        if len(scored) > ROWS_SHOWN:
            yield f"and {len(scored) - ROWS_SHOWN} more in {directory / SUMMARY}"
    for one in trials:
        if one["state"] == "failed":
            yield f"{one['name']} failed: exit code {one['exit_code']}: {one['message'].partition(chr(10))[0]}"
    running = sum(one["state"] == "running" for one in trials)
    if running:
        yield f"unfinished, or run by other processes: {running}"
    best = find_best_trial(trials)
    if best is not None:
        yield f"\nbest: {best['name']}, validation {best['metric']} {best['score']:.6g}, the best of {len(scored)}"
        yield f"config: {directory / BEST}\npicture: {directory / PICTURE}"
        yield f"next: dltrain eval {best['directory']}"


def format_trials(scored: Sequence[Mapping[str, Any]]) -> str:
    """Trials with a score as a table, the best finished ones first."""
    goal = Goal(scored[0]["metric"], scored[0]["direction"])
    order = goal.rank([Ranked(result["score"], result["loss"]) for result in scored])
    ranked = sorted((scored[index] for index in order), key=lambda result: result["state"] != "finished")
    paths = list(dict.fromkeys(path for result in ranked for path in result["values"]))
    rows = [["trial", "state", "epoch", scored[0]["metric"], *paths]]
    for one in ranked[:ROWS_SHOWN]:
        values = [shorten_number(one["values"].get(path, "-")) for path in paths]
        epoch = f"{one['epoch']}/{one['epochs']}"
        rows.append([str(one["number"]), one["state"], epoch, format_score(one["score"]), *values])
    return format_table(rows)


def shorten_number(value: str) -> str:
    """A value for a table: a long number gets six digits."""
    try:
        return f"{float(value):.6g}" if len(value) > 8 else value
    except ValueError:
        return value
