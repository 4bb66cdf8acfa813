"""Quantiles of numbers: the pinball loss, and prediction intervals whose coverage is measured.

A model gives k outputs for each number, which are sorted, so that quantiles never cross (Chernozhukov, Fernandez-Val
and Galichon 2010). The pinball loss of a quantile q is q times what it is too low, or 1 - q times what it is too high
(Koenker and Bassett 1978; scikit-learn's `mean_pinball_loss`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from annotated_types import Gt, Lt, MinLen
from torch import Tensor

from dltrain.goal import COVERAGE

Quantiles = Annotated[list[Annotated[float, Gt(0), Lt(1)]], MinLen(1)]
MEDIAN = 0.5


def check_quantiles(quantiles: Sequence[float] | None) -> tuple[float, ...]:
    """The quantiles in rising order; empty for None. Raises ValueError for a repeated one, and without the median."""
    if quantiles is None:
        return ()
    rising = tuple(sorted(quantiles))
    if len(set(rising)) < len(rising):
        raise ValueError(f"quantiles: one of {', '.join(map(str, quantiles))} is repeated: give each once")
    if MEDIAN not in rising:
        raise ValueError(f"quantiles: {', '.join(map(str, quantiles))} lack the median, 0.5, which is the forecast")
    return rising


def name_quantiles(names: Sequence[str], quantiles: Sequence[float]) -> tuple[str, ...]:
    """A name for each quantile of each number; the median has the number's own."""
    return tuple(name if q == MEDIAN else f"{name} q{q:g}" for name in names for q in quantiles)


def sort_quantiles(outputs: Tensor, numbers: int, quantiles: Sequence[float]) -> Tensor:
    """A model's outputs (N, numbers * k) as rising quantiles (N, numbers, k); those of a point forecast are equal."""
    parts = outputs.reshape(len(outputs), numbers, -1)
    if parts.shape[2] == 1:
        return parts.expand(-1, -1, len(quantiles))
    return parts.sort(-1).values


def compute_pinball_losses(rising: Tensor, targets: Tensor, quantiles: Sequence[float]) -> Tensor:
    """The pinball loss of quantiles (N, numbers, k) for targets (N, numbers), (N, numbers, k)."""
    levels = torch.tensor(quantiles, dtype=rising.dtype, device=rising.device)
    missing = targets[..., None] - rising
    return torch.maximum(levels * missing, (levels - 1) * missing)


def pair_quantiles(quantiles: Sequence[float]) -> list[tuple[int, int]]:
    """The positions of the lower and the upper end of each interval, the widest first."""
    count = len(quantiles)
    return [(low, count - 1 - low) for low in range(count // 2)]


def count_intervals(rising: Tensor, targets: Tensor, quantiles: Sequence[float]) -> dict[str, Tensor]:
    """Sums over the examples: pinball losses (numbers,); how often intervals cover, and widths (intervals, numbers)."""
    counts = {"pinball": compute_pinball_losses(rising, targets, quantiles).mean(-1).sum(0)}
    pairs = pair_quantiles(quantiles)
    if not pairs:
        return counts
    low, high = (torch.stack([rising[..., pair[side]] for pair in pairs]) for side in (0, 1))  # (intervals, N, numbers)
    covered = (low <= targets) & (targets <= high)
    return {**counts, "covered": covered.sum(1), "widths": (high - low).sum(1)}


def report_intervals(
    counts: Mapping[str, Tensor], quantiles: Sequence[float], examples: int, deviations: Tensor
) -> dict[str, float]:
    """The mean pinball loss, and of each interval the share of targets in it and its mean width, in units."""
    found = {"pinball_loss": float((counts["pinball"] / examples * deviations).mean())}
    for number, (low, high) in enumerate(pair_quantiles(quantiles)):
        nominal = f"{100 * (quantiles[high] - quantiles[low]):.4g}".replace(".", "_")
        found[f"{COVERAGE}{nominal}"] = float(counts["covered"][number].double().mean() / examples)
        found[f"width_{nominal}"] = float((counts["widths"][number] / examples * deviations).mean())
    return found
