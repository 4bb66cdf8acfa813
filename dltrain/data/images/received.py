"""Images as a model receives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dltrain.batch import Examples, MixedExamples
from dltrain.data.images.pixels import restore_pixels
from dltrain.dataset import ReceivedExample


def describe_images(assets: Mapping[str, Any], batch: Examples) -> list[ReceivedExample]:
    """Class, size and range of the inputs of each image; its pixels are drawn."""
    pixels = restore_pixels(assets, batch.inputs) if "normalize" in assets else batch.inputs
    described = []
    for image, inputs, names in zip(pixels, batch.inputs, name_targets(assets["labels"], batch), strict=True):
        values = {
            "class": ", ".join(names),
            "inputs": " x ".join(map(str, inputs.shape)),
            "lowest": float(inputs.min()),
            "mean": float(inputs.mean()),
            "highest": float(inputs.max()),
        }
        described.append(ReceivedExample(values=values, picture=image, caption="\n".join(names)))
    return described


def name_targets(labels: Sequence[str], batch: Examples) -> Iterator[list[str]]:
    """The class of each example; of a mixed one both, with their shares in percent."""
    ours = [labels[target] for target in batch.targets.tolist()]
    if not isinstance(batch, MixedExamples):
        yield from ([own] for own in ours)
        return
    for own, index, share in zip(ours, batch.partners.tolist(), batch.shares.tolist(), strict=True):
        percent, partner = round(100 * share), labels[index]
        if own == partner or percent in (0, 100):
            yield [own if percent else partner]
        else:
            yield [f"{own} {percent}%", f"{partner} {100 - percent}%"]
