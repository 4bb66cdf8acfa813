"""The baselines of a run: fitted when it starts, kept in its directory, scored beside its results."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dltrain.batch import Batch
from dltrain.capabilities import Baseline, HasBaselines
from dltrain.core.evaluate import accumulate_counts
from dltrain.core.solving import Unsolvable
from dltrain.core.verdict import BASELINE_WEIGHTS, BASELINES, read_baselines, seal_baseline
from dltrain.errors import DataError
from dltrain.files import write_atomically
from dltrain.runs.building import Training
from dltrain.runtime.precision import Runtime
from dltrain.stream import Stream
from dltrain.task import Task


@dataclass(frozen=True)
class FittedBaselines:
    """The baselines of a run, fitted: how, with their validation metrics, and their weights."""

    results: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Put both into a run directory, with their hashes: neither is in a checkpoint, whose manifest has them."""
        from safetensors.torch import save

        if self.results:
            sealed = {
                name: {**facts, "weights_sha256": hash_tensors(self.tensors, name)}
                for name, facts in self.results.items()
            }
            for facts in sealed.values():
                facts["sha256"] = seal_baseline(facts)
            write_atomically(directory / BASELINE_WEIGHTS, save(self.tensors))
            write_atomically(directory / BASELINES, (json.dumps(sealed, indent=1) + "\n").encode())


def hash_tensors(tensors: Mapping[str, Tensor], baseline: str) -> str:
    """The SHA-256 of the tensors of one baseline, whose names begin with its own."""
    from safetensors.torch import save

    own = {key: value for key, value in tensors.items() if key.partition("/")[0] == baseline}
    return hashlib.sha256(save(own)).hexdigest()


def build_baselines(task: Task[Any]) -> Mapping[str, Baseline]:
    """The task's baselines, not fitted yet; what their layers draw leaves the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        return task.baselines() if isinstance(task, HasBaselines) else {}


def fit_baselines(training: Training, batches: Stream[Batch], validation: Stream[Batch]) -> FittedBaselines:
    """Fit the task's baselines to the training split, and score them on validation.

    Nothing here draws from the training's generators or changes it. What cannot be fitted is left out, with a note.
    """
    task, fitted = training.task, FittedBaselines()
    for name, baseline in build_baselines(task).items():
        try:
            how = baseline.fit(batches) if baseline.fit else "nothing to fit"
        except Unsolvable as error:
            training.notes.append(f"no baseline '{name}': {error}")
            continue
        model = baseline.model.to(training.runtime.device)
        scores = score_model(model, task, validation, training.runtime) if len(validation) else {}
        fitted.results[name] = {"fitted": how, "validation": scores}
        fitted.tensors.update({f"{name}/{key}": value.cpu() for key, value in model.state_dict().items()})
    return fitted


def score_model(model: nn.Module, task: Task[Any], stream: Stream[Batch], runtime: Runtime) -> dict[str, float | None]:
    """The task's metrics over a split; None for one that is undefined."""
    report = task.report(accumulate_counts(model, task, stream, runtime))
    return {name: value if math.isfinite(value) else None for name, value in report.items()}


def load_baselines(directory: Path, task: Task[Any], runtime: Runtime) -> Mapping[str, nn.Module]:
    """The fitted baselines of the run in `directory`, by name; empty where it has none, as older runs have.

    Raises DataError for a damaged file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path, kept = directory / BASELINE_WEIGHTS, read_baselines(directory)
    if not kept or not path.exists():
        return {}
    models: dict[str, nn.Module] = {}
    try:
        tensors = load(path.read_bytes())
        for name, baseline in build_baselines(task).items():
            if name in kept:
                if kept[name].get("weights_sha256", found := hash_tensors(tensors, name)) != found:
                    raise RuntimeError("their SHA-256 does not fit")
                own = {key.partition("/")[2]: value for key, value in tensors.items() if key.partition("/")[0] == name}
                baseline.model.load_state_dict(own)
                models[name] = baseline.model.to(runtime.device).eval()
    except (SafetensorError, RuntimeError) as error:
        raise DataError(
            f"{path}: does not hold the baselines of this run: {str(error).strip().partition(chr(10))[0]}",
            advice=f"delete it: {directory} is then evaluated without baselines",
        ) from error
    return models


def score_baselines(
    directory: Path, task: Task[Any], stream: Stream[Batch], runtime: Runtime
) -> dict[str, dict[str, float | None]]:
    """The metrics of each baseline of a run on a split, by name."""
    models = load_baselines(directory, task, runtime)
    return {name: score_model(model, task, stream, runtime) for name, model in models.items()}
