"""The weights that a run starts from: another run's, or those of a file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from dltrain.capabilities import NamesIndices
from dltrain.config.experiment import Experiment
from dltrain.core.checkpoint import MANIFEST, WEIGHTS, Checkpoint
from dltrain.core.translation import Translation, list_preparations, make_translation
from dltrain.core.weights import align_names, copy_matching_tensors, read_tensors
from dltrain.data.mirrors import SCHEMES, fetch_weights
from dltrain.errors import NoCheckpoint, UsageError
from dltrain.export.weights import ExportedWeights, get_description_path
from dltrain.runs.finding import find_checkpoint


class InitialWeights(NamedTuple):
    """Weights from elsewhere: their source, the tensors, and the hash of their file.

    `checkpoint` is the checkpoint or the export that they belong to, None for a file without a description.
    """

    source: str
    tensors: Mapping[str, Tensor]
    sha256: str
    checkpoint: Checkpoint | None = None

    def release(self) -> InitialWeights:
        """The same without the tensors and the files' contents, which are as large as the model."""
        if self.checkpoint is not None:
            _ = self.checkpoint.record
            for name in ("contents", "_content"):
                self.checkpoint.__dict__.pop(name, None)
        return self._replace(tensors={})

    def describe(self) -> list[dict[str, Any]]:
        """The sources of the weights, the first one first, as a checkpoint's record keeps them."""
        own = {"from": self.source, "weights_sha256": self.sha256}
        if self.checkpoint is None:
            return [own]
        record = self.checkpoint.record
        return [*record.sources, {**own, "dataset": record.dataset, "data_sha256": record.fingerprint}]


def read_initial_weights(given: str, warn: Callable[[str], None]) -> InitialWeights:
    """The weights of a run (its best checkpoint), of a checkpoint, or of a file here or at an address.

    Raises UsageError, and DataError where nothing can be fetched, or something else than was stated.
    """
    source, path = given, Path(given).expanduser()
    if given.startswith(SCHEMES):
        source, _, sha256 = given.partition("#sha256=")
        if "#" in given and re.fullmatch(r"[0-9a-f]{64}", sha256) is None:
            raise UsageError(f"weights.init_from: {given}: after # allowed is sha256= with 64 hexadecimal digits")
        path = fetch_weights(source, sha256, warn)
    try:
        if (checkpoint := _find_checkpoint(path)) is not None:
            sha256 = checkpoint.manifest["files"][WEIGHTS]["sha256"]
            return InitialWeights(str(checkpoint.path), checkpoint.weights(), sha256, checkpoint)
        content = path.read_bytes()
        return InitialWeights(source, read_tensors(content), hashlib.sha256(content).hexdigest())
    except NoCheckpoint as error:
        raise UsageError(f"weights.init_from: {error}") from None
    except OSError as error:
        reason = error.strerror
    except ValueError as error:
        reason = str(error)
    raise UsageError(
        f"weights.init_from: {source}: {reason}\n"
        "allowed: a run directory, a checkpoint's directory, a .safetensors or a .pth file, the address of one",
        advice="correct weights.init_from",
    )


def _find_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint that a path means or belongs to; None for a file without a description."""
    if path.is_dir():
        return find_checkpoint(path)
    if path.name == WEIGHTS and (path.parent / MANIFEST).is_file():
        return find_checkpoint(path.parent)
    return ExportedWeights(path) if get_description_path(path).is_file() and path.is_file() else None


@dataclass(frozen=True)
class WeightsTaker:
    """Takes weights from elsewhere into a run's model, by what their indices stand for.

    `find` looks up a registered object; `assets` are those of the run's data; `build` makes its model with some other
    sizes.
    """

    find: Callable[[str, str], Any]
    experiment: Experiment
    assets: Mapping[str, Any]
    build: Callable[[Mapping[str, int]], nn.Module]

    def take(self, initial: InitialWeights, model: nn.Module) -> str:
        """Copy the tensors; a note about it. Raises ValueError for what stands for something else, or nothing fits."""
        translation = self._translate(initial, model)
        copied = copy_matching_tensors(model, align_names(model, initial.tensors), initial.source, translation)
        note = f"weights from {initial.source} (sha256 {initial.sha256}): {copied}"
        if initial.checkpoint is None:
            return f"{note}\n  taken by position: what the indices stand for there is not known"
        if self.experiment.weights.match == "position":
            note += "\n  taken by position, whatever the indices stand for there (weights.match: position)"
        for difference in list_preparations(self.assets, initial.checkpoint.record.assets):
            note += f"\n  data prepared differently: {difference}"
        return note

    def _translate(self, initial: InitialWeights, model: nn.Module) -> Translation:
        if initial.checkpoint is None or self.experiment.weights.match == "position":
            return Translation()
        task, record = self.experiment.task, initial.checkpoint.record
        if record.assets == self.assets and record.config["task"] == {"name": task.name, **task.options}:
            return Translation()
        here = self._name_indices(task.name, self.assets, task.options)
        if here is None:
            raise ValueError(
                f"init_from: {initial.source}: its data differ from this run's, and the task '{task.name}' does not "
                "say what the indices of its sizes stand for (name_indices); allowed is weights.match: position, if "
                "they stand for the same here and there"
            )
        options = record.config["task"]
        there = self._name_indices(options["name"], record.assets, options) or {}
        return make_translation(model, self.build, here, there)

    def _name_indices(
        self, task: str, assets: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Mapping[str, Sequence[str]] | None:
        """What the indices of a task's sizes stand for; None for a task that does not say so."""
        found = self.find("task", task)
        try:
            return found.name_indices(assets, options) if isinstance(found, NamesIndices) else None
        except KeyError:  # assets of another kind of data, or of an earlier version
            return None
