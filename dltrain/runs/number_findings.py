"""Estimated numbers beside the true ones: a sample of points, and how the residuals are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

POINTS = 800
"""Points of a scatter plot at most: every k-th example."""
BINS = 24

Array = NDArray[Any]


def describe_numbers(names: Sequence[str], estimates: Array, truths: Array) -> list[dict[str, Any]]:
    """Of each number: points, and the histogram, mean, deviation and median size of estimate minus truth.

    Estimates and truths are (N, numbers), of which those are described that have a name.
    """
    every = -(-len(truths) // POINTS)
    found = []
    for column, name in enumerate(names):
        truth, estimate = truths[:, column], estimates[:, column]
        residuals = estimate - truth
        finite = residuals[numpy.isfinite(residuals)]
        counts, edges = numpy.histogram(finite, bins=BINS)
        found.append(
            {
                "name": name,
                "examples": len(truth),
                "every": every,
                "truth": [float(f"{value:.5g}") for value in truth[::every]],
                "estimate": [float(f"{value:.5g}") for value in estimate[::every]],
                "counts": counts.tolist(),
                "edges": [float(f"{value:.6g}") for value in edges],
                "mean_error": float(finite.mean()) if len(finite) else None,
                "deviation": float(finite.std()) if len(finite) else None,
                "median_absolute_error": float(numpy.median(numpy.abs(finite))) if len(finite) else None,
            }
        )
    return found
