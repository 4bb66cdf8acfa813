"""Images, texts and rows of a table to one of several classes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

import dltrain.tasks.losses
import dltrain.tasks.metrics  # noqa: F401  (registers them)
from dltrain.batch import Batch, MixedExamples
from dltrain.capabilities import Baseline
from dltrain.data.wording import join_some
from dltrain.errors import UsageError
from dltrain.functions import Loss, Metrics
from dltrain.goal import Goal
from dltrain.models.mlp import LinearModel
from dltrain.options import ClassLoss, ClassMetrics, Fraction, NonNegativeFloat
from dltrain.registry import tasks
from dltrain.task import Counts, Each, Score, Step
from dltrain.tasks import class_scores
from dltrain.tasks.baselines import (
    compute_log_shares,
    make_constant_baseline,
    make_linear_baseline,
    to_full_precision,
)
from dltrain.tasks.class_weights import (
    ClassWeights,
    compute_class_weights,
    compute_focal_factors,
    read_class_counts,
    warn_of_counts,
)

RANKED_CLASSES = 100
"""With more classes no roc_auc is computed: it needs the scores of every example for every class."""

ROW_WEIGHTED = (
    "accuracy", "balanced_accuracy", "precision", "recall", "f1", "macro_f1", "roc_auc", "average_precision",
)  # fmt: skip
"""The metrics that are reported with the weights of the rows too, where these have any."""

METRICS = (
    "accuracy", "loss", "macro_precision", "macro_recall", "macro_f1", "balanced_accuracy", "weighted_f1", "roc_auc",
    "class_weighted_loss", "cross_entropy",
)  # fmt: skip
"""The metrics that may decide which epoch is the best."""


def list_weighted(metrics: Sequence[str]) -> list[str]:
    """The metrics that rows with weights have besides these."""
    return ["unweighted_loss", *(f"row_weighted_{name}" for name in metrics if name in ROW_WEIGHTED)]


class LabelledBatch(Batch, Protocol):
    """A batch of N examples, each of one class; its attribute `weights` (N,) float32 may say how much each counts."""

    @property
    def targets(self) -> Tensor:
        """Classes (N,) int64."""


def get_row_weights(batch: LabelledBatch) -> Tensor | None:
    """The weights of a batch's examples, (N,) float32, of which 1 is the average in training; None for 1 each."""
    return getattr(batch, "weights", None)


