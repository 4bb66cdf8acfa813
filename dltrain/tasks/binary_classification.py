"""Rows of a table to one of two labels, one of which is looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt
from torch import Tensor, nn
from torch.nn import functional

from dltrain.capabilities import Baseline
from dltrain.data.wording import suggest_name
from dltrain.errors import UsageError
from dltrain.goal import Goal
from dltrain.models.mlp import LinearModel
from dltrain.options import ClassLoss, ClassMetrics, NonNegativeFloat, PositiveFloat
from dltrain.registry import tasks
from dltrain.task import Counts, Each, Score, Step
from dltrain.tasks import class_scores
from dltrain.tasks.baselines import (
    compute_log_shares,
    make_constant_baseline,
    make_linear_baseline,
    to_full_precision,
)
from dltrain.tasks.class_weights import ClassWeights
from dltrain.tasks.classification import (
    Classification,
    LabelledBatch,
    list_weighted,
    multiply_weights,
    read_target_labels,
    to_float64,
)

OBVIOUS = (
    {"0", "1"}, {"-1", "1"}, {"no", "yes"}, {"n", "y"}, {"false", "true"}, {"f", "t"}, {"negative", "positive"},
    {"neg", "pos"}, {"absent", "present"},
)  # fmt: skip
"""Pairs of labels, in lower case, of which the last in the alphabet is the one that people call positive."""


METRICS = (
    "accuracy", "precision", "recall", "f1", "balanced_accuracy", "macro_f1", "roc_auc", "average_precision", "loss",
    "class_weighted_loss", "cross_entropy",
)  # fmt: skip


@tasks.register(
    "binary_classification",
    data="table",
    target="labels",
    sizes=("inputs", "outputs"),
    metrics=(*METRICS, *list_weighted(METRICS)),
)
class BinaryClassification(Classification):
    """Cross-entropy of one logit for the positive one of two labels: logistic regression, or a deeper network.

    Reports accuracy, precision, recall and F1 of the positive label at the threshold (0 where there is nothing to
    divide by, as scikit-learn's `zero_division=0`), roc_auc, the area under the ROC curve, over all pairs of examples
    and with ties counting one half, and loss, the log loss: mean of -log p in nats, without class weights; also
    balanced_accuracy and macro_f1, which count both labels alike, and average_precision, which suits a rare positive
    label. Where a split has one class only, there is no roc_auc. With class_weights or balanced sampling there is
    class_weighted_loss, the loss with the weights of training. The best epoch has the lowest validation loss, or
    class_weighted_loss where there is one.

    Options:
        positive: the label that counts as positive; when not given the last one, such as 1, true or yes.
        loss: what is trained on and reported as loss: a registered loss of logits (N, 2) in the order of the labels, of
            which the negative one's is 0, and labels (N,), by its name or with its options. With another one than
            cross_entropy, cross_entropy is reported too.
        threshold: probability at or above which the positive label is predicted.
        positive_weight: how much a positive example weighs in training, a negative one weighing 1; class_weights do
            the same for any label, and decide the best epoch too.
    """

    goal = Goal("loss", "min")

    def __init__(
        self,
        assets: Mapping[str, Any],
        *,
        positive: str | None = None,
        threshold: Annotated[float, Gt(0), Lt(1)] = 0.5,
        positive_weight: PositiveFloat = 1.0,
        class_weights: ClassWeights | None = None,
        focal_gamma: NonNegativeFloat = 0.0,
        loss: ClassLoss = "cross_entropy",
        metrics: ClassMetrics | None = None,
    ) -> None:
        if positive_weight != 1 and class_weights is not None:
            raise ValueError("positive_weight and class_weights both weigh the positive label; give one of them")
        labels = read_target_labels(assets, "binary_classification")
        super().__init__(
            labels, assets=assets, class_weights=class_weights, focal_gamma=focal_gamma, loss=loss, metrics=metrics
        )
        if self.loss is not None and positive_weight != 1:
            raise ValueError("positive_weight changes cross_entropy; with another loss give class_weights")
        self.sizes = {"inputs": len(assets["inputs"]), "outputs": 1}
        self.positive = self._find_positive(positive)
        self.is_positive_chosen = positive is not None
        self.threshold = threshold
        self.positive_weight = positive_weight

    @staticmethod
    def name_indices(assets: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        return {"inputs": assets["inputs"], "outputs": [options.get("positive") or assets["labels"][-1]]}

    @property
    def facts(self) -> dict[str, str]:
        return {"positive_label": self.labels[self.positive], **super().facts}

    def warnings(self, goal: Goal) -> list[str]:
        """Those of any classifier, and a hint where nobody chose the positive label and the labels do not show it."""
        messages = super().warnings(goal)
        if self.is_positive_chosen or {label.lower() for label in self.labels} in OBVIOUS:
            return messages
        positive, other = self.labels[self.positive], self.labels[1 - self.positive]
        return [
            f"the positive label is '{positive}' because it comes last: precision, recall and f1 are "
            f"its own; set task.positive to '{other}' or '{positive}' to choose it",
            *messages,
        ]

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
            raise UsageError(
                f"task.positive: '{positive}' is not a label of the target; allowed are {found}"
                f"{suggest_name(positive, self.labels)}"
            )
        return self.labels.index(positive)

    def step(self, model: nn.Module, batch: LabelledBatch, carry: None) -> Step:
        logits = to_full_precision(model(*batch.arguments)[:, 0])
        weights = multiply_weights(self.class_weights, batch)
        if self.loss is not None:
            return Step(self.loss.measure(self._widen(logits), batch.targets, weights).mean())
        if weights is None and not self.focal_gamma:
            return Step(self._compute_nats(logits, batch.targets, "mean"))
        losses = self._compute_nats(logits, batch.targets, "none")
        if self.focal_gamma:
            losses = losses * self._compute_focal_factors(logits, batch.targets)
        return Step((losses if weights is None else losses * weights).mean())

    def _compute_nats(self, logits: Tensor, targets: Tensor, reduction: str) -> Tensor:
        """-log p of the true class, with the positive weight, from one logit of each example (N,)."""
        weight = logits.new_full((), self.positive_weight)
        truth = (targets == self.positive).to(logits.dtype)
        return functional.binary_cross_entropy_with_logits(logits, truth, pos_weight=weight, reduction=reduction)

    def _compute_focal_factors(self, logits: Tensor, targets: Tensor) -> Tensor:
        signed = torch.where(targets == self.positive, logits, -logits)
        return torch.exp(self.focal_gamma * functional.logsigmoid(-signed))

    def score(self, model: nn.Module, batch: LabelledBatch, carry: None) -> Score:
        logits = to_float64(model(*batch.arguments)[:, 0])
        truth = batch.targets == self.positive
        nats = functional.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="none")
        counts = self._count(batch, nats, self._classes(logits.sigmoid() >= self.threshold), self._widen(logits))
        return Score({**counts, "logits": Each((logits,)), "truth": Each((truth,))})

    def _widen(self, logits: Tensor) -> Tensor:
        """Logits of both labels (N, 2), in their order, from that of the positive one (N,): the other's is 0."""
        both = (torch.zeros_like(logits), logits)
        return torch.stack(both if self.positive == 1 else both[::-1], 1)

    def _average(self, by_class: dict[str, Tensor]) -> dict[str, float]:
        positive = {name: float(by_class[name][self.positive].nan_to_num()) for name in ("precision", "recall", "f1")}
        averages = super()._average(by_class)
        return {**positive, **{name: averages[name] for name in ("balanced_accuracy", "macro_f1")}}

    def _rank(self, counts: Counts, weights: Tensor | None) -> dict[str, float]:
        logits, truth = counts["logits"].values(), counts["truth"].values()
        return {
            "roc_auc": class_scores.compute_roc_auc(logits, truth, weights),
            "average_precision": class_scores.compute_average_precision(logits, truth, weights),
        }

    def probabilities(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        positive = to_float64(model(*inputs)[:, 0]).sigmoid()
        return torch.stack((1 - positive, positive) if self.positive == 1 else (positive, 1 - positive), 1).float()

    def recover_outputs(self, predictions: Tensor) -> Tensor:
        """The logit of the positive label, (N, 1)."""
        logits = super().recover_outputs(predictions)
        return logits[:, [self.positive]] - logits[:, [1 - self.positive]]

    def decisions(self, probabilities: Tensor) -> Tensor:
        """Probabilities (N, 2) to the labels given at the threshold, (N,) int64."""
        return self._classes(probabilities[:, self.positive] >= self.threshold)

    def baselines(self) -> dict[str, Baseline]:
        """The share of the positive label in the training split, and logistic regression."""

        def compute_log_odds(targets: Tensor, weights: Tensor) -> Tensor:
            return compute_log_shares((targets == self.positive).long(), weights, 2).diff()

        return {
            "class shares": make_constant_baseline(1, compute_log_odds, self.shares_counted),
            "linear": make_linear_baseline(LinearModel, self.with_cross_entropy()),
        }

    def _classes(self, positive: Tensor) -> Tensor:
        return torch.where(positive, self.positive, 1 - self.positive)
