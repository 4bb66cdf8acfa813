"""RandAugment: some operations for each image, drawn from a list, each as strong as the magnitude says.

Cubuk et al. 2020, "RandAugment: Practical automated data augmentation with a reduced search space" (arXiv:1909.13719),
with the operations and ranges of torchvision's RandAugment, but shears are about the centre. Where the magnitude is
None each operation draws its own, as in TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dltrain.data.images import colours
from dltrain.data.images.geometry import move, shear
from dltrain.data.images.options import LARGEST_MAGNITUDE, RandAugment

DRAWS = 3
"""Uniform numbers for each operation of an image: which, its magnitude, its sign."""

_SHEAR, _SHIFT, _DEGREES, _FACTOR = 0.3, 150 / 331, 30.0, 0.9
_BITS_LOST = 4


class Drawn(NamedTuple):
    """What an operation is given for N images: strengths (N,) in 0..1, those with a random sign, and the background."""

    strength: Tensor
    signed: Tensor
    background: float


Operation = Callable[[Tensor, Drawn], Tensor]


def _shear(images: Tensor, drawn: Drawn, axis: int) -> Tensor:
    slopes = torch.zeros(len(images), 2)
    slopes[:, axis] = _SHEAR * drawn.signed
    return shear(images, slopes, background=drawn.background)


def _translate(images: Tensor, drawn: Drawn, axis: int) -> Tensor:
    shifts = torch.zeros(len(images), 2)
    shifts[:, axis] = _SHIFT * drawn.signed
    zeros = torch.zeros(len(images))
    return move(images, zeros, zeros + 1, shifts=shifts, background=drawn.background)


def _rotate(images: Tensor, drawn: Drawn) -> Tensor:
    ones, still = torch.ones(len(images)), torch.zeros(len(images), 2)
    return move(images, _DEGREES * drawn.signed, ones, shifts=still, background=drawn.background)


def _to_factors(drawn: Drawn) -> Tensor:
    return 1 + _FACTOR * drawn.signed


OPERATIONS: dict[str, Operation] = {
    "identity": lambda images, drawn: images,
    "shear_x": lambda images, drawn: _shear(images, drawn, 0),
    "shear_y": lambda images, drawn: _shear(images, drawn, 1),
    "translate_x": lambda images, drawn: _translate(images, drawn, 0),
    "translate_y": lambda images, drawn: _translate(images, drawn, 1),
    "rotate": _rotate,
    "brightness": lambda images, drawn: colours.change_brightness(images, _to_factors(drawn)),
    "saturation": lambda images, drawn: colours.change_saturation(images, _to_factors(drawn)),
    "contrast": lambda images, drawn: colours.change_contrast(images, _to_factors(drawn)),
    "sharpness": lambda images, drawn: colours.change_sharpness(images, _to_factors(drawn)),
    "posterize": lambda images, drawn: colours.posterize(images, 8 - (_BITS_LOST * drawn.strength).round()),
    "solarize": lambda images, drawn: colours.solarize(images, 1 - drawn.strength),
    "stretch_contrast": lambda images, drawn: colours.stretch_contrast(images),
    "equalize": lambda images, drawn: colours.equalize(images),
}
"""What each operation makes of images (N, C, H, W) float32 in 0..1."""


def apply_rand_augment(images: Tensor, chances: Tensor, policy: RandAugment, background: float) -> Tensor:
    """Change images (N, C, H, W) float32 in 0..1 by operations of `chances` (N, DRAWS x operations), uniform in [0, 1).

    Pixels from outside become `background`.
    """
    for which, magnitude, sign in chances.view(len(images), policy.operations, DRAWS).permute(1, 2, 0):
        if policy.magnitude is None:
            strength = magnitude
        else:
            strength = torch.full_like(magnitude, policy.magnitude / LARGEST_MAGNITUDE)
        signed = torch.where(sign < 0.5, -strength, strength)
        chosen = (which * len(OPERATIONS)).long()
        images = images.clone()
        for index, operation in enumerate(OPERATIONS.values()):
            rows = (chosen == index).nonzero().squeeze(1)
            if len(rows):
                images[rows] = operation(images[rows], Drawn(strength[rows], signed[rows], background))
    return images
