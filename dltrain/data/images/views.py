"""Views of images to be classified: changed at random as in training, but each view in one way for all images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dltrain.data.images.augmentation import augment, count_chances
from dltrain.data.images.options import Augmentation
from dltrain.data.images.pixels import restore_pixels, scale_pixels
from dltrain.errors import UsageError
from dltrain.runtime.seeds import draw_uniform


def choose_changes(options: Mapping[str, Any]) -> Augmentation:
    """The changes of training that keep all of an image's content, from the data's options.

    Nothing is erased or mixed, and functions of plug-ins are left out. Raises UsageError where no changes are left.
    """
    trained = options.get("augment") or Augmentation()
    changes = replace(trained, erase=0.0, functions=None, mixup=0.0, cutmix=0.0)
    if changes == Augmentation():
        raise UsageError(
            "--views: the model was trained without changes to its images, so there is nothing to vary",
            advice="train with data.augment, such as {shift: 0.1, flip: horizontal}, or leave --views out",
        )
    return changes


def change_inputs(
    assets: Mapping[str, Any], options: Mapping[str, Any], inputs: Tensor, *, seed: int, view: int
) -> Tensor:
    """Change a model's inputs (N, C, H, W) by what (seed, view) draws; so no result depends on the images beside."""
    changes = choose_changes(options)
    chances = draw_uniform(seed, view, torch.zeros(1, dtype=torch.int64), count_chances(changes))
    pixels = 255 * restore_pixels(assets, inputs.cpu())  # augmentation computes on the CPU
    changed = augment(pixels, chances.expand(len(inputs), -1), changes, 255 * assets["background"])
    return scale_pixels(assets, changed / 255).to(inputs.device)
