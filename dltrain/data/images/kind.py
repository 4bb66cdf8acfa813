"""The kind of data "images": pixels (N, C, H, W)."""

from __future__ import annotations

from dltrain.data.images.sets import IMAGE_SETS
from dltrain.kinds import BATCH, DataSets, Kind, register

_CIFAR = tuple(name for name, known in IMAGE_SETS.items() if known.label_bytes)

register(
    Kind(
        name="images",
        axes=((BATCH,),),
        reader="dltrain.data.images.reader:ImageReader",
        reader_options=("invert",),
        requests="dltrain.data.images.requests:ImageForm",
        singular="image",
        plural="images",
        key="file",
        preparation=(
            "pixels 0..255, channels first (grey, or red, green and blue), of the size assets.height x assets.width",
            "inputs = pixels * scale + offset, float32, with the numbers below: one for all channels, or one for each",
            "in Python: dltrain.data.images.reader.read_image, then dltrain.data.images.pixels.normalize_pixels",
        ),
        prepared_numbers="dltrain.data.images.pixels:affine_numbers",
        synthetic="dltrain.data.synthetic:make_images",
        received="dltrain.data.images.received:describe_images",
        draw="dltrain.observers.sample_pictures:draw_images",
        pixels="dltrain.data.images.pixels:restore_pixels",
        views="dltrain.data.images.views:change_inputs",
        explainer="dltrain.data.images.explanation:Explainer",
        sets=(
            DataSets(
                names=tuple(name for name, known in IMAGE_SETS.items() if not known.label_bytes),
                fetched=tuple(name for name, known in IMAGE_SETS.items() if known.mirrors and not known.label_bytes),
                fetch="dltrain.data.images.sets:fetch",
                verify="dltrain.data.images.check_idx:verify",
            ),
            DataSets(
                names=_CIFAR,
                fetched=_CIFAR,
                fetch="dltrain.data.images.sets:fetch",
                verify="dltrain.data.images.cifar:verify",
            ),
            DataSets(names=("image_folder",), verify="dltrain.data.images.check_folder:verify"),
        ),
    )
)
