"""Random changes to a whole batch of images at once, from random numbers of each image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dltrain.data.images.colours import change_brightness, change_contrast, change_saturation, turn_hue
from dltrain.data.images.geometry import choose_boxes, crop, erase, flip, move
from dltrain.data.images.mixing import MIXING_DRAWS
from dltrain.data.images.options import Augmentation
from dltrain.data.images.rand_augment import DRAWS, apply_rand_augment
from dltrain.registry import BoundFunction, augmentations, bind_function
from dltrain.runtime.seeds import make_generator

CHANCES = 10
"""Uniform numbers per image: angle, scale, shift (x, y), flip, and erase (whether, area, aspect, y, x)."""

_CROP = slice(10, 14)  # area, aspect, y, x
_COLOURS = slice(14, 18)  # brightness, contrast, saturation, hue
MIXING = slice(18, 18 + MIXING_DRAWS)
_POLICY = 18 + MIXING_DRAWS


def count_chances(augmentation: Augmentation) -> int:
    """Uniform numbers per image that the augmentation needs; the first ones are always for the same."""
    policy = augmentation.rand_augment
    if policy is not None:
        return _POLICY + DRAWS * policy.operations
    newer = augmentation.crop is not None or augmentation.changes_colours or augmentation.mixes
    return MIXING.stop if newer else CHANCES


def augment(images: Tensor, chances: Tensor, augmentation: Augmentation, background: float) -> Tensor:
    """Crop images (N, C, H, W) float32 with pixels in 0..255, flip, rotate, scale, shift, and change their colours.

    Then come the operations of RandAugment, and a part is erased. `chances` (N, `count_chances`) are uniform in [0, 1).
    Pixels from outside and erased ones become `background`. An augmentation that changes nothing returns `images`.
    """
    if augmentation.crop is not None:
        images = crop_randomly(images, chances[:, _CROP], augmentation.crop, augmentation.crop_aspect)
    if augmentation.flip != "none":
        images = flip(images, chances[:, 4] < 0.5, augmentation.flip)
    if augmentation.rotation_degrees or augmentation.scale or augmentation.shift:
        low, high = augmentation.scale or (1.0, 1.0)
        angles = (2 * chances[:, 0] - 1) * augmentation.rotation_degrees
        scales = low + (high - low) * chances[:, 1]
        shifts = (2 * chances[:, 2:4] - 1) * augmentation.shift
        images = move(images, angles, scales, shifts=shifts, background=background)
    if augmentation.changes_colours:
        images = 255 * jitter_colours(images / 255, chances[:, _COLOURS], augmentation)
    if augmentation.rand_augment is not None:
        drawn = chances[:, _POLICY:]
        images = 255 * apply_rand_augment(images / 255, drawn, augmentation.rand_augment, background / 255)
    if augmentation.erase:
        images = erase(images, chances[:, 5] < augmentation.erase, chances[:, 6:10], background)
    return images


def crop_randomly(images: Tensor, chances: Tensor, area: Sequence[float], aspect: Sequence[float]) -> Tensor:
    """Enlarge a part of each image (N, C, H, W), whose share of the area and aspect are drawn from these ranges.

    Szegedy et al. 2015, arXiv:1409.4842. `chances` (N, 4) determine area, aspect (uniform on a log scale) and position.
    """
    areas = area[0] + (area[1] - area[0]) * chances[:, 0]
    low, high = map(math.log, aspect)
    aspects = (low + (high - low) * chances[:, 1]).exp()
    height, width = images.shape[2:]
    return crop(images, choose_boxes(areas, aspects, chances[:, 2:4], (height, width)))


def jitter_colours(images: Tensor, chances: Tensor, augmentation: Augmentation) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order, of images (N, C, H, W) in 0..1.

    `chances` (N, 4). Factors are drawn from [max(0, 1 - x), 1 + x], turns of the hue from [-x, x].
    """
    for column, (change, strength) in enumerate(
        (
            (change_brightness, augmentation.brightness),
            (change_contrast, augmentation.contrast),
            (change_saturation, augmentation.saturation),
        )
    ):
        if strength:
            low = max(0.0, 1 - strength)
            images = change(images, low + (1 + strength - low) * chances[:, column])
    if augmentation.hue:
        images = turn_hue(images, (2 * chances[:, 3] - 1) * augmentation.hue)
    return images


def apply_function(
    chosen: BoundFunction | str, images: Tensor, examples: Sequence[int], *, seed: int, epoch: int
) -> Tensor:
    """What a registered function makes of images (N, C, H, W) float32 with pixels in 0..1; the shape stays.

    A function of one `image` is called with each example's own generator, which depends on (seed, epoch, example) and
    on its own name alone; one of all `images` with that of the batch's first example.
    """
    function = bind_function(chosen, augmentations)
    key = ("augmentation", function.name, seed, epoch)
    if "images" in function.provided:
        draw = make_generator(*key, examples[0])
        return _check_images(function, function({"images": images, "generator": draw}), images)
    made = []
    for image, example in zip(images, examples, strict=True):
        draw = make_generator(*key, example)
        made.append(_check_images(function, function({"image": image.clone(), "generator": draw}), image))
    return torch.stack(made)


def _check_images(function: BoundFunction, made: object, given: Tensor) -> Tensor:
    """`made` itself. Raises DltrainError where it is not of the shape and type of the images that were `given`."""
    form = f"a float32 tensor of the shape {tuple(given.shape)}, as it was given"
    if not isinstance(made, Tensor):
        raise function.fault(f"returns {type(made).__name__}", f"return {form}")
    if made.shape != given.shape or made.dtype != given.dtype:
        kind = str(made.dtype).removeprefix("torch.")
        raise function.fault(f"returns a {kind} tensor of the shape {tuple(made.shape)}", f"return {form}")
    if not made.isfinite().all():
        raise function.fault("returns pixels that are not finite", "look for a division by 0, a log or a root")
    return made
