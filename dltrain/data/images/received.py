"""Images as a model receives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dltrain.batch import Examples
from dltrain.data.images.pixels import restore_pixels
from dltrain.dataset import ReceivedExample


def describe_images(assets: Mapping[str, Any], batch: Examples) -> list[ReceivedExample]:
    """Class, size and range of the inputs of each image; its pixels are drawn."""
    pixels = restore_pixels(assets, batch.inputs) if "normalize" in assets else batch.inputs
    described = []
    for image, inputs, target in zip(pixels, batch.inputs, batch.targets.tolist(), strict=True):
        values = {
            "class": assets["labels"][target],
            "inputs": " x ".join(map(str, inputs.shape)),
            "lowest": float(inputs.min()),
            "mean": float(inputs.mean()),
            "highest": float(inputs.max()),
        }
        described.append(ReceivedExample(values=values, picture=image, caption=str(values["class"])))
    return described
