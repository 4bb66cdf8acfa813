"""Image files as a model's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dltrain.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")
Invert = Literal["auto", "yes", "no"]


def _opened(path: Path) -> Image.Image:
    """The picture, turned as its camera noted, without transparency or 16-bit depth. Raises DataError."""
    try:
        with Image.open(path) as file:
            image: Image.Image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):
                return Image.fromarray((np.asarray(image).astype(np.int64) // 256).clip(0, 255).astype(np.uint8))
            if image.has_transparency_data:
                paper = Image.new("RGBA", image.size, "white")
                return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
            return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image that can be read; allowed are PNG and JPEG files") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be read: {reason}") from None


def _border(pixels: np.ndarray[Any, Any]) -> float:
    """The median of the outermost pixels (H, W, ...), in 0..1."""
    edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    return float(np.median(np.concatenate([edge.reshape(-1) for edge in edges]))) / 255


def read_image(path: Path, assets: Mapping[str, Any], invert: Invert = "auto") -> tuple[Tensor, bool]:
    """(C, H, W) uint8 in the size and the colours of the training images, and whether it was inverted.

    The picture is resized to fit, and padded with its own border's colour. `auto` inverts where its border is bright
    and the training images' is dark, or the other way round: ink on paper against MNIST's white on black.
    Raises DataError, naming the file.
    """
    image = _opened(path).convert("L" if assets["channels"] == 1 else "RGB")
    border = _border(np.asarray(image))
    inverted = invert == "yes" or (invert == "auto" and (border > 0.5) != (assets["background"] > 0.5))
    colour = round(255 * border)
    fill = colour if image.mode == "L" else (colour,) * 3
    size = (assets["width"], assets["height"])
    pixels = np.asarray(ImageOps.pad(image, size, Image.Resampling.LANCZOS, color=fill))
    if inverted:
        pixels = 255 - pixels
    return torch.from_numpy(np.array(pixels)).reshape(assets["height"], assets["width"], -1).permute(2, 0, 1), inverted
