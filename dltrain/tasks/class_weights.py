"""How much the examples of each class weigh in a classifier's training, and the focal loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from dltrain.data.risks import DOMINANT_SHARE
from dltrain.data.wording import join_some, suggest_name
from dltrain.errors import UsageError
from dltrain.goal import Goal
from dltrain.options import PositiveFloat

ClassWeights = Literal["balanced"] | dict[str, PositiveFloat]


def read_class_counts(assets: Mapping[str, Any], classes: int) -> tuple[int, ...] | None:
    """The training examples of each class that the dataset's assets state; None where they do not."""
    counts = assets.get("class_counts")
    return tuple(counts) if counts is not None and len(counts) == classes else None


def compute_class_weights(
    asked: Literal["balanced"] | Mapping[str, float], labels: Sequence[str], counts: Sequence[int] | None
) -> Tensor:
    """The weight of each class, (classes,) float32.

    "balanced" weighs all classes alike, and an example 1 on average: N / (classes in training * examples of the class),
    as scikit-learn's compute_class_weight of the numbers of examples, whatever their own weights are. In a mapping by
    label, a class that is not named weighs 1. Raises UsageError for an unknown label.
    """
    if asked == "balanced":
        if counts is None:
            raise UsageError(
                "task.class_weights: the dataset's assets lack the training examples of each class (class_counts)",
                advice="give a weight by class name, such as {rare: 10}, or add class_counts to the dataset's assets",
            )
        known = torch.tensor(counts, dtype=torch.float64)
        weights = known.sum() / (known.count_nonzero() * known)
        return torch.where(known > 0, weights, 1.0).float()
    for name in asked:
        if name not in labels:
            raise UsageError(
                f"task.class_weights: '{name}' is not a class; allowed are "
                f"{join_some(labels, 20)}{suggest_name(name, labels)}"
            )
    return torch.tensor([asked.get(label, 1.0) for label in labels], dtype=torch.float32)


def compute_focal_factors(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """(1 - p)**gamma, with p the probability of the true class, of logits (N, classes) and targets (N,): (N,).

    Lin et al. 2017, arXiv:1708.02002. Computed from log(1 - p), so that its gradient is finite where p is 1.
    """
    others = logits.scatter(1, targets[:, None], -torch.inf).logsumexp(1)
    return torch.exp(gamma * (others - logits.logsumexp(1)))


def warn_of_counts(labels: Sequence[str], counts: Sequence[int], goal: Goal, *, weighed: bool) -> list[str]:
    """Warnings about classes with one training example, and about accuracy where a class dominates.

    `weighed` says whether training makes up for unequal classes already.
    """
    messages = []
    if single := [repr(label) for label, count in zip(labels, counts, strict=True) if count == 1]:
        messages.append(f"there is one training example only of {join_some(single, 5)}")
    most, deciding = max(counts), goal.metric == "accuracy"
    share = most / max(1, sum(counts))
    if share < DOMINANT_SHARE or (weighed and not deciding):
        return messages
    advice = ["let another metric decide, such as task.goal: macro_f1"] if deciding else ["read macro_f1"]
    if not weighed:
        advice.append("weigh rare classes (task.class_weights: balanced, or data.sampling: balanced)")
    messages.append(
        f"{share:.1%} of the training examples are '{labels[counts.index(most)]}': a model that always predicts it has "
        f"that accuracy; {', and '.join(advice)}"
    )
    return messages
