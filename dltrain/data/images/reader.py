"""Image files as a model's inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dltrain.data.images import pictures
from dltrain.data.images.pictures import SUFFIXES as SUFFIXES
from dltrain.data.images.pixels import normalize_pixels
from dltrain.data.input_files import list_input_files
from dltrain.errors import DataError
from dltrain.kinds import NamedInput

Invert = Literal["auto", "yes", "no"]


def read_image(path: Path, assets: Mapping[str, Any], invert: Invert = "auto") -> tuple[Tensor, bool]:
    """Read an image, (C, H, W) uint8 in the size and colours of the training images, and whether it was inverted.

    It is resized as those were; by default it is fitted, and padded with the colour of its border. `auto` inverts it if
    its border is bright and the training images' is dark, or vice versa (ink on paper against MNIST's white on black),
    but never for a model of arbitrary pictures (`invertible` is false). Raises DataError, naming the file.
    """
    form = pictures.PictureFormat.from_assets(assets)
    try:
        image = pictures.open_picture(path, form)
    except pictures.UnreadablePicture as fault:
        raise DataError(f"{path}: {fault}") from None
    levels = pictures.measure_border(np.asarray(image))
    opposite = (sum(levels) / len(levels) > 0.5) != (assets["background"] > 0.5)
    inverted = invert == "yes" or (invert == "auto" and assets.get("invertible", True) and opposite)
    pixels = pictures.transpose_channels(np.asarray(pictures.resize_picture(image, form)), form)
    return torch.from_numpy(255 - pixels if inverted else pixels), inverted


class ImageReader:
    """Reads PNG and JPEG files, folders of them, and, for `-`, the files that standard input names line by line."""

    def __init__(self, assets: Mapping[str, Any], invert: Invert = "auto") -> None:
        self._assets, self._invert = assets, invert
        self._files = self._inverted = 0

    def read(self, names: Sequence[str], lines: Iterator[str]) -> Iterator[NamedInput]:
        """Raises DataError for a folder without images."""
        yield from self.read_files(list_input_files(names, lines, SUFFIXES, "image"))

    def read_files(self, files: Sequence[Path]) -> Iterator[NamedInput]:
        self._files += len(files)
        for path in files:
            try:
                pixels, inverted = read_image(path, self._assets, self._invert)
            except DataError as error:
                yield NamedInput(str(path), error)
                continue
            self._inverted += inverted
            yield NamedInput(str(path), pixels)

    def inputs(self, values: Sequence[Any]) -> tuple[Tensor, ...]:
        """Images (N, C, H, W) float32, normalised as those of training."""
        return (normalize_pixels(self._assets, torch.stack(list(values))),)

    def notes(self) -> Sequence[str]:
        if self._invert != "auto" or not self._inverted:
            return ()
        return (f"{self._inverted} of {self._files} images were inverted (--invert no leaves them)",)
