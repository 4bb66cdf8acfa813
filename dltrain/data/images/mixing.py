"""Mixup and CutMix: each image of a batch is mixed with the one before it, and so are their targets.

Mixup adds the two images by shares (Zhang et al. 2018, arXiv:1710.09412), CutMix puts a rectangle of one over the other
(Yun et al. 2019, arXiv:1905.04899). Batches are shuffled, so the image before is a random one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltrain.batch import MixedExamples
from dltrain.data.images.options import Augmentation

MIXING_DRAWS = 5
"""Uniform numbers per image: whether it is mixed, by which of the two ways, its share, and the rectangle (y, x)."""

_POINTS = 4097


def mix_examples(images: Tensor, targets: Tensor, chances: Tensor, augmentation: Augmentation) -> MixedExamples:
    """Mix images (N, C, H, W) and targets (N,) as `chances` (N, MIXING_DRAWS) say, uniform in [0, 1).

    Where both ways are given, each image is mixed by one of them, with probability one half.
    """
    mixed = chances[:, 0] < augmentation.mix_probability
    by_mixup = chances[:, 1] < (0.5 if augmentation.mixup and augmentation.cutmix else float(augmentation.mixup > 0))
    shares = torch.ones(len(images))
    others = images.roll(1, 0)
    result = images
    if augmentation.mixup:
        drawn = draw_beta(augmentation.mixup, chances[:, 2])
        shares = torch.where(mixed & by_mixup, drawn, shares)
        own = shares.view(-1, 1, 1, 1)
        result = own * images + (1 - own) * others
    if augmentation.cutmix:
        drawn = draw_beta(augmentation.cutmix, chances[:, 2])
        covered = mark_rectangles(1 - drawn, chances[:, 3:5], (images.shape[2], images.shape[3]))
        covered &= (mixed & ~by_mixup).view(-1, 1, 1)
        result = torch.where(covered.unsqueeze(1), others, result)
        shares = shares - covered.float().mean((1, 2))
    return MixedExamples(result, targets, partners=targets.roll(1, 0), shares=shares)


def mark_rectangles(area: Tensor, centres: Tensor, size: tuple[int, int]) -> Tensor:
    """Mark a rectangle of the image's form and of the share `area` (N,) of it, (N, H, W) bool, about a centre in 0..1.

    What is outside the image is cut off.
    """
    marks = []
    for side, chance in zip(size, centres.unbind(1), strict=True):
        half = area.sqrt() * (side / 2)
        middle = (chance * side).floor()
        starts, ends = (middle - half).round().unsqueeze(1), (middle + half).round().unsqueeze(1)
        positions = torch.arange(side)
        marks.append((positions >= starts) & (positions < ends))
    return marks[0].unsqueeze(2) & marks[1].unsqueeze(1)


def draw_beta(alpha: float, chances: Tensor) -> Tensor:
    """Numbers of the distribution Beta(alpha, alpha) from uniform ones, (N,) float32, by its inverse distribution."""
    places, probabilities, power = _tabulate_beta(alpha)
    uniform = chances.double().numpy()
    lower = numpy.minimum(uniform, 1 - uniform)  # it is symmetric about 1/2
    found = 0.5 * numpy.interp(lower, probabilities, places) ** power
    return torch.from_numpy(numpy.where(uniform < 0.5, found, 1 - found)).float()


@lru_cache(maxsize=8)
def _tabulate_beta(alpha: float) -> tuple[NDArray[numpy.float64], NDArray[numpy.float64], float]:
    """Points t in 0..1, the distribution function at t**power / 2, and the power.

    The power makes the density finite at 0, where that of alpha < 1 is not.
    """
    power = max(1.0, 1 / alpha)
    points = numpy.linspace(0, 1, _POINTS)
    density = points ** (power * alpha - 1) * (1 - 0.5 * points**power) ** (alpha - 1)
    masses = numpy.concatenate(([0.0], numpy.cumsum(density[1:] + density[:-1])))
    return points, 0.5 * masses / masses[-1], power
