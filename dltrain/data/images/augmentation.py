"""Random changes to a whole batch of images at once, from random numbers of each image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dltrain.data.images.options import Augmentation
from dltrain.registry import BoundFunction, augmentations, bind_function
from dltrain.runtime.seeds import make_generator

CHANCES = 10
"""Uniform numbers per image: angle, scale, shift (x, y), flip, and erase (whether, area, aspect, y, x)."""

_ERASED_AREA = (0.02, 0.33)
_ERASED_ASPECT = (0.3, 1 / 0.3)


def augment(images: Tensor, chances: Tensor, augmentation: Augmentation, background: float) -> Tensor:
    """Flip images (N, C, H, W) float32, rotate, scale and shift them about their centre, then erase a part.

    `chances` (N, CHANCES) are uniform in [0, 1). Pixels from outside and erased ones become `background`.
    An augmentation that changes nothing returns `images` itself.
    """
    if augmentation.flip != "none":
        images = flip(images, chances[:, 4] < 0.5, augmentation.flip)
    if augmentation.rotation_degrees or augmentation.scale or augmentation.shift:
        low, high = augmentation.scale or (1.0, 1.0)
        angles = (2 * chances[:, 0] - 1) * augmentation.rotation_degrees
        scales = low + (high - low) * chances[:, 1]
        shifts = (2 * chances[:, 2:4] - 1) * augmentation.shift
        images = move(images, angles, scales, shifts=shifts, background=background)
    if augmentation.erase:
        images = erase(images, chances[:, 5] < augmentation.erase, chances[:, 6:10], background)
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


def flip(images: Tensor, chosen: Tensor, direction: str) -> Tensor:
    """Mirror the images `chosen` (N,) bool, left to right or top to bottom."""
    mirrored = images.flip(3 if direction == "horizontal" else 2)
    return torch.where(chosen.view(-1, 1, 1, 1), mirrored, images)


def move(images: Tensor, degrees: Tensor, scales: Tensor, *, shifts: Tensor, background: float) -> Tensor:
    """Rotate each image clockwise by `degrees` (N,), enlarge it by `scales` (N,), move it by `shifts` (N, 2).

    Shifts are fractions of the width and of the height. Interpolation is bilinear.
    """
    height, width = images.shape[2:]
    radians = degrees * (math.pi / 180)
    cosines, sines = radians.cos() / scales, radians.sin() / scales
    # Where each output pixel comes from, in coordinates that run from -1 to 1 over the width and over the height.
    inverse = torch.stack((cosines, sines * (height / width), -sines * (width / height), cosines), 1).view(-1, 2, 2)
    offsets = -2 * inverse @ shifts.unsqueeze(2)  # (N, 2, 1); a shift of the whole width is 2 of these units
    # What affine_grid gives, without its matrix product for every pixel: columns and rows are added only at the end.
    by_column = inverse[:, :, :1, None] * _locate_centres(width)  # (N, 2, 1, W)
    by_row = inverse[:, :, 1:, None] * _locate_centres(height).unsqueeze(1) + offsets.unsqueeze(3)  # (N, 2, H, 1)
    grid = (by_column + by_row).permute(0, 2, 3, 1)  # (N, H, W, 2)
    return functional.grid_sample(images - background, grid, align_corners=False).add_(background)


def _locate_centres(size: int) -> Tensor:
    """Return the pixels' centres along a side that runs from -1 to 1, (size,) float32."""
    return (torch.arange(size) * 2 + 1) / size - 1


def erase(images: Tensor, chosen: Tensor, chances: Tensor, background: float) -> Tensor:
    """Blank one rectangle of each image `chosen` (N,) bool.

    `chances` (N, 4) determine its area (2% to 33% of the image), aspect (0.3 to 3.3, uniform on a log scale) and
    position: the ranges of Zhong et al. 2017, arXiv:1708.04896. A side longer than the image's is clipped to it.
    """
    height, width = images.shape[2:]
    area = (_ERASED_AREA[0] + (_ERASED_AREA[1] - _ERASED_AREA[0]) * chances[:, 0]) * (height * width)
    log_low, log_high = (math.log(aspect) for aspect in _ERASED_ASPECT)
    aspect = (log_low + (log_high - log_low) * chances[:, 1]).exp()
    rows = _mark_run((area * aspect).sqrt(), chances[:, 2], height)
    columns = _mark_run((area / aspect).sqrt(), chances[:, 3], width)
    mask = chosen.view(-1, 1, 1) & rows.unsqueeze(2) & columns.unsqueeze(1)  # (N, H, W)
    return images.masked_fill(mask.unsqueeze(1), background)


def _mark_run(lengths: Tensor, chances: Tensor, size: int) -> Tensor:
    """Mark a run of about `lengths` in each row, (N, size) bool, at a position uniform among those where it fits."""
    lengths = lengths.round().clamp(1, size)
    starts = (chances * (size - lengths + 1)).floor()
    positions = torch.arange(size)
    return (positions >= starts.unsqueeze(1)) & (positions < (starts + lengths).unsqueeze(1))
