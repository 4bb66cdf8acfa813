"""Images, texts and rows of a table to one of two or several classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import nan
from typing import Annotated, Any, Protocol

import torch
from annotated_types import Gt, Lt
from torch import Tensor, nn
from torch.nn import functional

from dltrain.batch import Batch
from dltrain.capabilities import Baseline
from dltrain.errors import UsageError
from dltrain.goal import Goal
from dltrain.models.mlp import LinearModel
from dltrain.options import Fraction, PositiveFloat
from dltrain.registry import tasks
from dltrain.task import Counts, Each, Score, Step
from dltrain.tasks.baselines import (
    compute_log_shares,
    make_constant_baseline,
    make_linear_baseline,
    to_full_precision,
)


class LabelledBatch(Batch, Protocol):
    """A batch of N examples, each of one class."""

    @property
    def targets(self) -> Tensor:
        """Classes (N,) int64."""


class Classification:
    """Cross-entropy over classes, of a model that gives logits (N, classes) for a batch's `arguments`.

    Options:
        label_smoothing: share of the target spread evenly over the classes (Szegedy et al. 2016, arXiv:1512.00567).
    """

    goal = Goal("accuracy", "max")

    def __init__(self, labels: Sequence[str], label_smoothing: float = 0.0) -> None:
        self.labels: tuple[str, ...] = tuple(labels)
        self.label_smoothing = label_smoothing

    def step(self, model: nn.Module, batch: LabelledBatch, carry: None) -> Step:
        logits = model(*batch.arguments)
        return Step(functional.cross_entropy(logits, batch.targets, label_smoothing=self.label_smoothing))

    def score(self, model: nn.Module, batch: LabelledBatch, carry: None) -> Score:
        logits = model(*batch.arguments).float()  # (N, classes)
        nats = functional.cross_entropy(logits, batch.targets, reduction="sum")
        confusion = compute_confusion_matrix(batch.targets, logits.argmax(1), len(self.labels))
        return Score({"nats": nats.double() if nats.device.type != "mps" else nats, "confusion": confusion})

    def report(self, counts: Counts) -> dict[str, float]:
        by_class = self.by_class(counts)
        return {
            **self.accuracy_and_loss(counts),
            **{f"macro_{name}": float(values.mean()) for name, values in by_class.items() if name != "examples"},
        }

    def accuracy_and_loss(self, counts: Counts) -> dict[str, float]:
        confusion = counts["confusion"].double().cpu()
        examples = confusion.sum()
        return {"accuracy": float(confusion.trace() / examples), "loss": float(counts["nats"].cpu() / examples)}

    def confusion(self, counts: Counts) -> Tensor:
        confusion: Tensor = counts["confusion"].cpu()
        return confusion

    def by_class(self, counts: Counts) -> dict[str, Tensor]:
        """Precision, recall, F1 and the number of examples of each class, (classes,) float64 each."""
        confusion = counts["confusion"].double().cpu()
        correct, predicted, present = confusion.diagonal(), confusion.sum(0), confusion.sum(1)
        return {
            "precision": correct / predicted.clamp(min=1),
            "recall": correct / present.clamp(min=1),
            "f1": 2 * correct / (predicted + present).clamp(min=1),
            "examples": present,
        }

    def probabilities(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        probabilities: Tensor = model(*inputs).float().softmax(1)
        return probabilities

    why_not_convex: str | None = None

    def baselines(self) -> dict[str, Baseline]:
        """The share of each class in the training split, whatever the inputs are: the most common one is predicted."""
        log_shares = partial(compute_log_shares, classes=len(self.labels))
        return {"class shares": make_constant_baseline(len(self.labels), log_shares)}


def compute_confusion_matrix(targets: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """(classes, classes) int64: how often each class (rows) was predicted as each (columns)."""
    return torch.bincount(targets * classes + predictions, minlength=classes * classes).view(classes, classes)


@tasks.register("image_classification", data="images", sizes=("image_channels", "height", "width", "classes"))
class ImageClassification(Classification):
    """Cross-entropy over classes; the best epoch has the highest validation accuracy.

    Reports accuracy, loss (mean cross-entropy in nats, without smoothing), and the macro averages of precision,
    recall and F1: the plain mean over the classes, a class that was never predicted counting with precision 0
    (as scikit-learn's `zero_division=0`).
    """

    def __init__(self, assets: Mapping[str, Any], *, label_smoothing: Fraction = 0.0) -> None:
        super().__init__(assets["labels"], label_smoothing)
        sides = {"height": assets["height"], "width": assets["width"]}
        self.sizes = {"image_channels": assets["channels"], **sides, "classes": len(self.labels)}


@tasks.register("text_classification", data="documents", sizes=("vocabulary", "classes"))
class TextClassification(Classification):
    """Cross-entropy over classes; the best epoch has the highest validation accuracy.

    Reports accuracy, loss (mean cross-entropy in nats, without smoothing), and the macro averages of precision,
    recall and F1: the plain mean over the classes, a class that was never predicted counting with precision 0
    (as scikit-learn's `zero_division=0`).
    """

    def __init__(self, assets: Mapping[str, Any], *, label_smoothing: Fraction = 0.0) -> None:
        super().__init__(assets["labels"], label_smoothing)
        self.sizes = {"vocabulary": len(assets["words"]), "classes": len(self.labels)}


@tasks.register("tabular_classification", data="table", sizes=("inputs", "outputs"))
class TabularClassification(Classification):
    """Cross-entropy over the labels of a table's target; the best epoch has the lowest validation loss.

    Reports accuracy, loss (mean cross-entropy in nats, without smoothing), and the macro averages of precision,
    recall and F1: the plain mean over the classes, a class that was never predicted counting with precision 0
    (as scikit-learn's `zero_division=0`).
    """

    goal = Goal("loss", "min")  # a small table's accuracy has few values, and many epochs share the best

    def __init__(self, assets: Mapping[str, Any], *, label_smoothing: Fraction = 0.0) -> None:
        super().__init__(read_target_labels(assets, "tabular_classification"), label_smoothing)
        self.sizes = {"inputs": len(assets["inputs"]), "outputs": len(self.labels)}

    def baselines(self) -> dict[str, Baseline]:
        """The class shares, and multinomial logistic regression."""
        return {**super().baselines(), "linear": make_linear_baseline(LinearModel, self)}


def read_target_labels(assets: Mapping[str, Any], task: str) -> Sequence[str]:
    """The labels of a table's target. Raises UsageError, naming the `task`, where it holds numbers."""
    labels: Sequence[str] | None = assets.get("labels")
    if labels is None:
        columns = assets["target"]["columns"]
        raise UsageError(
            f"task '{task}' needs a categorical target, but {', '.join(map(repr, columns))} is numeric",
            advice="set data.target_holds: labels if each of its numbers is a class, or use task regression",
        )
    return labels


@tasks.register("binary_classification", data="table", sizes=("inputs", "outputs"))
class BinaryClassification(Classification):
    """Cross-entropy of one logit for the positive one of two labels: logistic regression, or a deeper network.

    Reports accuracy, precision, recall and F1 of the positive label at the threshold (0 where there is nothing to
    divide by, as scikit-learn's `zero_division=0`), roc_auc, the area under the ROC curve, over all pairs of examples
    and with ties counting one half, and loss, the log loss: mean of -log p in nats, each example weighing the same.
    Where a split has one class only, there is no roc_auc. The best epoch has the lowest validation loss.

    Options:
        positive: the label that counts as positive; when not given the last one, such as 1, true or yes.
        threshold: probability at or above which the positive label is predicted.
        positive_weight: how much a positive example weighs in training, a negative one weighing 1.
    """

    goal = Goal("loss", "min")

    def __init__(
        self,
        assets: Mapping[str, Any],
        *,
        positive: str | None = None,
        threshold: Annotated[float, Gt(0), Lt(1)] = 0.5,
        positive_weight: PositiveFloat = 1.0,
    ) -> None:
        super().__init__(read_target_labels(assets, "binary_classification"))
        self.sizes = {"inputs": len(assets["inputs"]), "outputs": 1}
        self.positive = self._find_positive(positive)
        self.threshold = threshold
        self.positive_weight = positive_weight

    def _find_positive(self, positive: str | None) -> int:
        found = ", ".join([*self.labels[:10], "..."] if len(self.labels) > 10 else self.labels)
        if len(self.labels) != 2:
            raise UsageError(
                f"task 'binary_classification' takes two labels, but the target has {len(self.labels)}: {found}",
                advice="use task tabular_classification",
            )
        if positive is None:
            return 1
        if positive not in self.labels:
            raise UsageError(f"task.positive: '{positive}' is not a label of the target; allowed are {found}")
        return self.labels.index(positive)

    def step(self, model: nn.Module, batch: LabelledBatch, carry: None) -> Step:
        logits = to_full_precision(model(*batch.arguments)[:, 0])
        weight = logits.new_full((), self.positive_weight)
        truth = (batch.targets == self.positive).to(logits.dtype)
        return Step(functional.binary_cross_entropy_with_logits(logits, truth, pos_weight=weight))

    def score(self, model: nn.Module, batch: LabelledBatch, carry: None) -> Score:
        logits = _to_float64(model(*batch.arguments)[:, 0])
        truth = batch.targets == self.positive
        nats = functional.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="sum")
        confusion = compute_confusion_matrix(batch.targets, self._classes(logits.sigmoid() >= self.threshold), 2)
        return Score({"nats": nats, "confusion": confusion, "logits": Each((logits,)), "truth": Each((truth,))})

    def report(self, counts: Counts) -> dict[str, float]:
        positive = {name: float(values[self.positive]) for name, values in self.by_class(counts).items()}
        return {
            **self.accuracy_and_loss(counts),
            **{name: positive[name] for name in ("precision", "recall", "f1")},
            "roc_auc": compute_roc_auc(counts["logits"].values(), counts["truth"].values()),
        }

    def probabilities(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        positive = _to_float64(model(*inputs)[:, 0]).sigmoid()
        return torch.stack((1 - positive, positive) if self.positive == 1 else (positive, 1 - positive), 1).float()

    def decisions(self, probabilities: Tensor) -> Tensor:
        """Probabilities (N, 2) to the labels given at the threshold, (N,) int64."""
        return self._classes(probabilities[:, self.positive] >= self.threshold)

    def baselines(self) -> dict[str, Baseline]:
        """The share of the positive label in the training split, and logistic regression."""

        def compute_log_odds(targets: Tensor, weights: Tensor) -> Tensor:
            return compute_log_shares((targets == self.positive).long(), weights, 2).diff()

        return {
            "class shares": make_constant_baseline(1, compute_log_odds),
            "linear": make_linear_baseline(LinearModel, self),
        }

    def _classes(self, positive: Tensor) -> Tensor:
        return torch.where(positive, self.positive, 1 - self.positive)


def _to_float64(numbers: Tensor) -> Tensor:
    return numbers.double() if numbers.device.type != "mps" else numbers.float()


def compute_roc_auc(scores: Tensor, truth: Tensor) -> float:
    """The share of pairs of a positive and a negative example in which the positive one has the higher score (N,).

    Equal scores count one half (Mann and Whitney 1947); `truth` (N,) bool says which are positive. NaN without a pair.
    """
    values, places = torch.unique(scores.cpu(), return_inverse=True)
    truth = truth.cpu()
    positives = torch.bincount(places[truth], minlength=len(values))
    negatives = torch.bincount(places[~truth], minlength=len(values))
    pairs = int(positives.sum()) * int(negatives.sum())
    below = negatives.cumsum(0) - negatives
    twice = int((positives * (2 * below + negatives)).sum())  # whole numbers: nothing is rounded before the division
    return twice / (2 * pairs) if pairs else nan
