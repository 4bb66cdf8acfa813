"""Scores of classes, from confusion matrices and from rankings; equal to scikit-learn's with `zero_division=0`."""

from __future__ import annotations

from math import nan

import torch
from torch import Tensor


def compute_confusion_matrix(
    targets: Tensor, predictions: Tensor, classes: int, weights: Tensor | None = None
) -> Tensor:
    """(classes, classes): how often each class (rows) was predicted as each (columns).

    int64; with `weights` (N,) of the examples float64 sums of these, on the CPU, where they have one order.
    """
    places = targets * classes + predictions
    if weights is not None:
        places, weights = places.cpu(), weights.cpu().double()
    return torch.bincount(places, weights, minlength=classes * classes).view(classes, classes)


def find_absent(confusion: Tensor) -> Tensor:
    """The classes that are neither true nor predicted in any example, (classes,) bool."""
    return (confusion.sum(0) + confusion.sum(1)) == 0


def score_by_class(confusion: Tensor, absent: Tensor) -> dict[str, Tensor]:
    """Precision, recall, F1 and the examples of each class, (classes,) float64 each, NaN for `absent` ones.

    Where there is nothing to divide by, the score is 0.
    """
    confusion = confusion.double()
    correct, predicted, present = confusion.diagonal(), confusion.sum(0), confusion.sum(1)
    scores = {
        "precision": _divide(correct, predicted),
        "recall": _divide(correct, present),
        "f1": _divide(2 * correct, predicted + present),
    }
    return {**{name: values.masked_fill(absent, nan) for name, values in scores.items()}, "examples": present}


def _divide(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / below, torch.zeros_like(above))


def average_over_classes(by_class: dict[str, Tensor]) -> dict[str, float]:
    """The averages of `score_by_class`.

    macro_precision, macro_recall and macro_f1: the plain mean over the classes that are true or predicted in some
    example. balanced_accuracy: the mean recall of the classes that have examples. weighted_f1: F1 averaged with the
    classes' numbers of examples.
    """
    examples = by_class["examples"]
    macro = {f"macro_{name}": float(by_class[name].nanmean()) for name in ("precision", "recall", "f1")}
    present = examples > 0
    return {
        **macro,
        "balanced_accuracy": float(by_class["recall"][present].mean()),
        "weighted_f1": float((by_class["f1"][present] * examples[present]).sum() / examples.sum()),
    }


def compute_log_odds(logits: Tensor) -> Tensor:
    """log p - log(1 - p) of each class, (N, classes): it ranks as the probability p does, and never saturates."""
    highest = logits.argmax(1, keepdim=True)
    log_p = logits.log_softmax(1)
    others = logits.scatter(1, highest, -torch.inf).logsumexp(1, keepdim=True)
    return (log_p - torch.log1p(-log_p.exp())).scatter(1, highest, logits.gather(1, highest) - others)


def compute_macro_roc_auc(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> float:
    """The mean of each class's area under the ROC curve against the others, of `scores` (N, classes).

    Classes that all or none of the `targets` (N,) belong to have no curve and are left out; NaN if all are.
    """
    classes = range(scores.shape[1])
    areas = [compute_roc_auc(scores[:, one], targets == one, weights) for one in classes]
    return float(torch.tensor(areas, dtype=torch.float64).nanmean())


def compute_roc_auc(scores: Tensor, truth: Tensor, weights: Tensor | None = None) -> float:
    """The share of pairs of a positive and a negative example in which the positive one has the higher score (N,).

    Equal scores count one half (Mann and Whitney 1947); `truth` (N,) bool says which are positive. A pair weighs the
    product of its `weights` (N,). NaN without a pair.
    """
    positives, negatives = _count_by_score(scores, truth, weights)
    pairs = positives.sum().item() * negatives.sum().item()
    below = negatives.cumsum(0) - negatives
    twice = (positives * (2 * below + negatives)).sum().item()  # without weights whole numbers: nothing is rounded
    return twice / (2 * pairs) if pairs else nan


def compute_average_precision(scores: Tensor, truth: Tensor, weights: Tensor | None = None) -> float:
    """The mean precision over the recalls of a ranking, each weighing as much as it raises the recall.

    `scores` (N,), higher for what is more probably positive; `truth` (N,) bool. NaN without a positive example.
    """
    positives, negatives = (counts.flip(0).double() for counts in _count_by_score(scores, truth, weights))
    total = positives.sum()
    correct = positives.cumsum(0)
    precision = _divide(correct, correct + negatives.cumsum(0))
    return float((precision * positives).sum() / total) if total else nan


def _count_by_score(scores: Tensor, truth: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Positive and negative examples at each different score, from the lowest on; their weights where given."""
    values, places = torch.unique(scores.cpu(), return_inverse=True)
    truth = truth.cpu()
    heavy = [None, None] if weights is None else [weights.cpu().double()[truth], weights.cpu().double()[~truth]]
    parts = zip((places[truth], places[~truth]), heavy, strict=True)
    positives, negatives = (torch.bincount(each, weight, minlength=len(values)) for each, weight in parts)
    return positives, negatives
