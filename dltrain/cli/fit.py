"""`dltrain fit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.shared.training import Fresh, Inexact, MaxTime, Overrides, Quiet, seconds
from dltrain.errors import Diverged, DltrainError, Stopped
from dltrain.observers.messages import Messenger
from dltrain.runtime.interrupts import Interrupts

if TYPE_CHECKING:
    from dltrain.config.experiment import Experiment
    from dltrain.runs.building import Training
    from dltrain.runs.directory import Run


def fit(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="The YAML file that says what to train, or a run directory.")],
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run directory. [default: runs/NAME-OF-CONFIG]")
    ] = None,
    fresh: Fresh = False,
    sample: Annotated[bool, typer.Option("--sample", help="Train on the embedded sample of the data.")] = False,
    max_time: MaxTime = None,
    inexact: Inexact = False,
    seeds: Annotated[
        str | None, typer.Option(metavar="0,1,2", help="Train once with each seed (also 0-4), and compare.")
    ] = None,
    quiet: Quiet = False,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log and summary as JSON lines.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object.")] = False,
) -> None:
    """Train a model; resumes an unfinished run.

    Examples:

      dltrain fit configs/mnist_cnn.yaml

      dltrain fit configs/mnist_cnn.yaml --set trainer.epochs=3 --set model.channels=[16,32] -o runs/small

      dltrain fit configs/mnist_cnn.yaml --sample --max-time 30m

      dltrain fit configs/mnist_cnn.yaml --seeds 0-4
    """
    from dltrain.config.experiment import load_experiment
    from dltrain.runs.directory import CONFIG, find_free_directory, open_run

    interrupts: Interrupts = context.obj
    interrupts.limit(seconds(max_time))
    words = [*(overrides or []), *(["data.sample=true"] if sample else [])]
    voice = Messenger(quiet, json_logs)
    if seeds is not None:
        from dltrain.sweeps.members import Manner, fit_seeds

        fit_seeds(config, words, seeds, output, fresh, Manner(interrupts, voice, inexact), as_json)
        return
    if (config / CONFIG).is_file():
        output = output or config
        config = config / CONFIG
    experiment = load_experiment(config, words).experiment
    directory = output or Path("runs") / config.stem
    if fresh:
        directory = find_free_directory(directory)
    run = open_run(directory, experiment)
    try:
        voice.tell(run.headline)
        for warning in run.warnings:
            voice.tell(f"warning: {warning}")
        if run.begins != "finished":
            time = _train(experiment, run, interrupts, voice, inexact)
            _print(summarise(run), voice, time, as_json)
        elif (
            json_logs or as_json or not (run.directory / "report.html").exists()
        ):  # killed between its end and its report
            _print(summarise(run), voice, None, as_json)
    except DltrainError:
        run.remove_if_empty()
        raise
    finally:
        run.lock.release()


def _train(experiment: Experiment, run: Run, interrupts: Interrupts, voice: Messenger, inexact: bool) -> float:
    """Train to the end; the seconds that this process trained for."""
    from dltrain.events import Observer
    from dltrain.observers.console import ProgressBar, console, unheard
    from dltrain.observers.times import TimesLog
    from dltrain.runs.training import train_run

    times = TimesLog(run.directory / "times.jsonl")
    shown: list[Observer] = []

    def observe(training: Training) -> list[Observer]:
        shown.append(console(training.task.goal, quiet=voice.quiet, json_lines=voice.json_lines))
        return [times, *map(unheard, shown)]

    try:
        train_run(experiment, run, interrupts, observe, voice.tell, inexact)
    except Stopped as stopped:
        if run.checkpoints.last() is None:
            raise
        advice = f"rerun the same command to resume from the checkpoint in {run.directory}"
        raise Stopped(stopped.message, stopped.exit_code, advice=advice) from None
    except Diverged as diverged:
        last = run.checkpoints.last()
        kept = "no checkpoint was written before" if last is None else f"the last checkpoint is kept ({last.name})"
        raise Diverged(f"{diverged.message}; {kept}", advice=diverged.advice) from None
    finally:
        for observer in shown:
            if isinstance(observer, ProgressBar):
                observer.close()
    return times.seconds


def summarise(run: Run) -> dict[str, Any]:
    """The outcome of a finished run as a table, after its curves and its report have been written.

    All of it comes from the last checkpoint, so it can be made again by any later process.
    """
    from dltrain.observers.report import curves, write_report

    last = run.checkpoints.last()
    assert last is not None, "a finished run has a checkpoint"
    record, goal = last.record, last.goal
    history, config = record.history, record.config
    best = history.best(goal)
    title = f"{config['model']['name']} on {record.dataset}, seed {config['seed']}"
    picture = run.directory / "plots" / "training.png"
    curves(history, goal.metric, title, picture)
    facts: dict[str, Any] = {"data": record.dataset, "model": config["model"]["name"], "seed": config["seed"]}
    if best is not None:
        facts["best epoch"] = f"{best + 1} of {len(history)}"
        facts[f"validation {goal.metric}"] = round(history[best][goal.metric], 6)
    facts["device"] = f"{record.signature['device']}, torch {record.signature['torch']}"
    write_report(run.directory, title, facts, history, record.notice)
    facts["run directory"] = str(run.directory)
    facts["best checkpoint"] = str(run.directory / "best")
    facts["curves"] = str(picture)
    facts["next"] = f"dltrain eval {run.directory}"
    return facts


def _print(summary: dict[str, Any], voice: Messenger, seconds: float | None, as_json: bool) -> None:
    from dltrain.observers.console import duration

    if voice.json_lines or as_json:
        typer.echo(json.dumps({**summary, "seconds in this process": seconds and round(seconds, 1)}))
    elif not voice.quiet:
        if seconds is not None:
            summary["time"] = duration(seconds)
        width = max(map(len, summary)) + 2
        for name, value in summary.items():
            typer.echo(f"{name:<{width}}{value}")
