"""Between a model's inputs and the pixels that they were, as a checkpoint's assets say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dltrain.data.images.mnist import get_normalization


def restore_pixels(assets: Mapping[str, Any], inputs: Tensor) -> Tensor:
    """Inputs (..., C, H, W) as pixels, 0 for black and 1 for full: the inverse of `normalize_pixels`.

    Nothing is cut off: what a model makes may lie outside of 0..1.
    """
    scale, offset = _by_channel(assets, inputs)
    return (inputs - offset) / scale


def scale_pixels(assets: Mapping[str, Any], pixels: Tensor) -> Tensor:
    """Pixels (..., C, H, W) in 0..1 as a model's inputs."""
    scale, offset = _by_channel(assets, pixels)
    return pixels * scale + offset


def _by_channel(assets: Mapping[str, Any], beside: Tensor) -> tuple[Tensor, Tensor]:
    """What pixels in 0..1 are multiplied by and what is added to them, (C, 1, 1) or (1, 1, 1) each."""
    scale, offset = (
        torch.as_tensor(value, dtype=beside.dtype).reshape(-1, 1, 1) for value in get_normalization(assets)
    )
    return (255 * scale).to(beside.device, non_blocking=True), offset.to(beside.device, non_blocking=True)
