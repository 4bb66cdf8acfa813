"""Images that a Python program holds: Pillow's, NumPy arrays, and what converts to such an array."""

from __future__ import annotations

from typing import Any

import numpy
from PIL import Image

from dltrain.errors import DataError

ALLOWED = "allowed are (H, W), (H, W, 1), (H, W, 3) and (H, W, 4), rows first, of uint8, bool or (grey only) uint16"
CHANNELS = (1, 3, 4)


def is_image(value: Any) -> bool:
    """Whether a value is one image, and no collection of them."""
    if isinstance(value, Image.Image):
        return True
    if not hasattr(value, "__array__"):
        return False
    shape = numpy.shape(value)
    return len(shape) == 2 or (len(shape) == 3 and shape[-1] in CHANNELS)


def to_image(value: Any) -> Image.Image:
    """An image as Pillow has it. Raises DataError for a value that is none."""
    if isinstance(value, Image.Image):
        return value
    if not hasattr(value, "__array__"):
        raise DataError(
            f"found {type(value).__name__}, which is no image; allowed are names of files, Pillow's images and arrays"
        )
    array = numpy.asarray(value)
    described = f"found an array of shape {array.shape} and type {array.dtype}; {ALLOWED}"
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.dtype == bool:
        array = array.astype(numpy.uint8) * 255
    if 0 in array.shape or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in CHANNELS)):
        raise DataError(described)
    if array.dtype == numpy.uint16 and array.ndim == 2:
        return Image.fromarray(array)
    if array.dtype != numpy.uint8:
        raise DataError(described, advice="pixels from 0 to 1 become (255 * array).round().astype('uint8')")
    return Image.fromarray(numpy.ascontiguousarray(array))
