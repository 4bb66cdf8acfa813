"""One run from its config to its end: the directory is opened, trained in with the config's observers, and released."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.config.catalogue import load_package_catalogue
from dltrain.config.experiment import Experiment
from dltrain.errors import DltrainError, Stopped, UsageError
from dltrain.events import Observer
from dltrain.observers.console import Messenger
from dltrain.options import AUTO
from dltrain.runs.directory import Run, open_run
from dltrain.runtime.interrupts import Interrupts

if TYPE_CHECKING:
    from dltrain.runs.building import Training


@dataclass(frozen=True)
class FittedRun:
    """A run that is finished.

    `seconds` are those that this process trained for; None if the run had been finished before. `completed` says that
    it had, but for its report, which was written now.
    """

    run: Run
    seconds: float | None = None
    completed: bool = False


def fit_experiment(
    experiment: Experiment,
    directory: Path,
    *,
    interrupts: Interrupts,
    messenger: Messenger,
    inexact: bool = False,
    locking: bool = True,
    watching: Sequence[Observer] = (),
) -> FittedRun:
    """Start, resume or extend the run in `directory` and train it to its end; a finished one is left alone.

    `watching` are observers beside the config's; without `locking` nothing keeps other processes out. Raises RunBusy;
    UsageError for other settings than the run's, and for changed data; Stopped and Diverged, which report the
    checkpoint that is left.
    """
    from dltrain.runs.changed_data import check_finished_run

    check_packages(experiment)
    run = open_run(directory, experiment, locking=locking)
    try:
        if run.begins == "finished":
            check_finished_run(run, experiment, messenger)
        messenger.inform(run.headline)
        for warning in (*experiment.warnings, *run.warnings):
            messenger.warn(warning)
        if run.begins == "finished":
            return FittedRun(run, completed=complete_report(run, experiment))
        with interrupts.preparing():
            experiment = _settle_batch_size(experiment, run, messenger)
        seconds = _train(experiment, run, interrupts, messenger, inexact=inexact, watching=watching)
        return FittedRun(run, seconds)
    except BaseException:
        run.remove_if_untrained()
        raise
    finally:
        run.release()


def check_packages(experiment: Experiment) -> None:
    """Raises UsageError where an observer needs a package that is not installed."""
    catalogue = load_package_catalogue()
    for number, choice in enumerate(experiment.observers, 1):
        entry = catalogue.find("observer", choice.name)
        needed = None if entry is None else entry.facts.get("needs")
        if needed is not None and find_spec(needed) is None:
            raise UsageError(
                f"observers.{number}: '{choice.name}' needs the package {needed}, which is not installed",
                advice=f"pip install 'dltrain[{choice.name}]', or leave this observer out",
            )


def _settle_batch_size(experiment: Experiment, run: Run, messenger: Messenger) -> Experiment:
    """The experiment with a number for `data.batch_size: auto`, which is found now or was recorded."""
    if experiment.data.options.get("batch_size") != AUTO:
        return experiment
    from dltrain.runs.batch_size import settle_batch_size

    experiment, found = settle_batch_size(experiment, None if run.checkpoint is None else run.checkpoint.record)
    if found is not None:
        messenger.inform(f"data.batch_size: {found.size} ({found.why})")
    return experiment


def _train(
    experiment: Experiment,
    run: Run,
    interrupts: Interrupts,
    messenger: Messenger,
    *,
    inexact: bool,
    watching: Sequence[Observer],
) -> float:
    """Train to the end with the config's observers; the seconds that it took."""
    from dltrain.events import Interrupted, WatchedRun
    from dltrain.observers.console import Guarded
    from dltrain.runs.building import construct_observer
    from dltrain.runs.training import train_run

    guarded: list[Guarded] = []
    start = time.perf_counter()

    def observe(training: Training) -> list[Observer]:
        watched = WatchedRun(
            directory=run.directory,
            config=experiment.resolved(),
            dataset=training.dataset.name,
            goal=training.task.goal,
            quiet=messenger.quiet or messenger.json_lines,
            warn=messenger.warn,
        )
        for choice in experiment.observers:
            built = construct_observer(training.names, choice, watched)
            guarded.append(Guarded(choice.name, built, messenger.warn))
        return [*watching, *guarded]

    try:
        training = train_run(experiment, run, interrupts, observe, messenger=messenger, inexact=inexact)
        if any(choice.name == "report" for choice in experiment.observers):
            _note_validation(run, training, messenger)
    except Exception as error:
        why = error.message if isinstance(error, DltrainError) else f"{type(error).__name__}: {error}"
        for observer in guarded:
            observer(Interrupted(why, resumable=isinstance(error, Stopped)))
        raise
    finally:
        for observer in guarded:
            observer.close()
    return time.perf_counter() - start


def _note_validation(run: Run, training: Training, messenger: Messenger) -> None:
    """Keep for the report what the best weights do on the validation split; a fault there is a warning, no error."""
    from dltrain.report.building import keep_validation

    try:
        keep_validation(run.directory, training.dataset, messenger.warn)
    except Exception as error:  # the run itself is finished, and nothing may take that back
        messenger.warn(f"the report lacks the findings on the validation split: {type(error).__name__}: {error}")


def complete_report(run: Run, experiment: Experiment) -> bool:
    """Write the report of a finished run that was killed before it was written; whether it was missing."""
    from dltrain.report.building import write_report
    from dltrain.report.contents import REPORT
    from dltrain.report.outcome import draw_outcome

    last = run.checkpoints.last()
    reports = any(choice.name == "report" for choice in experiment.observers)
    if last is None or not reports or run.lock is None or (run.directory / REPORT).exists():
        return False
    draw_outcome(run.directory, last)
    write_report(run.directory, ours=True)
    return True
