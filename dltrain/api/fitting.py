"""`dltrain.fit`: train from Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from dltrain.api.host import PythonMessenger, borrow_torch, log_epoch, name_faults
from dltrain.api.loaded_run import LoadedRun, load
from dltrain.config.experiment import Experiment, load_experiment
from dltrain.config.settings import make_plain, nest_settings
from dltrain.errors import Stopped
from dltrain.events import Event, Observer
from dltrain.files import find_free_directory
from dltrain.observers.console import Guarded
from dltrain.runs.finding import RUNS, find_config
from dltrain.runs.fitting import fit_experiment
from dltrain.runtime.interrupts import HostedInterrupts

INTERRUPTED = 130


def fit(
    config: str | PathLike[str] | Mapping[str, Any],
    *,
    output: str | PathLike[str] | None = None,
    sample: bool = False,
    fresh: bool = False,
    inexact: bool = False,
    max_seconds: float | None = None,
    watch: Callable[[Event], None] | None = None,
    **settings: Any,
) -> LoadedRun:
    """Train a model, or resume its unfinished run, and return the trained run.

    `config` is a YAML file, a run directory, the name of a config that comes with dltrain, or a mapping with the same
    sections. `settings` override it: shorthands (`epochs`, `lr`, `batch_size`, `device`), sections
    (`trainer={"patience": 2}`) and single options (`model__hidden=[64]`). `output` is the run directory, by default
    `runs/NAME`; `fresh` takes the next free one. `sample` trains on the data's embedded sample. `watch` is called with
    each event of the training (`dltrain.events`).

    Nothing is printed: notes and epochs go to the logger `dltrain`, warnings are `dltrain.DltrainWarning`s. An
    interrupt, such as a notebook's, saves a checkpoint and raises KeyboardInterrupt; the same call resumes. After
    `max_seconds` the same happens with `dltrain.errors.Stopped`. Other errors are `dltrain.DltrainError`s, such as
    RunBusy, where another process trains in the directory. In a process one training runs at a time; other threads
    wait. torch's random state and thread count are as before when it returns.
    """
    given = nest_settings({**({"data__sample": True} if sample else {}), **settings})
    messenger, interrupts = PythonMessenger(), HostedInterrupts()
    watching: list[Observer] = [log_epoch, *([] if watch is None else [Guarded("watch", watch, messenger.warn)])]
    with name_faults(), borrow_torch(), interrupts:
        interrupts.limit(max_seconds)
        experiment, directory = _read_config(config, given)
        place = directory if output is None else Path(output)
        place = find_free_directory(place) if fresh else place
        try:
            fitted = fit_experiment(
                experiment, place, interrupts=interrupts, messenger=messenger, inexact=inexact, watching=watching
            )
        except Stopped as stopped:
            if stopped.exit_code == INTERRUPTED:
                raise KeyboardInterrupt(f"training is stopped; the same call resumes it in {place}") from stopped
            stopped.advice = f"call fit again to resume in {place}"
            raise
    return load(fitted.run.directory)


def _read_config(
    config: str | PathLike[str] | Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[Experiment, Path]:
    """The experiment, and the directory for its run where none is given."""
    if isinstance(config, Mapping):
        experiment = load_experiment(make_plain(config), [settings]).experiment
        return experiment, RUNS / f"{experiment.data.name}_{experiment.model.name}"
    file, name = find_config(Path(config))
    return load_experiment(file, [settings]).experiment, RUNS / name if file == Path(config) else Path(config)
