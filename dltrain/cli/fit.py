"""`dltrain fit`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.errors import Stopped, UsageError
from dltrain.runtime.interrupts import Interrupts

if TYPE_CHECKING:
    from dltrain.config.experiment import Experiment
    from dltrain.experiment import Training
    from dltrain.run import Run

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str | None) -> float | None:
    """`90`, `90s`, `30m`, `2h`, `1h30m` in seconds. Raises UsageError for anything else."""
    if text is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"--max-time: found '{text}'; allowed is a duration such as 90s, 30m, 2h or 1h30m")
    return sum(float(number) * SECONDS[unit or "s"] for number, unit in parts)


def fit(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="The YAML file that says what to train, or a run directory.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Set one value over the file's; may be given again."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run directory. [default: runs/NAME-OF-CONFIG]")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, in the next numbered directory.")] = False,
    sample: Annotated[bool, typer.Option("--sample", help="Train on the embedded sample of the data.")] = False,
    max_time: Annotated[
        str | None, typer.Option(help="Stop with a checkpoint after this long (90s, 30m, 2h); exit code 75.")
    ] = None,
    inexact: Annotated[
        bool, typer.Option("--inexact", help="Continue even where the result cannot be the uninterrupted run's.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log and summary as JSON lines.")] = False,
) -> None:
    """Train what a YAML file describes; run again, it continues where it was stopped.

    Examples:

      dltrain fit configs/mnist_cnn.yaml

      dltrain fit configs/mnist_cnn.yaml --set trainer.epochs=3 --set model.channels=[16,32] -o runs/small

      dltrain fit configs/mnist_cnn.yaml --sample --max-time 30m
    """
    from dltrain.config.experiment import load
    from dltrain.run import CONFIG, numbered, open_run

    interrupts: Interrupts = context.obj
    interrupts.limit(seconds(max_time))
    words = [*(overrides or []), *(["data.sample=true"] if sample else [])]
    if (config / CONFIG).is_file():
        output = output or config
        config = config / CONFIG
    experiment = load(config, words).experiment
    directory = output or Path("runs") / config.stem
    if fresh:
        directory = numbered(directory)

    def tell(line: str) -> None:
        if not quiet and not json_logs:
            typer.echo(line, err=True)

    run = open_run(directory, experiment)
    try:
        for warning in run.warnings:
            typer.echo(f"warning: {warning}", err=True)
        tell(run.headline)
        if run.begins != "finished":
            _train(experiment, run, interrupts, tell, inexact=inexact, quiet=quiet, json_logs=json_logs)
    finally:
        run.lock.release()


def _train(
    experiment: Experiment,
    run: Run,
    interrupts: Interrupts,
    tell: Any,
    *,
    inexact: bool,
    quiet: bool,
    json_logs: bool,
) -> None:
    from dltrain.events import Observer
    from dltrain.experiment import train
    from dltrain.observers.console import ProgressBar, console, duration
    from dltrain.observers.times import TimesLog

    times = TimesLog(run.directory / "times.jsonl")
    shown: list[Observer] = []

    def observe(training: Training) -> list[Observer]:
        shown.append(console(training.task.goal, quiet=quiet, json_lines=json_logs))
        return [times, *shown]

    try:
        training = train(experiment, run, interrupts, observe, tell, inexact)
    except Stopped as stopped:
        if run.checkpoints.last() is None:
            raise
        advice = f"{run.directory}: a checkpoint is kept; the same command continues"
        raise Stopped(f"{stopped}\n{advice}", stopped.exit_code) from None
    finally:
        for observer in shown:
            if isinstance(observer, ProgressBar):
                observer.close()
        times.close()
    summary = summarise(experiment, run, training)
    summary["seconds in this process"] = round(times.seconds, 1)
    if json_logs:
        import json

        typer.echo(json.dumps(summary))
    elif not quiet:
        summary["time"] = duration(float(summary.pop("seconds in this process")))
        width = max(map(len, summary)) + 2
        for name, value in summary.items():
            typer.echo(f"{name:<{width}}{value}")


def summarise(experiment: Experiment, run: Run, training: Training) -> dict[str, Any]:
    """The run's outcome as a table, after its curves and its report have been written."""
    from dltrain.observers.report import curves, write_report

    goal, history, dataset = training.task.goal, training.state.history, training.dataset
    best = goal.best([record.get(goal.metric) for record in history])
    title = f"{experiment.model.name} on {dataset.name}, seed {experiment.seed}"
    curves(history, goal.metric, title, run.directory / "plots" / "training.png")
    facts: dict[str, Any] = {"data": dataset.name, "model": experiment.model.name, "seed": experiment.seed}
    if best is not None:
        facts["best epoch"] = f"{best + 1} of {len(history)}"
        facts[f"validation {goal.metric}"] = round(history[best][goal.metric], 6)
    facts["device"] = str(training.runtime.device)
    write_report(run.directory, title, facts, history, dataset.notice)
    facts["run directory"] = str(run.directory)
    facts["best checkpoint"] = str(run.directory / ("best" if best is not None else "last"))
    facts["curves"] = str(run.directory / "plots" / "training.png")
    facts["next"] = f"dltrain eval {run.directory}"
    return facts
