"""`dltrain fit`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.shared.options import ConfigFile, Fresh, Inexact, MaxTime, NoLock, Overrides, Quiet, parse_seconds
from dltrain.cli.shared.settings import SHORTHANDS, takes_settings
from dltrain.cli.shared.tables import format_facts, format_members, print_summary
from dltrain.observers.console import Messenger
from dltrain.runtime.interrupts import Interrupts

if TYPE_CHECKING:
    from dltrain.runs.directory import Run
    from dltrain.sweeps.members import RunOptions


@takes_settings(*SHORTHANDS)
def fit(
    context: typer.Context,
    config: ConfigFile,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run directory. [default: runs/NAME-OF-CONFIG]")
    ] = None,
    fresh: Fresh = False,
    sample: Annotated[bool, typer.Option("--sample", help="Train on the embedded sample of the data.")] = False,
    max_time: MaxTime = None,
    inexact: Inexact = False,
    no_lock: NoLock = False,
    seeds: Annotated[
        str | None, typer.Option(metavar="0,1,2", help="Train once with each seed (also 0-4), and compare.")
    ] = None,
    quiet: Quiet = False,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Print log and summary as JSON lines.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Train a model; resumes an unfinished run.

    Examples:

      dltrain fit configs/mnist_cnn.yaml

      dltrain fit mnist_cnn --epochs 3 --lr 2e-3 --device cpu

      dltrain fit configs/mnist_cnn.yaml trainer.epochs=3 model.channels=[16,32] -o runs/small

      dltrain fit configs/mnist_cnn.yaml --sample --max-time 30m

      dltrain fit configs/mnist_cnn.yaml --seeds 0-4
    """
    interrupts: Interrupts = context.obj
    interrupts.limit(parse_seconds(max_time))
    overrides = [*(overrides or []), *(["data.sample=true"] if sample else [])]
    from dltrain.sweeps.members import RunOptions

    options = RunOptions(interrupts, Messenger(quiet, json_logs), inexact, output, fresh=fresh, locking=not no_lock)
    as_json = as_json or json_logs
    if seeds is None:
        fit_run(config, overrides, options, as_json)
        return
    from dltrain.sweeps.repeats import train_seeds

    parent, summary = train_seeds(config, overrides, seeds, options)
    print_summary(parent, summary, format_seeds(summary), as_json=as_json, quiet=quiet)


def fit_run(config: Path, overrides: list[str], options: RunOptions, as_json: bool) -> None:
    """Start, resume or extend one run, and print its summary."""
    from dltrain.config.experiment import load_experiment
    from dltrain.files import find_free_directory
    from dltrain.observers.console import JsonLines, MutedWhenClosed
    from dltrain.runs.finding import find_config
    from dltrain.runs.fitting import fit_experiment

    file, name = find_config(config)
    experiment, messenger = load_experiment(file, overrides).experiment, options.messenger
    directory = options.output or (Path("runs") / name if file == config else config)
    fitted = fit_experiment(
        experiment,
        find_free_directory(directory) if options.fresh else directory,
        interrupts=options.interrupts,
        messenger=messenger,
        inexact=options.inexact,
        locking=options.locking,
        watching=[MutedWhenClosed(JsonLines(sys.stderr))] if messenger.json_lines else [],
    )
    if fitted.seconds is not None or fitted.completed or as_json:
        print_outcome(fitted.run, messenger, fitted.seconds, as_json)


def print_outcome(run: Run, messenger: Messenger, seconds: float | None, as_json: bool) -> None:
    """Print the outcome of a finished run, from its last checkpoint, as a table or as one JSON object."""
    from dltrain.core.verdict import list_remarks, read_baseline_scores
    from dltrain.observers.console import format_baselines, format_duration
    from dltrain.observers.data_report import read_data
    from dltrain.observers.run_pictures import CURVES
    from dltrain.report.contents import REPORT
    from dltrain.report.outcome import summarize_outcome

    last = run.checkpoints.last()
    assert last is not None, "a finished run has a checkpoint"
    places = {"run directory": str(run.directory), "best checkpoint": str(run.directory / "best")}
    files = {"curves": run.directory / CURVES, "report": run.directory / REPORT}
    places |= {name: str(path) for name, path in files.items() if path.exists()}
    following = f"dltrain eval {run.directory}"
    data, baselines = read_data(run.directory), read_baseline_scores(run.directory)
    remarks = list_remarks(run.directory, last.record, last.goal, data)
    if as_json:
        from dltrain.runs.listing import read_run

        plain = read_run(run.directory).to_plain("history", "config", "members")
        plain |= {name.replace(" ", "_"): value for name, value in places.items()} | {"next": following}
        plain |= {"torch": last.record.signature["torch"], "facts": last.record.facts, "baselines": baselines}
        plain |= {"remarks": remarks, "data_read": data}
        typer.echo(json.dumps({**plain, "seconds_in_this_process": seconds and round(seconds, 1)}))
    elif not messenger.quiet:
        facts = summarize_outcome(last)
        if seconds is not None:
            facts["time"] = format_duration(seconds)
        if baselines:
            facts["baselines"] = format_baselines(baselines, last.goal.metric)
        rows = {**facts, **places, "next": following}
        width = max(map(len, rows)) + 2
        for name, value in rows.items():
            if name == "next":
                typer.echo("".join(f"note: {remark}\n" for remark in remarks), nl=False)
            typer.echo(f"{name:<{width}}{value}")


def format_seeds(summary: Mapping[str, Any]) -> Iterator[str]:
    """The scores of the runs with several seeds, as lines."""
    finished = [result for result in summary["members"] if result["state"] == "finished"]
    if finished:
        yield f"validation split of {finished[0]['dataset']}, the best epoch of each run by {finished[0]['metric']}"
        yield from format_facts(finished)
    yield format_members(summary, "seed")
