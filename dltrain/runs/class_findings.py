"""Curves of a classifier from its probabilities: ROC, precision and recall, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

MOST_CLASSES = 100
"""Classes up to which there are curves."""
DRAWN = 10
"""Curves in one picture: of more classes, those with the smallest areas."""
POINTS = 120
"""Points of a curve at most."""
BINS = 10
"""Intervals of equal width in a calibration curve."""

Array = NDArray[Any]


def describe_probabilities(
    probabilities: Array, targets: Array, labels: Sequence[str], positive: int | None
) -> dict[str, Any]:
    """The curves of probabilities (N, classes) for true classes (N,).

    Of two labels the curves are those of the `positive` one, by default the last; of more, each class is compared with
    all others. The calibration of two labels is that of the positive one's probability, of more that of the highest.
    """
    found: dict[str, Any] = {"examples": len(targets), "labels": list(labels)}
    if len(labels) == 2:
        chosen = [1 if positive is None else positive]
        scores, outcomes = probabilities[:, chosen[0]], targets == chosen[0]
        found["calibrated"] = f"probability of {labels[chosen[0]]}"
    else:
        chosen = list(range(len(labels)))
        scores, outcomes = probabilities.max(1), probabilities.argmax(1) == targets
        found["calibrated"] = "highest probability"
    found["calibration"] = calibrate(scores, outcomes)
    if len(labels) <= MOST_CLASSES:
        curves = [trace_class(probabilities[:, each], targets == each, labels[each]) for each in chosen]
        known = [curve for curve in curves if curve is not None]
        found["curves"] = sorted(known, key=lambda curve: curve["roc_auc"])[:DRAWN]
        found["curves_left_out"] = max(0, len(known) - DRAWN)
    return found


def trace_class(scores: Array, positive: Array, label: str) -> dict[str, Any] | None:
    """The ROC and the precision-recall curve of one class; None where all examples are of it, or none is."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    if positive.all() or not positive.any() or not numpy.isfinite(scores).all():
        return None
    false_rate, true_rate, _ = roc_curve(positive, scores)
    precision, recall, _ = precision_recall_curve(positive, scores, drop_intermediate=True)
    return {
        "label": label,
        "share": float(positive.mean()),
        "roc_auc": float(roc_auc_score(positive, scores)),
        "average_precision": float(average_precision_score(positive, scores)),
        "roc": thin_curve(false_rate, true_rate),
        "precision_recall": thin_curve(recall[::-1], precision[::-1]),
    }


def thin_curve(x: Array, y: Array) -> list[list[float]]:
    """Both coordinates of at most POINTS points of a curve, spread evenly along its length, its ends among them."""
    if len(x) > POINTS:
        lengths = numpy.concatenate([[0], numpy.hypot(numpy.diff(x), numpy.diff(y)).cumsum()])
        chosen = numpy.searchsorted(lengths, numpy.linspace(0, lengths[-1], POINTS))
        chosen = numpy.unique(numpy.clip([0, *chosen.tolist(), len(x) - 1], 0, len(x) - 1))
        x, y = x[chosen], y[chosen]
    return [[round(float(value), 4) for value in values] for values in (x, y)]


def calibrate(scores: Array, outcomes: Array) -> dict[str, Any]:
    """The mean probability, the share of outcomes and the number of examples in each interval that has some.

    `error` is the expected calibration error: the mean distance of both, weighted by examples (Naeini et al. 2015).
    """
    bins = numpy.clip((scores * BINS).astype(int), 0, BINS - 1)
    counts = numpy.bincount(bins, minlength=BINS)
    filled = counts > 0
    predicted = numpy.bincount(bins, scores.astype(float), BINS)[filled] / counts[filled]
    observed = numpy.bincount(bins, outcomes.astype(float), BINS)[filled] / counts[filled]
    error = float((numpy.abs(predicted - observed) * counts[filled]).sum() / max(1, counts.sum()))
    return {
        "predicted": [round(float(value), 4) for value in predicted],
        "observed": [round(float(value), 4) for value in observed],
        "counts": counts[filled].tolist(),
        "error": error,
    }
