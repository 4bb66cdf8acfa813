"""What tasks and models can do besides training: capabilities that are asked for by type, never by a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dltrain.batch import Batch
from dltrain.goal import Goal
from dltrain.stream import Stream
from dltrain.task import Counts


@runtime_checkable
class Shows(Protocol):
    """Can show in a few lines of text what a model does by now."""

    def show(self, model: nn.Module, device: torch.device, number: int) -> Sequence[str]:
        """Lines to read; another `number`, such as the epoch's, draws another sample."""


@runtime_checkable
class Decides(Protocol):
    """Can give a label that is not the most probable one, such as where one mistake costs more than another."""

    def decisions(self, probabilities: Tensor) -> Tensor:
        """Probabilities (N, classes) to the classes that are given, (N,) int64."""


@runtime_checkable
class Generates(Protocol):
    """Its model continues text; `vocabulary` are a `dltrain.data.text.vocabulary.Vocabulary`'s assets."""

    vocabulary: Mapping[str, Any]


@runtime_checkable
class NamesIndices(Protocol):
    """A task, as a class, that knows what each index of its sizes stands for: another run's weights go by it."""

    @staticmethod
    def name_indices(assets: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        """The words, columns or classes of each size that has them, given assets and the task's options."""


@runtime_checkable
class LearnsMixed(Protocol):
    """Its `step` takes a `dltrain.batch.MixedExamples` as what it is: examples of two targets each, with shares."""

    learns_mixed: bool


@runtime_checkable
class Classifies(Protocol):
    """Can say, class by class, what was taken for what."""

    labels: Sequence[str]

    def confusion(self, counts: Counts) -> Tensor:
        """(classes, classes) int64: rows are the truth, columns the prediction."""

    def by_class(self, counts: Counts) -> Mapping[str, Tensor]:
        """Precision, recall, F1 and the number of examples of each class, (classes,) float64 each.

        The scores of a class that is neither true nor predicted are NaN.
        """


@runtime_checkable
class Predicts(Protocol):
    """Can label inputs of the user's."""

    labels: Sequence[str]

    def probabilities(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        """What a batch's `arguments` are, of N examples, to (N, classes) float32."""


@runtime_checkable
class Estimates(Protocol):
    """Can give numbers for inputs of the user's, in the units of the user's data."""

    outputs: Sequence[str]

    def estimates(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        """What a batch's `arguments` are, of N examples, to (N, outputs).

        Units are restored in float64: float32 has steps of 128 at 1.7e9.
        """


@runtime_checkable
class RecoversOutputs(Protocol):
    """Knows the way back from what it says to a model's outputs, so that several models can be scored as one."""

    def recover_outputs(self, predictions: Tensor) -> Tensor:
        """Its `probabilities` (N, classes), or `estimates` (N, outputs), to outputs of a model that give them."""


@runtime_checkable
class ComparesNumbers(Protocol):
    """Can compare its numbers with the true ones, example by example."""

    numbers: Sequence[str]

    def compare_numbers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The estimates and the truth of a batch's N examples, (N, numbers) float64 each on the CPU, in units."""


@runtime_checkable
class Rounds(Protocol):
    """Knows how many significant digits of each of its estimates mean something."""

    digits: Sequence[int]


@runtime_checkable
class Forecasts(Estimates, Protocol):
    """Estimates what comes next, in batches that follow each other in time."""

    def in_units(self, values: Tensor) -> Tensor:
        """A batch's targets (N, outputs) in the units of the data, float64 on the CPU."""


@runtime_checkable
class EstimatesQuantiles(Protocol):
    """May give quantiles of each of its `numbers`; `quantiles` rise, and are empty if it does not."""

    numbers: Sequence[str]
    quantiles: Sequence[float]

    def estimate_quantiles(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        """What a batch's `arguments` are, of N examples, to (N, numbers, quantiles) in units, rising."""


@runtime_checkable
class Wraps(Protocol):
    """Puts a computation of its own around each model, before it trains or is loaded."""

    def wrap(self, model: nn.Module) -> nn.Module:
        """A module that is called as `model` is, and whose outputs are what the task reads; `model` may be returned."""


@runtime_checkable
class Reconstructs(Protocol):
    """Can give back what it was given, as far as it passed through the model."""

    def reconstructions(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        """What a batch's `arguments` are, of N examples, to (N, ...) float32, as the inputs are."""


@runtime_checkable
class Clarifies(Protocol):
    """Knows what a reader of its metrics has to know, such as which label is the positive one."""

    @property
    def facts(self) -> Mapping[str, str]:
        """Facts by name, such as "positive_label"."""

    def warnings(self, goal: Goal) -> Sequence[str]:
        """What to know before training, whose best epoch the `goal` decides."""


@runtime_checkable
class LinearInWeights(Protocol):
    """A model whose outputs are those of one linear layer, of features that depend on no weight.

    With a convex loss its best weights are found at once (`dltrain.core.solving`), unless `solve` is false.
    """

    solve: bool

    @property
    def output_layer(self) -> nn.Linear: ...

    def features(self, *inputs: Tensor) -> Tensor:
        """What a batch's `arguments` are, of N examples, to the linear layer's input (N, features)."""


@runtime_checkable
class CompletesOutputs(LinearInWeights, Protocol):
    """A model that adds to what its linear layer gives, or scales it, as depends on no weight."""

    def complete(self, outputs: Tensor, *inputs: Tensor) -> Tensor:
        """The model's outputs for the linear layer's (N, outputs)."""


@runtime_checkable
class HasConvexLoss(Protocol):
    """Its `step` gives a convex and smooth mean over examples, each of which enters through its own outputs alone.

    Penalties of the model itself do not count. `step` computes in float64 where outputs and batch are float64.
    """

    @property
    def why_not_convex(self) -> str | None:
        """Which setting makes it another loss, such as "task.loss: mae"; None if none does."""


@dataclass(frozen=True)
class Baseline:
    """One of the simplest models of a task, and what sets its weights; without `fit` it has nothing to learn.

    `fit` reads the training split once and says in one line what it did. Its weights are the model's state_dict.
    """

    model: nn.Module
    fit: Callable[[Stream[Batch]], str] | None = None


@runtime_checkable
class HasBaselines(Protocol):
    """Knows the simplest models of its task, which are scored as the trained model is, beside its result."""

    def baselines(self) -> Mapping[str, Baseline]:
        """Models that nothing has been fitted to yet, by name, the simplest first, such as "mean" and "linear"."""
