"""Read picture files of any size and kind as pixels of one size, for training, evaluation and prediction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
Resize = Literal["fit", "crop", "stretch"]

_DRAFT = 2  # a JPEG is decoded at no less than this many times the needed size, in each direction


class UnreadablePicture(Exception):
    """The reason that a picture cannot be used."""


class PictureFormat(NamedTuple):
    """The format that pictures are converted to; `channels` are 1 (grey) or 3 (red, green, blue)."""

    channels: int
    height: int
    width: int
    resize: Resize

    @classmethod
    def from_assets(cls, assets: Mapping[str, Any]) -> PictureFormat:
        """Return the format that a model was trained on."""
        return cls(assets["channels"], assets["height"], assets["width"], assets.get("resize", "fit"))


def read_picture(path: Path, form: PictureFormat) -> NDArray[numpy.uint8]:
    """Read a picture as (C, H, W). Raises UnreadablePicture."""
    return transpose_channels(numpy.asarray(resize_picture(open_picture(path, form), form)), form)


def transpose_channels(pixels: NDArray[numpy.uint8], form: PictureFormat) -> NDArray[numpy.uint8]:
    """Transpose pixels (H, W) or (H, W, C) to (C, H, W)."""
    return numpy.array(pixels.reshape(form.height, form.width, form.channels).transpose(2, 0, 1), order="C")


def open_picture(path: Path, form: PictureFormat) -> Image.Image:
    """Open a picture in grey or colour, rotated by its EXIF orientation, without transparency or 16-bit depth.

    It keeps its size, except that a JPEG far larger than needed is decoded at a half, a quarter or an eighth.
    Transparent areas become white; of an animation the first picture is taken. Raises UnreadablePicture.
    """
    try:
        with Image.open(path) as file:
            side = _DRAFT * max(form.height, form.width)
            file.draft(None, (side, side))
            image: Image.Image = ImageOps.exif_transpose(file)
            return _flatten(image).convert("L" if form.channels == 1 else "RGB")
    except UnidentifiedImageError:
        allowed = "PNG and JPEG files, also BMP, GIF, WebP, TIFF, PNM"
        raise UnreadablePicture(f"not an image that can be read; allowed are {allowed}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadablePicture(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; allowed are whole ones of 8 or 16 bits")
    if image.mode.startswith("I"):
        return Image.fromarray((numpy.asarray(image).astype(numpy.int64) // 256).clip(0, 255).astype(numpy.uint8))
    if image.has_transparency_data:
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image


def resize_picture(image: Image.Image, form: PictureFormat) -> Image.Image:
    """Resize a picture: fit and pad with its border's colour, crop, or stretch."""
    size = (form.width, form.height)
    if form.resize == "stretch":
        return image.resize(size, Image.Resampling.LANCZOS)
    if form.resize == "crop":
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    scale = min(form.width / image.width, form.height / image.height)
    width, height = (max(1, round(scale * side)) for side in image.size)
    colour = tuple(round(255 * level) for level in measure_border(numpy.asarray(image)))
    whole = Image.new(image.mode, size, colour[0] if len(colour) == 1 else colour)
    corner = (round((form.width - width) / 2), round((form.height - height) / 2))
    whole.paste(image.resize((width, height), Image.Resampling.LANCZOS), corner)
    return whole


def measure_border(pixels: NDArray[numpy.uint8]) -> list[float]:
    """Compute the median of the outermost pixels (H, W) or (H, W, C), in 0..1, of each channel."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    edges = numpy.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return [float(level) / 255 for level in numpy.median(edges, axis=0)]
