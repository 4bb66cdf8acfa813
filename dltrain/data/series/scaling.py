"""The scales of a series' columns, learned from its training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from dltrain.data.series.values import Values

TRENDING = 0.1
"""The share of the last fifth of the training values beyond the range of those before that makes a trend."""


def is_relative(assets: Mapping[str, Any]) -> bool:
    """Whether a model of these assets reads windows relative to themselves: `normalize: window`, or differences."""
    return assets.get("normalize") == "window" or bool(assets.get("difference"))


def count_rows(assets: Mapping[str, Any]) -> int:
    """The rows that a forecast is made from: the model's window, and those that differences use up."""
    rows: int = assets["window"] + sum(assets.get("difference", ()))
    return rows


def standardize_series(assets: Mapping[str, Any], values: Values) -> NDArray[Any]:
    """Scale values (T, C) of the assets' columns: minus `mean`, divided by `std`.

    They are float32, but float64 where the model subtracts them from each other.
    """
    scaled: Values = (values - numpy.array(assets["mean"])) / numpy.array(assets["std"])
    return scaled if is_relative(assets) else scaled.astype(numpy.float32)


def find_trend(training: Values) -> bool:
    """Whether a tenth of the last fifth of the training values (T, targets) leave the range of those before."""
    before, after = numpy.split(training, [len(training) - len(training) // 5])
    outside = (after < before.min(0)) | (after > before.max(0))
    return bool(len(after) and (outside.mean(0) > TRENDING).any())


def measure_changes(targets: Values) -> dict[str, list[float]]:
    """The mean of the training rows' changes from row to row, and of their sizes, of each target (T, targets)."""
    changes = _difference(targets, [1])
    return {"drift": changes.mean(0).tolist(), "change": numpy.abs(changes).mean(0).tolist()}


def learn_scales(training: Values, window: int, normalize: str, difference: Sequence[int]) -> dict[str, Any]:
    """The assets that scale columns, from the training rows (T, C).

    `std` is the standard deviation of the values; of a relative forecast, the root mean square of the differences, so
    that a loss of 1 is that of the forecast which lets them be 0. `spread` is that of a window's values around its last
    one, or of its differences, in units of `std`.
    """
    learned: dict[str, Any] = {"mean": training.mean(0).tolist()}
    if normalize == "standard" and not difference:
        return {**learned, "std": numpy.where(numpy.ptp(training, 0) > 0, training.std(0), 1.0).tolist()}
    deviations = _root_mean_square(_difference(training, difference or [1]))
    learned |= {"std": deviations.tolist(), "normalize": normalize, "difference": list(difference)}
    if normalize == "window":
        spread = numpy.ones(training.shape[1])
        if not difference:
            steps = [numpy.square(_difference(training, [lag])).mean(0) for lag in range(1, min(window, len(training)))]
            total = sum(steps, numpy.zeros(training.shape[1]))
            spread = numpy.sqrt(total / window) / deviations
        learned["spread"] = numpy.where(spread > 0, spread, 1.0).tolist()
    return learned


def _difference(values: Values, lags: Sequence[int]) -> Values:
    for lag in lags:
        values = values[lag:] - values[:-lag]
    return values


def _root_mean_square(values: Values) -> Values:
    """The root mean square of each column; 1 for one that is 0."""
    found: Values = numpy.sqrt(numpy.square(values).mean(0))
    return numpy.where(found > 0, found, 1.0)
