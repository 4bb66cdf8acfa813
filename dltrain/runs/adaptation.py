"""A language model that adapts to the text it is evaluated on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dltrain.errors import UsageError
from dltrain.options import NonNegativeFloat, PositiveInt, UnitInterval

if TYPE_CHECKING:
    from dltrain.dataset import Dataset
    from dltrain.runs.loading import Trained


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """A method of adaptation; the fields of each are the keys of --adapt."""

    METHOD: ClassVar[str]
    STRENGTH: ClassVar[str]
    """The key to lower where an evaluation diverges."""
    RECORDED: ClassVar[Mapping[str, str]]
    """Keys with another name in the record of an evaluation."""

    def __str__(self) -> str:
        shown = {name: value for name, value in self.record().items() if value is not False and name != "method"}
        numbers = ", ".join(name if value is True else f"{name} {value:g}" for name, value in shown.items())
        return f"{self.METHOD} ({numbers})".replace("_", " ")

    def record(self) -> dict[str, Any]:
        """The method and its numbers as an evaluation records them."""
        values = {self.RECORDED.get(name, name): value for name, value in dataclasses.asdict(self).items()}
        return {"method": self.METHOD, **values}

    def data_options(self) -> dict[str, int]:
        """Options of the data that it sets: one column, since each token is predicted from all before it."""
        return {"evaluation_batch_size": 1}

    def scorer(self, trained: Trained, dataset: Dataset) -> Any:
        """The task's score under this method; reads the training text where the method needs it."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class CacheAdaptation(Adaptation):
    """Mix in a cache of the last tokens (arXiv:1612.04426).

    Options:
        cache: tokens in the cache.
        weight: the cache's share of the probability.
        flatness: how much its most probable entries stand out.
    """

    METHOD, STRENGTH, RECORDED = "neural_cache", "weight", {"cache": "size"}
    cache: PositiveInt
    weight: UnitInterval = 0.1
    flatness: NonNegativeFloat = 1.0

    def scorer(self, trained: Trained, dataset: Dataset) -> Any:
        from dltrain.tasks.adaptive_language import NeuralCache

        task: Any = trained.task
        return NeuralCache(task, size=self.cache, weight=self.weight, flatness=self.flatness)


@dataclass(frozen=True, kw_only=True)
class DynamicAdaptation(Adaptation):
    """Learn from each window of text once it is scored (arXiv:1709.07432).

    Options:
        dynamic: learning rate.
        decay: how far the weights return to the trained ones after each window.
        window: tokens in each window.
        rms: scale by the root mean square of the gradients over the training text, which is read first.
    """

    METHOD, STRENGTH, RECORDED = "dynamic_evaluation", "dynamic", {"dynamic": "learning_rate"}
    dynamic: NonNegativeFloat
    decay: UnitInterval = 0.0
    window: PositiveInt = 5
    rms: bool = False

    def data_options(self) -> dict[str, int]:
        return {**super().data_options(), "sequence_length": self.window}

    def scorer(self, trained: Trained, dataset: Dataset) -> Any:
        from dltrain.tasks.adaptive_language import DynamicEvaluation, GradientSquares, compute_root_mean_squares

        task: Any = trained.task
        roots = None
        if self.rms:
            squares: Any = GradientSquares(task)
            roots = compute_root_mean_squares(dataclasses.replace(trained, task=squares).counts(dataset.training()))
        return DynamicEvaluation(task, self.dynamic, self.decay, roots)


def prepare_adaptation(run: Path, trained: Trained, adaptation: Adaptation) -> Trained:
    """The same model, and its data as the method reads it. Raises UsageError for a task or a dataset that cannot."""
    from dltrain.tasks.adaptive_language import Adapts

    data, needed = trained.experiment.data, adaptation.data_options()
    if not isinstance(trained.task, Adapts):
        task = trained.experiment.task.name
        message = f"{run}: --adapt is for language models; the task '{task}' has none that adapts to its data"
        raise UsageError(message, advice="leave it out")
    lacking = [name for name in needed if name not in data.options]
    if lacking:
        raise UsageError(
            f"{run}: --adapt sets data.{lacking[0]}, and the dataset '{data.name}' has no such option\n"
            f"allowed: {', '.join(data.options)}",
            advice="leave it out",
        )
    data = dataclasses.replace(data, options={**data.options, **needed})
    return dataclasses.replace(trained, experiment=dataclasses.replace(trained.experiment, data=data))
