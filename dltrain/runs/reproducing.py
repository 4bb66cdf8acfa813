"""Train a run again from what it recorded, and compare every step, every epoch and the weights, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.config.experiment import Experiment, load_experiment, load_tree
from dltrain.config.values import Choice
from dltrain.core.checkpoint import MANIFEST, WEIGHTS, Checkpoint, Checkpoints
from dltrain.core.record import Record
from dltrain.errors import DataError, NoCheckpoint, Stopped, UsageError
from dltrain.events import Evaluated, Event
from dltrain.files import hash_file
from dltrain.runs.directory import CONFIG, ENVIRONMENT, find_differences, resolve_for_run
from dltrain.runs.finding import find_checkpoint
from dltrain.runs.run_facts import read_json, read_json_lines
from dltrain.runs.sharing import METRICS
from dltrain.runtime.interrupts import Interrupts

if TYPE_CHECKING:
    from dltrain.observers.console import Messenger

NOT_COMPARED = ("observers", "plugins", "trainer.threads")
"""Settings that are no part of a result, or are compared as what they led to."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first thing that differs: the step and the epoch, what was measured there, and both values."""

    step: int | None
    epoch: float | None
    what: str
    recorded: Any
    again: Any

    def to_plain(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Reproduction:
    """The outcome. `around` are things that differ between both trainings, by name, each with both values."""

    directory: Path
    epochs: float
    measurements: int
    checkpoints: Sequence[str]
    difference: Difference | None
    around: Mapping[str, tuple[Any, Any]]
    complete: bool
    """Whether all epochs and the last checkpoint were compared."""


class RecordedRun:
    """What a run recorded: its directory, given itself or unpacked, and the paths in it."""

    def __init__(self, directory: Path, shown: Path, *, shared: bool = False) -> None:
        self.directory, self.shown, self.shared = directory, shown, shared

    @cached_property
    def checkpoints(self) -> dict[str, Checkpoint]:
        return {one.name: one for one in Checkpoints(self.directory / "checkpoints").sound()}

    @cached_property
    def record(self) -> Record:
        """Of its last checkpoint. Raises NoCheckpoint where there is none, or no epoch was finished."""
        if (self.directory / MANIFEST).is_file():
            raise UsageError(
                f"{self.shown}: is one checkpoint of a run, and the whole run is compared",
                advice=f"name the run directory, {self.directory.resolve().parents[1]}",
            )
        if not (self.directory / CONFIG).is_file():
            find_checkpoint(self.directory)  # names the runs nearby
        last = next(reversed(self.checkpoints.values()), None)
        if last is None or not last.record.history:
            raise NoCheckpoint(f"{self.shown}: no epoch of it was finished", advice="name a trained run")
        return last.record

    @cached_property
    def measurements(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; without that file, one for each epoch of the history."""
        lines = [line for line in read_json_lines(self.directory / METRICS) if line.get("event") != "run"]
        return lines or [{"event": "epoch", **describe_epoch(entry)} for entry in self.record.history]

    @property
    def edited(self) -> str | None:
        """What was changed after training: metrics.jsonl, whose hash a checkpoint has."""
        mark, path = self.record.metrics, self.directory / METRICS
        if mark is None or not path.is_file() or self.record.finished is None:
            return None
        return None if hash_file(path) == mark["sha256"] else f"{METRICS} was edited after training"

    def load(self, overrides: Sequence[str], plugins: bool) -> Experiment:
        """Its experiment, with other settings, the recorded number of threads, and no observers but for progress.

        Plug-ins of a shared file are executed only with `plugins`: UsageError names them.
        """
        names = sorted(self.record.plugins)
        if self.shared and names and not plugins:
            raise UsageError(
                f"{self.shown}: to train it again executes its plug-ins: {', '.join(names)}",
                advice="read them (unzip), and then add --plugins",
            )
        if self.shared:
            experiment = self._load_shared(names)
            if overrides:
                experiment = load_experiment(escape_references(experiment.resolved()), overrides).experiment
        else:
            experiment = load_experiment(self.directory / CONFIG, overrides).experiment
        threads, set_threads = self.record.signature.get("threads"), experiment.trainer.threads
        plan = replace(experiment.trainer, threads=set_threads or threads)
        return replace(experiment, trainer=plan, observers=(Choice("progress", {}),))

    def _load_shared(self, names: Sequence[str]) -> Experiment:
        """Paths of the data are relative to the working directory, as they are for a checkpoint without its run."""
        for name, source in self.record.plugins.items():
            path = self.directory / "plugins" / Path(name).name
            path.parent.mkdir(exist_ok=True)
            path.write_text(source, encoding="utf-8")
        tree = json.loads(json.dumps(self.record.config))
        tree["plugins"] = [str((self.directory / "plugins" / Path(name).name).resolve()) for name in names]
        return load_tree(tree, str(self.shown))


def escape_references(tree: Any) -> Any:
    """A tree of settings in which no text names a variable of the environment: a stranger wrote them."""
    if isinstance(tree, Mapping):
        return {name: escape_references(value) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [escape_references(value) for value in tree]
    return tree.replace("${", "$${") if isinstance(tree, str) else tree


class ComparingInterrupts(Interrupts):
    """Those of the process, and a stop once `is_done` says that enough was compared."""

    def __init__(self, outer: Interrupts, is_done: Callable[[], bool]) -> None:
        self._outer, self._is_done = outer, is_done

    @property
    def training(self) -> bool:
        return self._outer.training

    @training.setter
    def training(self, value: bool) -> None:
        self._outer.training = value

    def take_save_request(self) -> bool:
        return self._outer.take_save_request()

    def is_out_of_time(self) -> bool:
        return self._outer.is_out_of_time()

    def pending(self) -> Stopped | None:
        return self._outer.pending() or (Stopped("enough was compared", 0) if self._is_done() else None)


class LineComparison:
    """An observer that compares what is measured with what was recorded, line by line, until they differ."""

    def __init__(self, recorded: Sequence[Mapping[str, Any]], path: Path, epochs: float) -> None:
        self.recorded, self.path, self.epochs = recorded, path, epochs
        self.compared, self.epoch = 0, 0.0
        self.difference: Difference | None = None

    def __call__(self, event: Event) -> None:
        if self.difference is None:
            self.compare()
        if isinstance(event, Evaluated):
            self.epoch = event.epoch

    def is_done(self) -> bool:
        return self.difference is not None or self.epoch >= self.epochs

    def compare(self) -> None:
        """Compare the lines that are new. Evaluations have no step events beside them, where only epochs are known."""
        steps = any(line["event"] == "step" for line in self.recorded)
        lines = [line for line in read_json_lines(self.path) if line.get("event") != "run"]
        lines = [line for line in lines if steps or line["event"] != "step"]
        for recorded, again in zip(self.recorded[self.compared :], lines[self.compared :], strict=False):
            found = next(find_measured_differences(recorded, again), None)
            if found is not None:
                self.difference = Difference(step=again.get("step"), epoch=again.get("epoch"), **found)
                return
            self.compared += 1


def find_measured_differences(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The names of measurements whose values differ, with both; the names of data sets are compared elsewhere."""
    for name in [*recorded, *(name for name in again if name not in recorded)]:
        if name == "gradient_norm" and name not in recorded:  # a run of an earlier version, which did not record it
            continue
        if name not in ("dataset", "improved") and recorded.get(name) != again.get(name):
            yield {"what": name, "recorded": recorded.get(name), "again": again.get(name)}


def describe_epoch(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An epoch of a history as metrics.jsonl has it."""
    plain = ("epoch", "step", "training_loss", "learning_rate")
    return {name if name in plain else f"validation_{name}": value for name, value in entry.items()}


def reproduce_run(
    recorded: RecordedRun,
    experiment: Experiment,
    directory: Path,
    *,
    epochs: int | None,
    interrupts: Interrupts,
    messenger: Messenger,
) -> Reproduction:
    """Train `experiment` in the new `directory`, until it differs from what was recorded or is complete.

    `epochs` are those to compare, all that were finished by default; the schedule stays that of the whole run.
    """
    from dltrain.runs.fitting import fit_experiment

    history = recorded.record.history
    number = min(epochs or history[-1]["epoch"], history[-1]["epoch"])
    last_step = max(entry["step"] for entry in history if entry["epoch"] <= number)
    lines = [line for line in recorded.measurements if line["step"] <= last_step]
    comparison = LineComparison(lines, directory / METRICS, number)
    whole = number == history[-1]["epoch"] and recorded.record.finished is not None
    stop = ComparingInterrupts(interrupts, lambda: comparison.difference is not None if whole else comparison.is_done())
    try:
        fit_experiment(experiment, directory, interrupts=stop, messenger=messenger, watching=[comparison])
    except Stopped as stopped:
        if stopped.exit_code:
            stopped.advice = "run the same command again; with -o, in another directory"
            raise
    except DataError as error:
        advice = "where the data is elsewhere, give --root DIR or --set data.OPTION=PATH"
        error.advice = advice if error.advice is None else f"{error.advice}\n{advice}"
        raise
    if comparison.difference is None:
        comparison.compare()
    again = RecordedRun(directory, directory)
    difference = comparison.difference
    compared: list[str] = []
    if difference is None and comparison.compared < len(lines):
        missing = lines[comparison.compared]
        difference = Difference(
            step=missing["step"], epoch=missing["epoch"], what="the end", recorded="trained on", again="ended before"
        )
    if difference is None:
        difference, compared = compare_weights(recorded.checkpoints, again.checkpoints, last_step)
    return Reproduction(
        directory,
        number,
        comparison.compared,
        checkpoints=compared,
        difference=difference,
        around=find_surroundings(recorded, again, experiment),
        complete=whole,
    )


def compare_weights(
    recorded: Mapping[str, Checkpoint], again: Mapping[str, Checkpoint], last_step: int
) -> tuple[Difference | None, list[str]]:
    """The first difference of the weights in checkpoints that both have, up to a step, and those that are equal."""
    equal = []
    for name, checkpoint in recorded.items():
        if name not in again or checkpoint.manifest["step"] > last_step:
            continue
        digests = [one.manifest["files"][WEIGHTS]["sha256"] for one in (checkpoint, again[name])]
        if digests[0] == digests[1]:
            equal.append(name)
            continue
        tensors = [one.weights() for one in (checkpoint, again[name])]
        tensor = next((key for key in tensors[0] if not _is_equal(tensors[0][key], tensors[1].get(key))), "names")
        step, epoch = checkpoint.manifest["step"], checkpoint.record.history[-1]["epoch"]
        before, after = (digest[:12] for digest in digests)
        what = f"weights of {name}: {tensor}"
        return Difference(step=step, epoch=epoch, what=what, recorded=before, again=after), equal
    return None, equal


def _is_equal(first: Any, second: Any) -> bool:
    return second is not None and first.shape == second.shape and bool((first == second).all())


def find_surroundings(recorded: RecordedRun, again: RecordedRun, experiment: Experiment) -> dict[str, tuple[Any, Any]]:
    """What differs between both trainings: settings, data, plug-ins, versions, device, threads, edited metrics."""
    record = recorded.record
    processes = [read_json(one.directory / ENVIRONMENT, [])[-1:] for one in (recorded, again)]
    then, now = (one[0] if one else {} for one in processes)
    settings = find_differences(record.config, resolve_for_run(experiment))
    around = {
        name: values
        for name, values in settings.items()
        if name.partition(".")[0] not in NOT_COMPARED and name not in {*NOT_COMPARED, *experiment.places}
    }
    last = next(reversed(again.checkpoints.values()), None)
    fingerprint = now.get("dataset", {}).get("sha256", {}) if last is None else last.record.fingerprint
    for name, (before, after) in find_differences(record.fingerprint, fingerprint).items():
        around[f"data: {name}"] = (before and before[:12], after and after[:12])
    plugins = {f"plugins/{path.name}": path.read_text(encoding="utf-8") for path in experiment.plugins}
    for name in find_differences(record.plugins, plugins):
        around[f"plug-in: {name}"] = ("as recorded", "changed")
    signatures = find_differences(record.signature, now.get("signature", {}))
    around |= {name: values for name, values in signatures.items() if now}
    versions = find_differences(then.get("versions", {}), now.get("versions", {}))
    around |= {f"version of {name}": values for name, values in versions.items() if then and now}
    if recorded.edited:
        around["recorded metrics"] = ("as trained", recorded.edited)
    return around
