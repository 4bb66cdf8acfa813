"""Images moved, cropped, sheared and partly erased: a whole batch at once, each image by its own numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_ERASED_AREA = (0.02, 0.33)
_ERASED_ASPECT = (0.3, 1 / 0.3)


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
    return _warp(images, inverse, shifts, background)


def shear(images: Tensor, slopes: Tensor, *, background: float) -> Tensor:
    """Shear each image about its centre: rows move right by a slope times their distance below it, (N, 2).

    The second slope moves columns down, by their distance to the right of the centre; one of the two is 0.
    """
    height, width = images.shape[2:]
    ones = torch.ones(len(images))
    along, down = slopes.unbind(1)
    inverse = torch.stack((ones, -along * (height / width), -down * (width / height), ones), 1).view(-1, 2, 2)
    return _warp(images, inverse, torch.zeros(len(images), 2), background)


def _warp(images: Tensor, inverse: Tensor, shifts: Tensor, background: float) -> Tensor:
    """Take each output pixel from where `inverse` (N, 2, 2) and `shifts` (N, 2) say, between pixels linear."""
    height, width = images.shape[2:]
    offsets = -2 * inverse @ shifts.unsqueeze(2)  # (N, 2, 1); a shift of the whole width is 2 of these units
    # What affine_grid gives, without its matrix product for every pixel: columns and rows are added only at the end.
    by_column = inverse[:, :, :1, None] * _locate_centres(width)  # (N, 2, 1, W)
    by_row = inverse[:, :, 1:, None] * _locate_centres(height).unsqueeze(1) + offsets.unsqueeze(3)  # (N, 2, H, 1)
    grid = (by_column + by_row).permute(0, 2, 3, 1)  # (N, H, W, 2)
    return functional.grid_sample(images - background, grid, align_corners=False).add_(background)


def _locate_centres(size: int) -> Tensor:
    """Return the pixels' centres along a side that runs from -1 to 1, (size,) float32."""
    return (torch.arange(size) * 2 + 1) / size - 1


def choose_boxes(area: Tensor, aspect: Tensor, corners: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (N, 4) of whole pixels: top, left, height, width; uniform among the places where each fits.

    `area` (N,) is the share of the image, `aspect` (N,) its width over its height, both relative to the image's,
    `corners` (N, 2) are in 0..1. A side longer than the image's is clipped to it.
    """
    height, width = size
    sides = torch.stack(((area / aspect).sqrt() * height, (area * aspect).sqrt() * width), 1)
    limits = torch.tensor([height, width])
    sides = sides.round().clamp(torch.ones(2), limits)
    starts = (corners * (limits - sides + 1)).floor()
    return torch.cat((starts, sides), 1)


def crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Enlarge the part of each image in its box, (N, 4) top, left, height and width, to the image's size.

    Interpolation is bilinear and sees nothing outside the box.
    """
    height, width = images.shape[2:]
    rows = _locate_cropped(boxes[:, 0], boxes[:, 2], height)  # (N, H)
    columns = _locate_cropped(boxes[:, 1], boxes[:, 3], width)  # (N, W)
    shape = (len(images), height, width)
    grid = torch.stack((columns.unsqueeze(1).expand(shape), rows.unsqueeze(2).expand(shape)), 3)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _locate_cropped(starts: Tensor, lengths: Tensor, size: int) -> Tensor:
    """Where a side's output pixels come from, (N, size), in coordinates that run from -1 to 1 over the whole side."""
    starts, lengths = starts.unsqueeze(1), lengths.unsqueeze(1)
    places = (torch.arange(size) + 0.5) * (lengths / size) - 0.5
    pixels = torch.minimum(places.clamp(min=0), lengths - 1) + starts
    return (2 * pixels + 1) / size - 1


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
