"""Picture files of any size and kind as pixels of one size: the same for training, evaluation and prediction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
Resize = Literal["fit", "crop", "stretch"]

_DRAFT = 2  # a JPEG is decoded at no less than so many times the size that is wanted, in each direction


class UnreadablePicture(Exception):
    """Why a file is not a picture that can be used."""


class PictureFormat(NamedTuple):
    """What every picture becomes; `channels` are 1 (grey) or 3 (red, green, blue)."""

    channels: int
    height: int
    width: int
    resize: Resize

    @classmethod
    def of(cls, assets: Mapping[str, Any]) -> PictureFormat:
        """What a model was trained on."""
        return cls(assets["channels"], assets["height"], assets["width"], assets.get("resize", "fit"))


def read_picture(path: Path, form: PictureFormat) -> NDArray[numpy.uint8]:
    """A picture as (C, H, W). Raises Unreadable."""
    return transpose_channels(numpy.asarray(resize_picture(open_picture(path, form), form)), form)


def transpose_channels(pixels: NDArray[numpy.uint8], form: PictureFormat) -> NDArray[numpy.uint8]:
    """Pixels (H, W) or (H, W, C) as (C, H, W)."""
    return numpy.array(pixels.reshape(form.height, form.width, form.channels).transpose(2, 0, 1), order="C")


def open_picture(path: Path, form: PictureFormat) -> Image.Image:
    """The picture in grey or colours, turned as its camera noted, without transparency or 16-bit depth.

    Its size is its own, but for a JPEG far larger than it will be, which is decoded at a half, a quarter or an eighth.
    What is transparent becomes white; the first picture of an animation is taken. Raises Unreadable.
    """
    try:
        with Image.open(path) as file:
            side = _DRAFT * max(form.height, form.width)
            file.draft(None, (side, side))
            image: Image.Image = ImageOps.exif_transpose(file)
            return _plain(image).convert("L" if form.channels == 1 else "RGB")
    except UnidentifiedImageError:
        allowed = "PNG and JPEG files, also BMP, GIF, WebP, TIFF, PNM"
        raise UnreadablePicture(f"not an image that can be read; allowed are {allowed}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadablePicture(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _plain(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; allowed are whole ones of 8 or 16 bits")
    if image.mode.startswith("I"):
        return Image.fromarray((numpy.asarray(image).astype(numpy.int64) // 256).clip(0, 255).astype(numpy.uint8))
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image.convert("RGBA"))
    return image


def resize_picture(image: Image.Image, form: PictureFormat) -> Image.Image:
    """The picture in the form's size: whole and padded with its border's colour, or cropped, or stretched."""
    size = (form.width, form.height)
    if form.resize == "stretch":
        return image.resize(size, Image.Resampling.LANCZOS)
    if form.resize == "crop":
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    scale = min(form.width / image.width, form.height / image.height)
    width, height = (max(1, round(scale * side)) for side in image.size)
    colour = tuple(round(255 * level) for level in measure_border(numpy.asarray(image)))
    whole = Image.new(image.mode, size, colour[0] if len(colour) == 1 else colour)
    place = (round((form.width - width) / 2), round((form.height - height) / 2))
    whole.paste(image.resize((width, height), Image.Resampling.LANCZOS), place)
    return whole


def measure_border(pixels: NDArray[numpy.uint8]) -> list[float]:
    """The median of the outermost pixels (H, W) or (H, W, C), in 0..1, of each channel."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    edges = numpy.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return [float(level) / 255 for level in numpy.median(edges, axis=0)]
