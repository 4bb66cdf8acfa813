"""Images to themselves, through a model's bottleneck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, log10
from typing import Any

import torch
from torch import Tensor, nn

from dltrain.batch import Examples
from dltrain.data.images.pixels import restore_pixels, scale_pixels
from dltrain.functions import Loss
from dltrain.goal import Goal
from dltrain.options import ImageLoss
from dltrain.registry import tasks
from dltrain.task import Counts, Score, Step


@tasks.register(
    "reconstruction",
    data="images",
    sizes=("image_channels", "height", "width", "output_channels"),
    metrics=("mse", "psnr", "loss"),
)
class Reconstruction:
    """The model reproduces the image; the best epoch has the lowest validation error.

    Reports `mse`, the mean squared error of pixels in 0..1, which does not depend on how the inputs are normalised;
    `psnr`, 10 log10(1 / mse), in decibels; and `loss`, the training loss averaged over all pixels.

    Options:
        loss: mse (squared error of the inputs as they are normalised), bce (cross-entropy of pixels in 0..1, whose
            logits the model then gives), or another registered loss of images (N, C, H, W), by its name or with its
            options.
    """

    goal = Goal("mse", "min")
    learns_mixed = True  # a mixed image is its own target

    def __init__(self, assets: Mapping[str, Any], *, loss: ImageLoss = "mse") -> None:
        self.assets = assets
        channels = int(assets["channels"])
        sides = {"height": int(assets["height"]), "width": int(assets["width"])}
        self.sizes = {"image_channels": channels, **sides, "output_channels": channels}
        self.loss = Loss(loss)
        self.gives_logits = bool(self.loss.facts.get("logits"))

    @staticmethod
    def name_indices(assets: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        return {}  # as many channels are the same colours

    def step(self, model: nn.Module, batch: Examples, carry: None) -> Step:
        return Step(self.loss.measure(model(batch.inputs), self._targets(batch.inputs)).mean())

    def score(self, model: nn.Module, batch: Examples, carry: None) -> Score:
        outputs = model(batch.inputs).float()
        errors = restore_pixels(self.assets, self._images(outputs)) - restore_pixels(self.assets, batch.inputs)
        float_type = torch.float32 if outputs.device.type == "mps" else torch.float64
        return Score(
            {
                "loss": self._losses(outputs, batch.inputs).sum(dtype=float_type),
                "squared": errors.square().sum(dtype=float_type),
                "pixels": torch.tensor(outputs.numel(), device=outputs.device),
            }
        )

    def report(self, counts: Counts) -> dict[str, float]:
        pixels = float(counts["pixels"])
        mse = float(counts["squared"]) / pixels
        return {"mse": mse, "psnr": -10 * log10(mse) if mse else inf, "loss": float(counts["loss"]) / pixels}

    def reconstructions(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        return self._images(model(*inputs).float())

    def _losses(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """The loss of each pixel, (N, C, H, W)."""
        losses = self.loss.measure(outputs, self._targets(inputs))
        return losses.view(-1, *[1] * (outputs.ndim - losses.ndim), *losses.shape[1:]).expand_as(outputs)

    def _targets(self, inputs: Tensor) -> Tensor:
        """What outputs are compared with, (N, C, H, W): the inputs, or for logits their pixels in 0..1."""
        return restore_pixels(self.assets, inputs) if self.gives_logits else inputs

    def _images(self, outputs: Tensor) -> Tensor:
        """A model's outputs (N, C, H, W) float32 as images, normalised as the inputs are."""
        return outputs if not self.gives_logits else scale_pixels(self.assets, outputs.sigmoid())
