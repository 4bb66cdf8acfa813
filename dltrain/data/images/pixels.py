"""Between pixels and a model's inputs: statistics, normalisation and its inverse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def measure_pixels(pixels: Tensor) -> tuple[float, float]:
    """Compute mean and standard deviation of uint8 pixels, in 0..1; the deviation of constant pixels is 1."""
    counts = torch.bincount(pixels.flatten(), minlength=256).double()
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts * values).sum() / counts.sum()
    variance = (counts * (values - mean) ** 2).sum() / counts.sum()
    return float(mean), float(variance.sqrt()) or 1.0


def average_border(pixels: Tensor) -> float:
    """Average the outermost pixels of uint8 images (N, C, H, W), in 0..1: the background of a moved image."""
    border = torch.ones(pixels.shape[2:], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    values = pixels[:, :, border]
    return int(values.sum()) / (255 * values.numel())


def get_normalization(assets: Mapping[str, Any]) -> tuple[float, float] | tuple[Tensor, Tensor]:
    """Return the scale and offset that normalise pixels in 0..255; by channel they are (C, 1, 1) float32."""
    if assets["normalize"] in ("symmetric", "unit"):
        return (2 / 255, -1.0) if assets["normalize"] == "symmetric" else (1 / 255, 0.0)
    mean, std = assets["mean"], assets["std"]
    if isinstance(mean, list):
        means, stds = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (mean, std))
        return (1 / (255 * stds)).float(), (-means / stds).float()
    return 1 / (255 * std), -mean / std


def normalize_pixels(assets: Mapping[str, Any], pixels: Tensor) -> Tensor:
    """Convert pixels (N, C, H, W) in 0..255, uint8 or float32, to a model's inputs, float32."""
    scale, offset = get_normalization(assets)
    if isinstance(scale, Tensor):
        return (pixels * scale).add_(offset)
    return torch.add(torch.tensor(offset), pixels, alpha=scale)  # one pass, conversion to float32 included


def restore_pixels(assets: Mapping[str, Any], inputs: Tensor) -> Tensor:
    """Convert inputs (..., C, H, W) to pixels, 0 for black and 1 for full intensity.

    Nothing is clipped: a model's output may be outside 0..1.
    """
    scale, offset = _get_unit_normalization(assets, inputs)
    return (inputs - offset) / scale


def scale_pixels(assets: Mapping[str, Any], pixels: Tensor) -> Tensor:
    """Convert pixels (..., C, H, W) in 0..1 to a model's inputs."""
    scale, offset = _get_unit_normalization(assets, pixels)
    return pixels * scale + offset


def _get_unit_normalization(assets: Mapping[str, Any], like: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and offset for pixels in 0..1, (C, 1, 1) or (1, 1, 1), with the type and device of `like`."""
    scale, offset = (torch.as_tensor(value, dtype=like.dtype).reshape(-1, 1, 1) for value in get_normalization(assets))
    return (255 * scale).to(like.device, non_blocking=True), offset.to(like.device, non_blocking=True)


def affine_numbers(assets: Mapping[str, Any]) -> Mapping[str, Any]:
    """The factors and summands that make pixels inputs; none for a plug-in's assets without `normalize`."""
    if "normalize" not in assets:
        return {}
    numbers = (torch.as_tensor(value, dtype=torch.float64).flatten().tolist() for value in get_normalization(assets))
    return dict(zip(("scale", "offset"), numbers, strict=True))