class Classification:
    """Cross-entropy over classes, of a model that gives logits (N, classes) for a batch's `arguments`.

    A step's loss is the mean over the batch's N examples of weight times loss, whatever the weights add up to.
    `assets` may hold `class_counts`, the training examples of each class.

    Options:
        label_smoothing: share of the target spread evenly over the classes (Szegedy et al. 2016, arXiv:1512.00567).
        class_weights: how much a training example of each class weighs; balanced (all classes weigh alike, as
            scikit-learn's compute_class_weight), or a weight by class name, 1 for those not named. null weighs all 1.
        focal_gamma: in training, multiply each example's loss by (1 - p)**gamma, p being the probability of its true
            class (focal loss, Lin et al. 2017, arXiv:1708.02002); 0 is cross-entropy, 2 their choice.
        loss: what is trained on and reported as loss: a registered loss of logits (N, classes) and classes (N,), by its
            name or with its options. With another one than cross_entropy, cross_entropy is reported too.
        metrics: registered metrics to report beside the task's own, each by its name or with its options.
    """

    goal = Goal("accuracy", "max")
    learns_mixed = True

    def __init__(
        self,
        labels: Sequence[str],
        label_smoothing: float = 0.0,
        *,
        assets: Mapping[str, Any] | None = None,
        class_weights: ClassWeights | None = None,
        focal_gamma: float = 0.0,
        loss: ClassLoss = "cross_entropy",
        metrics: ClassMetrics | None = None,
    ) -> None:
        if label_smoothing and focal_gamma:
            raise ValueError("label_smoothing and focal_gamma change the same loss in opposite ways; give one of them")
        chosen = Loss(loss)
        self.loss = None if chosen.name == "cross_entropy" else chosen
        """What is trained on in place of cross-entropy; None for that."""

        if self.loss is not None and (label_smoothing or focal_gamma):
            option = "label_smoothing" if label_smoothing else "focal_gamma"
            raise ValueError(f"{option} changes cross_entropy, but loss is {self.loss.name}; give one of them")
        self.metrics = Metrics(metrics, labels)
        known: Mapping[str, Any] = assets or {}
        self.labels: tuple[str, ...] = tuple(labels)
        self.label_smoothing, self.focal_gamma = label_smoothing, focal_gamma
        self.class_counts = read_class_counts(known, len(self.labels))
        self.sampling: str | None = known.get("sampling")
        self.shares_counted = None if known.get("weight") else self.class_counts
        """The counts that are the classes' shares, unless rows have weights."""

        self.class_weights = self._weigh_classes(class_weights)
        balance = self._weigh_classes("balanced") if self.sampling == "balanced" else None
        both = [weights for weights in (self.class_weights, balance) if weights is not None]
        self.class_balance = torch.stack(both).prod(0) if both else None
        """What training changes about the classes' shares, (classes,) float32: by weights, by sampling, or by both."""

        if self.goal.metric == "loss" and self.class_balance is not None:
            self.goal = Goal("class_weighted_loss", "min")  # what is trained on decides, not what it gives up

    def _weigh_classes(self, asked: ClassWeights | None) -> Tensor | None:
        return None if asked is None else compute_class_weights(asked, self.labels, self.class_counts)

    @property
    def facts(self) -> dict[str, str]:
        facts = {} if self.sampling is None else {"sampling": self.sampling}
        facts |= {} if self.loss is None else {"loss": str(self.loss)}
        if self.class_weights is None:
            return facts
        pairs = [
            f"{label} {weight:.4g}" for label, weight in zip(self.labels, self.class_weights.tolist(), strict=True)
        ]
        return {**facts, "class_weights": join_some(pairs, 10)}

    def warnings(self, goal: Goal) -> list[str]:
        """What to know about the classes before training, whose best epoch the `goal` decides."""
        messages = (
            []
            if self.class_counts is None
            else warn_of_counts(self.labels, self.class_counts, goal, weighed=self.class_balance is not None)
        )
        if self.sampling == "balanced" and self.class_weights is not None:
            messages.append(
                "data.sampling: balanced and task.class_weights both weigh the classes, so that rare ones count twice; "
                "one of them is enough"
            )
        return messages

    def step(self, model: nn.Module, batch: LabelledBatch, carry: None) -> Step:
        logits = model(*batch.arguments)
        if isinstance(batch, MixedExamples):
            ours, theirs = batch.separate()
            return Step(self._measure(logits, ours) + self._measure(logits, theirs))
        return Step(self._measure(logits, batch))

    def _measure(self, logits: Tensor, batch: LabelledBatch) -> Tensor:
        """The mean over the batch's examples of weight times loss, of a model's logits (N, classes)."""
        weights = multiply_weights(self.class_weights, batch)
        if self.loss is not None:
            return self.loss.measure(to_full_precision(logits), batch.targets, weights).mean()
        if weights is None and not self.focal_gamma:
            return functional.cross_entropy(logits, batch.targets, label_smoothing=self.label_smoothing)
        losses = self._compute_losses(to_full_precision(logits), batch.targets)
        return (losses if weights is None else losses * weights).mean()

    def _compute_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """What is trained on before it is weighted, (N,)."""
        losses = functional.cross_entropy(logits, targets, reduction="none", label_smoothing=self.label_smoothing)
        return losses * compute_focal_factors(logits, targets, self.focal_gamma) if self.focal_gamma else losses

    def score(self, model: nn.Module, batch: LabelledBatch, carry: None) -> Score:
        logits = to_float64(model(*batch.arguments))  # (N, classes)
        nats, predicted = functional.cross_entropy(logits, batch.targets, reduction="none"), logits.argmax(1)
        counts = self._count(batch, nats, predicted, logits)
        if len(self.labels) <= RANKED_CLASSES:
            odds = class_scores.compute_log_odds(logits)
            counts |= {"scores": Each((odds,)), "truth": Each((batch.targets,))}
        return Score(counts)

    def _count(self, batch: LabelledBatch, nats: Tensor, predicted: Tensor, logits: Tensor) -> dict[str, Any]:
        """Count losses and predictions (N,), with the weights of rows and of classes too, if any.

        `nats` (N,) are -log p of the true class, `logits` (N, classes) what another loss is computed from.
        """

        def measure(weights: Tensor | None = None) -> Tensor:
            if self.loss is not None:
                return to_float64(self.loss.measure_examples(logits, batch.targets, weights))
            return nats if weights is None else nats * weights

        count_confusion = partial(
            class_scores.compute_confusion_matrix, batch.targets, predicted, classes=len(self.labels)
        )
        counts: dict[str, Any] = {"nats": measure().sum(), "confusion": count_confusion()}
        if self.loss is not None:
            counts["cross_entropy"] = nats.sum()
        counts |= self.metrics.collect(
            predictions=predicted,
            targets=batch.targets,
            probabilities=logits.softmax(1) if self.metrics.takes("probabilities") else None,
            weights=get_row_weights(batch),
        )
        if (rows := get_row_weights(batch)) is not None:
            rows = to_float64(rows)
            confusion = count_confusion(weights=rows)
            counts |= {"row_nats": measure(rows).sum(), "row_confusion": confusion, "row_weights": Each((rows,))}
        weights = None if self.class_balance is None else multiply_weights(self.class_balance, batch)
        if weights is not None:
            weights = to_float64(weights)
            counts |= {"class_nats": measure(weights).sum(), "class_weights": weights.sum()}
        return counts

    def report(self, counts: Counts) -> dict[str, float]:
        absent = class_scores.find_absent(counts["confusion"].cpu())
        metrics = {
            **self.accuracy_and_loss(counts),
            **self._average(class_scores.score_by_class(counts["confusion"].cpu(), absent)),
            **self._rank(counts, None),
        }
        if "row_confusion" in counts:
            confusion = counts["row_confusion"].cpu().double()
            weighted = {
                "accuracy": float(confusion.trace() / confusion.sum()),
                **self._average(class_scores.score_by_class(confusion, absent)),
                **self._rank(counts, counts["row_weights"].values()),
            }
            metrics["unweighted_loss"] = metrics["loss"]
            metrics["loss"] = float(counts["row_nats"].cpu() / confusion.sum())
            metrics |= {f"row_weighted_{name}": weighted[name] for name in ROW_WEIGHTED if name in weighted}
        if "class_nats" in counts:
            metrics["class_weighted_loss"] = float(counts["class_nats"].cpu() / counts["class_weights"].cpu())
        if "cross_entropy" in counts:
            metrics["cross_entropy"] = float(counts["cross_entropy"].cpu() / counts["confusion"].sum().cpu())
        return {**metrics, **self.metrics.report(counts, metrics)}

    def _average(self, by_class: dict[str, Tensor]) -> dict[str, float]:
        """The metrics that follow from those of each class."""
        return class_scores.average_over_classes(by_class)

    def _rank(self, counts: Counts, weights: Tensor | None) -> dict[str, float]:
        """The metrics that follow from the order of the examples, with `weights` (N,) of these or without."""
        if "scores" not in counts:
            return {}
        scores, truth = counts["scores"].values(), counts["truth"].values()
        return {"roc_auc": class_scores.compute_macro_roc_auc(scores, truth, weights)}

    def accuracy_and_loss(self, counts: Counts) -> dict[str, float]:
        confusion = counts["confusion"].double().cpu()
        examples = confusion.sum()
        return {"accuracy": float(confusion.trace() / examples), "loss": float(counts["nats"].cpu() / examples)}

    def confusion(self, counts: Counts) -> Tensor:
        confusion: Tensor = counts["confusion"].cpu()
        return confusion

    def by_class(self, counts: Counts) -> dict[str, Tensor]:
        """Precision, recall, F1 and the number of examples of each class, (classes,) float64 each.

        The scores of a class that is neither true nor predicted are NaN.
        """
        confusion = self.confusion(counts)
        return class_scores.score_by_class(confusion, class_scores.find_absent(confusion))

    def probabilities(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        probabilities: Tensor = model(*inputs).float().softmax(1)
        return probabilities

    def recover_outputs(self, predictions: Tensor) -> Tensor:
        """Log-probabilities (N, classes), which are logits too."""
        return predictions.clamp_min(torch.finfo(torch.float32).tiny).log()

    @property
    def why_not_convex(self) -> str | None:
        if self.loss is not None and self.loss.why_not_convex:
            return self.loss.why_not_convex
        if self.focal_gamma:
            return f"task.focal_gamma: {self.focal_gamma:g}"
        return "data.sampling: balanced draws other examples in each epoch" if self.sampling == "balanced" else None

    def with_cross_entropy(self) -> Self:
        """The same task without focal loss, which has no closed optimum, and without another loss."""
        plain = copy.copy(self)
        plain.focal_gamma, plain.loss = 0.0, None
        return plain

    def baselines(self) -> dict[str, Baseline]:
        """The share of each class in the training split, whatever the inputs are: the most common one is predicted."""
        log_shares = partial(compute_log_shares, classes=len(self.labels))
        return {"class shares": make_constant_baseline(len(self.labels), log_shares, self.shares_counted)}


def multiply_weights(class_weights: Tensor | None, batch: LabelledBatch) -> Tensor | None:
    """The weight of each example of a batch, (N,): its class's times its own; None where neither is given."""
    rows = get_row_weights(batch)
    if class_weights is None:
        return rows
    weights = class_weights.to(batch.targets.device)[batch.targets]
    return weights if rows is None else weights * rows


def to_float64(numbers: Tensor) -> Tensor:
    return numbers.double() if numbers.device.type != "mps" else numbers.float()


@tasks.register(
    "image_classification",
    data="images",
    sizes=("image_channels", "height", "width", "classes"),
    metrics=METRICS,
)
class ImageClassification(Classification):
    """Cross-entropy over classes; the best epoch has the highest validation accuracy.

    Reports accuracy; loss (mean cross-entropy in nats, without smoothing, focal_gamma and class_weights; or the mean of
    another loss that is chosen);
    macro_precision, macro_recall and macro_f1, the plain means over the classes that are true or predicted in some
    example; balanced_accuracy, the mean recall of the classes that have examples; weighted_f1, the mean F1 weighted by
    the classes' examples; and for up to 100 classes roc_auc, the mean over the classes, each against the others: as
    scikit-learn computes them with `zero_division=0`. With class_weights or balanced sampling there is
    class_weighted_loss, the loss with the weights of training.
    """

    def __init__(
        self,
        assets: Mapping[str, Any],
        *,
        label_smoothing: Fraction = 0.0,
        class_weights: ClassWeights | None = None,
        focal_gamma: NonNegativeFloat = 0.0,
        loss: ClassLoss = "cross_entropy",
        metrics: ClassMetrics | None = None,
    ) -> None:
        super().__init__(
            assets["labels"],
            label_smoothing,
            assets=assets,
            class_weights=class_weights,
            focal_gamma=focal_gamma,
            loss=loss,
            metrics=metrics,
        )
        sides = {"height": assets["height"], "width": assets["width"]}
        self.sizes = {"image_channels": assets["channels"], **sides, "classes": len(self.labels)}

    @staticmethod
    def name_indices(assets: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        return {"classes": assets["labels"]}


@tasks.register(
    "text_classification",
    data="documents",
    sizes=("vocabulary", "classes"),
    metrics=(*METRICS, *list_weighted(METRICS)),
)
class TextClassification(Classification):
    """Cross-entropy over classes; the best epoch has the highest validation accuracy.

    Reports accuracy; loss (mean cross-entropy in nats, without smoothing, focal_gamma and class_weights; or the mean of
    another loss that is chosen);
    macro_precision, macro_recall and macro_f1, the plain means over the classes that are true or predicted in some
    example; balanced_accuracy, the mean recall of the classes that have examples; weighted_f1, the mean F1 weighted by
    the classes' examples; and for up to 100 classes roc_auc, the mean over the classes, each against the others: as
    scikit-learn computes them with `zero_division=0`. With class_weights or balanced sampling there is
    class_weighted_loss, the loss with the weights of training.
    """

    def __init__(
        self,
        assets: Mapping[str, Any],
        *,
        label_smoothing: Fraction = 0.0,
        class_weights: ClassWeights | None = None,
        focal_gamma: NonNegativeFloat = 0.0,
        loss: ClassLoss = "cross_entropy",
        metrics: ClassMetrics | None = None,
    ) -> None:
        super().__init__(
            assets["labels"],
            label_smoothing,
            assets=assets,
            class_weights=class_weights,
            focal_gamma=focal_gamma,
            loss=loss,
            metrics=metrics,
        )
        self.sizes = {"vocabulary": len(assets["words"]), "classes": len(self.labels)}

    @staticmethod
    def name_indices(assets: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        return {"vocabulary": assets["words"], "classes": assets["labels"]}


@tasks.register(
    "tabular_classification",
    data="table",
    target="labels",
    sizes=("inputs", "outputs"),
    metrics=(*METRICS, *list_weighted(METRICS)),
)
class TabularClassification(Classification):
    """Cross-entropy over the labels of a table; the best epoch has the lowest validation loss.

    Reports accuracy; loss (mean cross-entropy in nats, without smoothing, focal_gamma and class_weights; or the mean of
    another loss that is chosen);
    macro_precision, macro_recall and macro_f1, the plain means over the classes that are true or predicted in some
    example; balanced_accuracy, the mean recall of the classes that have examples; weighted_f1, the mean F1 weighted by
    the classes' examples; and for up to 100 classes roc_auc, the mean over the classes, each against the others: as
    scikit-learn computes them with `zero_division=0`. With class_weights or balanced sampling there is
    class_weighted_loss, the loss with the weights of training, and that decides.
    """

    goal = Goal("loss", "min")  # a small table's accuracy has few values, and many epochs share the best

    def __init__(
        self,
        assets: Mapping[str, Any],
        *,
        label_smoothing: Fraction = 0.0,
        class_weights: ClassWeights | None = None,
        focal_gamma: NonNegativeFloat = 0.0,
        loss: ClassLoss = "cross_entropy",
        metrics: ClassMetrics | None = None,
    ) -> None:
        labels = read_target_labels(assets, "tabular_classification")
        super().__init__(
            labels,
            label_smoothing,
            assets=assets,
            class_weights=class_weights,
            focal_gamma=focal_gamma,
            loss=loss,
            metrics=metrics,
        )
        self.sizes = {"inputs": len(assets["inputs"]), "outputs": len(self.labels)}

    @staticmethod
    def name_indices(assets: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        return {"inputs": assets["inputs"], "outputs": assets["labels"]}

    def baselines(self) -> dict[str, Baseline]:
        """The class shares, and multinomial logistic regression."""
        return {**super().baselines(), "linear": make_linear_baseline(LinearModel, self.with_cross_entropy())}


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
