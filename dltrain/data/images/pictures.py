"""Read picture files of any size and kind as pixels of one size, for training, evaluation and prediction."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMER_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""The files that a data set of an earlier version consisted of."""
SUFFIXES = (*FORMER_SUFFIXES, ".avif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".pbm", ".pnm", ".tga")
"""Files that are meant to be pictures, so that one that cannot be read is a fault."""
Resize = Literal["fit", "crop", "stretch"]

FULL = 0xFFFF
"""The largest value of a pixel of 16 bits."""

_ORIENTATION = 0x0112  # the EXIF tag
_DRAFT = 2  # a JPEG is decoded at no less than this many times the needed size, in each direction
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_MISSING_GREY = 128  # what libjpeg fills the missing rest of a picture with
_FAULTS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises for a damaged file


class UnreadablePicture(Exception):
    """The reason that a picture cannot be used."""


class PictureFormat(NamedTuple):
    """The format that pictures are converted to; `channels` are 1 (grey) or 3 (red, green, blue).

    `white` is the value of a 16-bit pixel that becomes full intensity.
    """

    channels: int
    height: int
    width: int
    resize: Resize
    white: int = FULL

    @classmethod
    def from_assets(cls, assets: Mapping[str, Any]) -> PictureFormat:
        """Return the format that a model was trained on."""
        resize, white = assets.get("resize", "fit"), assets.get("white", FULL)
        return cls(assets["channels"], assets["height"], assets["width"], resize, white=white)


class OriginalPicture(NamedTuple):
    """What a picture is in its file: its size, the bits of a channel, whether EXIF turns it, whether it is the first of
    several (pages or frames), and whether the end of its file is missing.

    `largest` is the largest value of a picture of 16 bits, else 0. Of one in colour the lower 8 bits are unknown: they
    count as ones.
    """

    width: int
    height: int
    bits: int
    colour: bool
    largest: int
    turned: bool
    several: bool
    incomplete: bool


class OpenedPicture(NamedTuple):
    """A picture in grey or colour, and what it was in its file."""

    image: Image.Image
    original: OriginalPicture


def is_picture(path: Path) -> bool:
    """Whether a file is meant to be a picture, by its name, or is one that can be read, by its content."""
    if path.name.lower().endswith(SUFFIXES):
        return True
    try:
        with Image.open(path):
            return True
    except _FAULTS:
        return False


def has_former_suffix(path: Path) -> bool:
    """Whether a file was a picture to earlier versions."""
    return path.name.lower().endswith(FORMER_SUFFIXES)


def read_picture(path: Path, form: PictureFormat) -> NDArray[numpy.uint8]:
    """Read a picture as (C, H, W). Raises UnreadablePicture."""
    return convert_picture(open_picture(path, form).image, form)


def convert_picture(image: Image.Image, form: PictureFormat) -> NDArray[numpy.uint8]:
    """Resize an opened picture, and return its pixels (C, H, W)."""
    return transpose_channels(numpy.asarray(resize_picture(image, form)), form)


def transpose_channels(pixels: NDArray[numpy.uint8], form: PictureFormat) -> NDArray[numpy.uint8]:
    """Transpose pixels (H, W) or (H, W, C) to (C, H, W)."""
    return numpy.array(pixels.reshape(form.height, form.width, form.channels).transpose(2, 0, 1), order="C")


MOST_JPEG, MOST_PLAIN, MOST = 100.0, 50.0, 20.0
"""Millions of pixels that a picture may have: a JPEG, which is decoded smaller; another one in grey or plain colour
(12 bytes a pixel meanwhile); one with transparency, a palette or 16 bits, and WebP (up to 29). So `predict` takes less
than a gigabyte, whatever a file of some kilobytes states."""
LIMIT = "DLTRAIN_MEGAPIXELS"


def open_picture(path: Path, form: PictureFormat) -> OpenedPicture:
    """Open a picture in grey or colour, rotated by its EXIF orientation, without transparency or 16-bit depth.

    It keeps its size, except that a JPEG far larger than needed is decoded at a half, a quarter or an eighth.
    Transparent areas become white; of an animation the first picture is taken. A JPEG whose end is missing is decoded
    as image viewers do it, with grey for the missing rest, unless more than half is missing. Raises UnreadablePicture.
    """
    try:
        return _decode(path, form)
    except UnidentifiedImageError:
        allowed = "PNG and JPEG files, also BMP, GIF, WebP, TIFF, PNM, AVIF, JPEG 2000"
        if _is_heic(path):
            fault = "a HEIC picture, which cannot be read; convert it to JPEG first (heif-convert A.heic A.jpg)"
            raise UnreadablePicture(fault) from None
        raise UnreadablePicture(f"not an image that can be read; allowed are {allowed}") from None
    except _FAULTS as error:
        if (incomplete := _decode_incomplete(path, form)) is not None:
            return incomplete
        raise UnreadablePicture(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def open_image(image: Image.Image, form: PictureFormat) -> OpenedPicture:
    """Convert a picture of Pillow's as `open_picture` does that of a file. Raises UnreadablePicture."""
    try:
        turned = image.getexif().get(_ORIENTATION, 1) in range(2, 9)
        several = image.format != "MPO" and getattr(image, "is_animated", False)
        upright, deep_colour = ImageOps.exif_transpose(image), _is_deep_colour(image)
        return _convert(upright, form, _describe(image.size, upright, deep_colour, turned=turned, several=several))
    except _FAULTS as error:
        raise UnreadablePicture(f"cannot be read: {error}") from None


def _decode(source: Path | BinaryIO, form: PictureFormat, *, incomplete: bool = False) -> OpenedPicture:
    with Image.open(source) as file:
        _check_pixels(file)
        size, side = file.size, _DRAFT * max(form.height, form.width)
        deep_colour = _is_deep_colour(file)
        several = file.format != "MPO" and getattr(file, "is_animated", False)  # a camera's MPO is one photograph
        file.draft(None, (side, side))
        turned = file.getexif().get(_ORIENTATION, 1) in range(2, 9)  # may decode the picture
        image: Image.Image = ImageOps.exif_transpose(file)
        if incomplete and _is_mostly_missing(file):
            raise UnreadablePicture("cannot be read: more than half of the picture is missing")
    original = _describe(size, image, deep_colour, turned=turned, several=several)
    return _convert(image, form, original._replace(incomplete=incomplete))


def _check_pixels(file: Image.Image) -> None:
    """Raises UnreadablePicture, before anything is decoded, for more pixels than are decoded within a gigabyte."""
    pixels = file.width * file.height
    plain = file.mode in ("1", "L", "RGB") and not file.has_transparency_data and file.format != "WEBP"
    usual = MOST_JPEG if file.format in ("JPEG", "MPO") else MOST_PLAIN if plain else MOST
    most = float(os.environ.get(LIMIT) or usual) * 1e6
    if pixels > most:
        raise UnreadablePicture(
            f"{file.width} x {file.height} are {pixels / 1e6:.0f} million pixels; allowed are {most / 1e6:g} million "
            f"of this kind, or the number in the environment variable {LIMIT}"
        )


def _describe(
    size: tuple[int, int], image: Image.Image, deep_colour: bool, *, turned: bool, several: bool
) -> OriginalPicture:
    """What a complete picture of this `size` (width, height) was, which is now upright in `image`."""
    return OriginalPicture(
        *size,
        bits=16 if deep_colour or image.mode.startswith("I") else 8,
        colour=deep_colour,
        largest=_find_largest(image, deep_colour),
        turned=turned,
        several=several,
        incomplete=False,
    )


def _convert(image: Image.Image, form: PictureFormat, original: OriginalPicture) -> OpenedPicture:
    """In grey or colour, without transparency or 16-bit depth."""
    return OpenedPicture(_flatten(image, form.white).convert("L" if form.channels == 1 else "RGB"), original)


def _decode_incomplete(path: Path, form: PictureFormat) -> OpenedPicture | None:
    """Decode a JPEG that breaks off, by giving it an end; None for other files, and for one still unreadable."""
    try:
        content = path.read_bytes()
        if not content.startswith(_JPEG_START):
            return None
        return _decode(BytesIO(content + _JPEG_END), form, incomplete=True)
    except _FAULTS:
        return None


def _is_mostly_missing(image: Image.Image) -> bool:
    rows = numpy.asarray(image.convert("RGB"))
    filled = (rows == _MISSING_GREY).all((1, 2))
    return bool(filled[len(rows) // 2 :].all())


def _is_heic(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(12)
    return start[4:8] == b"ftyp" and start[8:] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def measure_depth(path: Path) -> int:
    """Return the largest value of a 16-bit grey picture; 0 for another one, or one that cannot be read."""
    try:
        with Image.open(path) as file:
            return _find_largest(file, deep_colour=False)
    except _FAULTS:
        return 0


def _is_deep_colour(file: Any) -> bool:
    """Whether a picture in colour, or with transparency, has 16 bits, of which Pillow gives the upper 8."""
    if file.mode.startswith("I") or not getattr(file, "tile", None):
        return False
    arguments = file.tile[0][3]
    names = arguments if isinstance(arguments, tuple) else (arguments,)
    return any(isinstance(name, str) and ";16" in name for name in names)


def _find_largest(image: Image.Image, deep_colour: bool) -> int:
    if deep_colour:
        colours = image.split()[: -1 if image.mode.endswith("A") else None]
        return max(int(numpy.asarray(one).max()) for one in colours) * 256 + 255
    return int(numpy.asarray(image).max()) if image.mode.startswith("I") else 0


def _flatten(image: Image.Image, white: int) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; allowed are whole ones of 8 or 16 bits")
    if image.mode.startswith("I"):
        values = numpy.asarray(image).astype(numpy.int64)
        levels = values // 256 if white == FULL else (values * 510 + white) // (2 * white)  # rounded
        return Image.fromarray(levels.clip(0, 255).astype(numpy.uint8))
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


def spread_over_picture(values: NDArray[Any], size: tuple[int, int], form: PictureFormat) -> NDArray[numpy.float32]:
    """Spread values of a resized picture, (H, W), over the whole picture of `size` (width, height), as (height, width).

    The inverse of `resize_picture`, between pixels linear; 0 where the picture was cropped.
    """
    grid, (width, height) = Image.fromarray(values.astype(numpy.float32)), size
    if form.resize == "stretch":
        return numpy.asarray(grid.resize(size, Image.Resampling.BILINEAR))
    scales = form.width / width, form.height / height
    scale = max(scales) if form.resize == "crop" else min(scales)
    left, top = (form.width - scale * width) / 2, (form.height - scale * height) / 2  # of the picture in the grid
    matrix = (scale, 0.0, left, 0.0, scale, top)
    return numpy.asarray(grid.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))


def measure_border(pixels: NDArray[numpy.uint8]) -> list[float]:
    """Compute the median of the outermost pixels (H, W) or (H, W, C), in 0..1, of each channel."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    edges = numpy.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return [float(level) / 255 for level in numpy.median(edges, axis=0)]
