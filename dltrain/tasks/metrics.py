"""The metrics that a task's option `metrics` may name beside its own, registered as those of a plug-in are.

Most are scikit-learn's; a number of several outputs is the plain mean over these.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dltrain.options import PositiveFloat, PositiveInt
from dltrain.registry import metrics


@metrics.register("matthews_corrcoef", direction="max", takes="classes")
def compute_matthews_corrcoef(predictions: Tensor, targets: Tensor) -> float:
    """Matthews' correlation of predicted and true classes: 1 is perfect, 0 as good as a constant (1975)."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(targets, predictions))


@metrics.register("cohen_kappa", direction="max", takes="classes")
def compute_cohen_kappa(
    predictions: Tensor, targets: Tensor, *, weights: Literal["linear", "quadratic"] | None = None
) -> float:
    """The agreement of predicted and true classes beyond that by chance (Cohen 1960).

    Options:
        weights: how a mistake grows with the distance between classes that have an order; null counts all alike.
    """
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(targets, predictions, weights=weights))


@metrics.register("f_beta", direction="max", takes="classes")
def compute_f_beta(
    predictions: Tensor,
    targets: Tensor,
    *,
    beta: PositiveFloat = 1.0,
    average: Literal["macro", "micro", "weighted"] = "macro",
) -> float:
    """The F score, in which recall counts `beta` times as much as precision; 0 where there is nothing to divide by.

    Options:
        beta: 1 is F1, 2 favours recall, 0.5 precision.
        average: over the classes that are true or predicted in some example: macro (plain mean), weighted by the
            classes' examples, or micro (of all examples together).
    """
    from sklearn.metrics import fbeta_score

    return float(fbeta_score(targets, predictions, beta=beta, average=average, zero_division=0))


@metrics.register("top_k_accuracy", direction="max", takes="classes")
def compute_top_k_accuracy(probabilities: Tensor, targets: Tensor, *, k: PositiveInt = 5) -> float:
    """The share of examples whose true class is among the k most probable ones.

    Options:
        k: how many; with as many classes or fewer it is 1.
    """
    best = probabilities.topk(min(k, probabilities.shape[1])).indices
    return float((best == targets[:, None]).any(1).double().mean())


@metrics.register("brier_score", direction="min", takes="classes")
def compute_brier_score(probabilities: Tensor, targets: Tensor) -> float:
    """The squared distance of the probabilities from the truth, summed over all classes (Brier 1950): 0 to 2."""
    truth = torch.nn.functional.one_hot(targets, probabilities.shape[1])
    return float((probabilities.double() - truth).square().sum(1).mean())


@metrics.register("expected_calibration_error", direction="min", takes="classes")
def compute_calibration_error(probabilities: Tensor, targets: Tensor, *, bins: PositiveInt = 15) -> float:
    """How far the probability of the predicted class is from the accuracy, the mean over bins of equal width.

    Guo et al. 2017, arXiv:1706.04599.

    Options:
        bins: how many.
    """
    confidence, predicted = probabilities.double().max(1)
    places = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = confidence - (predicted == targets).double()
    return float(torch.bincount(places, gaps, minlength=bins).abs().sum() / len(targets))


@metrics.register("mape", direction="min", takes="numbers")
def compute_mape(predictions: Tensor, targets: Tensor) -> float:
    """The mean absolute error as a share of the truth, 0.1 for 10 %; huge where a true number is near 0."""
    from sklearn.metrics import mean_absolute_percentage_error

    return float(mean_absolute_percentage_error(targets, predictions))


@metrics.register("smape", direction="min", takes="numbers")
def compute_smape(predictions: Tensor, targets: Tensor) -> float:
    """The mean of the absolute error as a share of the mean size of truth and prediction: 0 to 2."""
    sizes = (predictions.abs() + targets.abs()) / 2
    return float(torch.where(sizes > 0, (predictions - targets).abs() / sizes, 0.0).mean())


@metrics.register("median_absolute_error", direction="min", takes="numbers")
def compute_median_absolute_error(predictions: Tensor, targets: Tensor) -> float:
    """The median of the absolute errors, in the data's units."""
    from sklearn.metrics import median_absolute_error

    return float(median_absolute_error(targets, predictions))


@metrics.register("max_error", direction="min", takes="numbers")
def compute_max_error(predictions: Tensor, targets: Tensor) -> float:
    """The largest absolute error, in the data's units."""
    return float((predictions - targets).abs().amax(0).mean())


@metrics.register("explained_variance", direction="max", takes="numbers")
def compute_explained_variance(predictions: Tensor, targets: Tensor) -> float:
    """1 - variance of the errors / variance of the truth: r2, but that a constant error does not count."""
    from sklearn.metrics import explained_variance_score

    return float(explained_variance_score(targets, predictions))
