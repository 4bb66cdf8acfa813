"""Task and model of a checkpoint, ready to evaluate or to predict with."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from dltrain.batch import Batch
from dltrain.config.compose import compose
from dltrain.config.document import MappingNode, read_texts
from dltrain.config.experiment import Experiment, load_tree
from dltrain.config.paths import is_path, list_path_options, locate_paths
from dltrain.config.plugins import name_original
from dltrain.config.trust import note_carried
from dltrain.config.values import Choice
from dltrain.core.checkpoint import WEIGHTS, Checkpoint, explain_contents
from dltrain.core.evaluate import accumulate_counts
from dltrain.core.record import Record
from dltrain.dataset import Dataset
from dltrain.errors import ConfigError, DltrainError, NoCheckpoint, UsageError, find_plugin_line
from dltrain.kinds import Kind, find_kind
from dltrain.runs.building import Names, construct_dataset, construct_model, construct_task
from dltrain.runs.directory import CONFIG
from dltrain.runtime.memory import explain_memory_errors
from dltrain.runtime.precision import Runtime, choose_device, start_runtime
from dltrain.stream import Stream
from dltrain.task import Counts, Task


@dataclass
class Trained:
    """A checkpoint ready for use; an evaluation needs nothing else but its data."""

    checkpoint: Checkpoint
    experiment: Experiment
    task: Task[Any]
    model: nn.Module
    runtime: Runtime
    names: Names

    @property
    def record(self) -> Record:
        return self.checkpoint.record

    @property
    def kind(self) -> Kind:
        """The kind of data that its dataset is registered with."""
        return find_kind(self.names.entry("dataset", self.experiment.data.name).facts["data"])

    def refuse(self, run: Path, missing: str) -> UsageError:
        """The error of a command that needs what the task lacks; `missing` completes "the task does not ..."."""
        message = f"{run}: the task '{self.experiment.task.name}' does not {missing}"
        return UsageError(message, advice="name the run of a task that does")

    def dataset(self) -> Dataset:
        """The dataset of the training, with the checkpoint's own assets; no file is read yet."""
        return construct_dataset(self.names, self.experiment, self.record.assets)

    def counts(self, stream: Stream[Batch]) -> Counts:
        self.runtime.check(self.model)
        with explain_memory_errors():
            return accumulate_counts(self.model, self.task, stream, self.runtime)


def load_trained(checkpoint: Checkpoint, overrides: Mapping[str, Any] | None = None) -> Trained:
    """Task and model from a checkpoint alone. `overrides` are sections' values such as {"data": {"root": ...}}.

    Raises UsageError for a device that is not here, which --device chose, or else the training.
    """
    record = checkpoint.record
    asked = "device" in (overrides or {}).get("trainer", {})
    with explain_recorded(checkpoint):
        tree = json.loads(json.dumps(record.config))
        for section, values in (overrides or {}).items():
            tree[section].update(values)
        if not isinstance(tree["trainer"]["device"], str):
            raise TypeError("trainer.device is no text")
        source = "--device" if asked else f"{checkpoint.path}: trainer.device"
        choose_device(tree["trainer"]["device"], source, "--device")
    with TemporaryDirectory(prefix="dltrain-plugins-") as folder:
        for name, source in record.plugins.items():
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(source, encoding="utf-8")
            note_carried(path)
            name_original(path, checkpoint.path.resolve().parents[1] / name)
        tree["plugins"] = [str(Path(folder) / name) for name in tree.get("plugins", ())]
        experiment = load_recorded(tree, checkpoint)
        names = Names(experiment.plugins)
        overridden = (overrides or {}).get("data", {})
        experiment = find_data(experiment, names, checkpoint.path.parent.parent, overridden)
        runtime = start_runtime(experiment.trainer)
        with explain_recorded(checkpoint):
            task = construct_task(names, experiment, record.assets)
            model = construct_model(names, experiment, task)
        names("dataset", experiment.data.name)
    weights = checkpoint.weights()
    with explain_contents(checkpoint.path, WEIGHTS):
        model.load_state_dict(weights)
    model.to(runtime.device)
    if experiment.trainer.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return Trained(checkpoint, experiment, task, model=model.eval(), runtime=runtime, names=names)


def load_recorded(tree: Mapping[str, Any], checkpoint: Checkpoint) -> Experiment:
    """The experiment of a checkpoint's config. Raises NoCheckpoint for one that is none of this version's."""
    try:
        return load_tree(tree, str(checkpoint.path))
    except ConfigError as error:
        raise NoCheckpoint(
            f"{checkpoint.path}: its config cannot be used:\n{error}", advice="use the version that wrote it"
        ) from error


@contextmanager
def explain_recorded(checkpoint: Checkpoint) -> Iterator[None]:
    """Turn errors about what a checkpoint recorded into NoCheckpoint, unless a plug-in raised them."""
    try:
        yield
    except DltrainError:
        raise
    except Exception as error:
        if find_plugin_line(error) is not None:
            raise
        raise NoCheckpoint(
            f"{checkpoint.path}: damaged: its record describes no model ({type(error).__name__}: {error})",
            advice="use another checkpoint of its run",
        ) from error


def find_data(experiment: Experiment, names: Names, run: Path, overridden: Collection[str]) -> Experiment:
    """The experiment with the paths of its data as its run's own config has them, but for those that are overridden.

    A checkpoint without its run, and a run of an earlier version, have only those that were written in their config:
    relative to the working directory.
    """
    composed = compose(run / CONFIG, (), [])
    data = None if composed is None else composed.tree.entries.get("data")
    base = None if data is None else data.node.place.source.base
    if data is None or base is None or not base.of_run or not isinstance(data.node, MappingNode):
        return experiment
    options = names.entry("dataset", experiment.data.name).options
    given = {name: read_texts(pair.node) for name, pair in data.node.entries.items() if name not in overridden}
    paths = [
        name
        for name in list_path_options(options)
        if given.get(name) is not None and is_path(experiment.data.options[name])
    ]
    values = {**experiment.data.options, **{name: given[name] for name in paths}}
    located = locate_paths("data", options, values, bases=dict.fromkeys(paths, base), default=base)
    places = {name: place for name, place in experiment.places.items() if name.removeprefix("data.") not in paths}
    places |= {f"data.{name}": located.places[name] for name in paths if name in located.places}
    return replace(experiment, data=Choice(experiment.data.name, located.values), places=places)


def override_threshold(run: Path, record: Record, threshold: float | None) -> dict[str, Any]:
    """The settings to override in a checkpoint's config. Raises UsageError for a bad value or a task without one."""
    if threshold is None:
        return {}
    if not 0 < threshold < 1:
        raise UsageError(f"--threshold: found {threshold:g}; allowed is a probability, above 0 and below 1")
    task = record.config["task"]
    if "threshold" not in task:
        message = f"{run}: --threshold is for binary classifiers; the task '{task['name']}' has none"
        raise UsageError(message, advice="leave it out")
    return {"task": {"threshold": threshold}}
