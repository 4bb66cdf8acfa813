"""Task and model of a checkpoint, ready to evaluate or to predict with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from dltrain.batch import Batch
from dltrain.config.experiment import Experiment, load_tree
from dltrain.core.checkpoint import Checkpoint
from dltrain.core.evaluate import accumulate_counts
from dltrain.core.record import Record
from dltrain.dataset import Dataset
from dltrain.errors import UsageError
from dltrain.kinds import Kind, find_kind
from dltrain.runs.building import Names, construct, construct_dataset, construct_model
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
    tree = json.loads(json.dumps(record.config))
    for section, values in (overrides or {}).items():
        tree[section].update(values)
    asked = "device" in (overrides or {}).get("trainer", {})
    choose_device(tree["trainer"]["device"], "--device" if asked else f"{checkpoint.path}: trainer.device", "--device")
    with TemporaryDirectory(prefix="dltrain-plugins-") as folder:
        for name, source in record.plugins.items():
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(source, encoding="utf-8")
        tree["plugins"] = [str(Path(folder) / name) for name in tree.get("plugins", ())]
        experiment = load_tree(tree, str(checkpoint.path))
        names = Names(experiment.plugins)
        runtime = start_runtime(experiment.trainer)
        task = construct(names, "task", experiment.task, provided=[record.assets])
        model = construct_model(names, experiment, task)
        names("dataset", experiment.data.name)
    model.load_state_dict(checkpoint.weights())
    model.to(runtime.device)
    if experiment.trainer.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return Trained(checkpoint, experiment, task, model=model.eval(), runtime=runtime, names=names)
