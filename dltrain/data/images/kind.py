"""The kind of data "images": pixels (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dltrain.data.images.sets import IMAGE_SETS
from dltrain.kinds import BATCH, DataSets, Kind, register

if TYPE_CHECKING:
    from torch import Generator

    from dltrain.batch import Batch


def affine_numbers(assets: Mapping[str, Any]) -> Mapping[str, Any]:
    """The factors and summands that make pixels inputs; none for a plug-in's assets without `normalize`."""
    import torch

    from dltrain.data.images.pixels import get_normalization

    if "normalize" not in assets:
        return {}
    scale, offset = (
        torch.as_tensor(value, dtype=torch.float64).flatten().tolist() for value in get_normalization(assets)
    )
    return {"scale": scale, "offset": offset}


def synthetic(sizes: Mapping[str, int], draw: Generator) -> Batch:
    from dltrain.data.synthetic import normal_examples

    return normal_examples(draw, sizes["image_channels"], sizes["height"], sizes["width"])


register(
    Kind(
        name="images",
        axes=((BATCH,),),
        reader="dltrain.data.images.reader:ImageReader",
        reader_options=("invert",),
        singular="image",
        plural="images",
        key="file",
        preparation=(
            "pixels 0..255, channels first (grey, or red, green and blue), of the size assets.height x assets.width",
            "inputs = pixels * scale + offset, float32, with the numbers below: one for all channels, or one for each",
            "in Python: dltrain.data.images.reader.read_image, then dltrain.data.images.pixels.normalize_pixels",
        ),
        prepared_numbers=affine_numbers,
        synthetic=synthetic,
        pixels="dltrain.data.images.pixels:restore_pixels",
        explainer="dltrain.data.images.explanation:Explainer",
        sets=(
            DataSets(
                names=tuple(IMAGE_SETS),
                fetched=tuple(name for name, known in IMAGE_SETS.items() if known.mirrors),
                fetch="dltrain.data.images.sets:fetch",
                verify="dltrain.data.images.check_idx:verify",
            ),
            DataSets(names=("image_folder",), verify="dltrain.data.images.check_folder:verify"),
        ),
    )
)
