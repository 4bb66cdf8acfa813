"""Image files as a model's inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dltrain.data.images import pictures
from dltrain.data.images.arrays import is_image, to_image
from dltrain.data.images.findings import describe_borders, describe_depth
from dltrain.data.images.pixels import normalize_pixels
from dltrain.data.input_files import describe_skipped, list_input_files
from dltrain.data.objects import flatten
from dltrain.errors import DataError
from dltrain.escaping import keep_on_line
from dltrain.kinds import NamedInput

Invert = Literal["auto", "yes", "no"]


def read_image(path: Path, assets: Mapping[str, Any], invert: Invert = "auto") -> tuple[Tensor, bool]:
    """Read an image, (C, H, W) uint8 in the size and colours of the training images, and whether it was inverted.

    It is resized as those were; by default it is fitted, and padded with the colour of its border. `auto` inverts it if
    its border is bright and the training images' is dark, or vice versa (ink on paper against MNIST's white on black),
    but never for a model of arbitrary pictures (`invertible` is false). Raises DataError, naming the file.
    """
    return _read_original(path, assets, invert)[:2]


class ReadImage(NamedTuple):
    """An image (C, H, W) uint8, whether it was inverted, what it was in its file, and its border's level in 0..1."""

    pixels: Tensor
    inverted: bool
    original: pictures.OriginalPicture
    border: float


def _read_original(path: Path, assets: Mapping[str, Any], invert: Invert) -> ReadImage:
    try:
        return _prepare(pictures.open_picture(path, pictures.PictureFormat.from_assets(assets)), assets, invert)
    except pictures.UnreadablePicture as fault:
        raise DataError(f"{keep_on_line(path)}: {fault}") from None


def _prepare(opened: pictures.OpenedPicture, assets: Mapping[str, Any], invert: Invert) -> ReadImage:
    (image, original), form = opened, pictures.PictureFormat.from_assets(assets)
    levels = pictures.measure_border(np.asarray(image))
    border = sum(levels) / len(levels)
    opposite = (border > 0.5) != (assets["background"] > 0.5)
    inverted = invert == "yes" or (invert == "auto" and assets.get("invertible", True) and opposite)
    pixels = pictures.transpose_channels(np.asarray(pictures.resize_picture(image, form)), form)
    return ReadImage(torch.from_numpy(255 - pixels if inverted else pixels), inverted, original, border)


class ImageReader:
    """Reads files of pictures, folders of them, and, for `-`, the files that standard input names line by line."""

    def __init__(self, assets: Mapping[str, Any], invert: Invert = "auto") -> None:
        self._assets, self._invert = assets, invert
        self._files = self._inverted = self._several = self._incomplete = 0
        self._borders: list[float] = []
        self._skipped: list[Path] = []
        self._largest: list[int] = []  # of the 16-bit pictures

    def read(self, names: Sequence[str], lines: Iterator[str]) -> Iterator[NamedInput]:
        """Raises DataError for a folder without images."""
        yield from self.read_files(list_input_files(names, lines, pictures.is_picture, "image", skipped=self._skipped))

    def read_files(self, files: Sequence[Path]) -> Iterator[NamedInput]:
        self._files += len(files)
        for path in files:
            try:
                pixels = self._note(_read_original(path, self._assets, self._invert))
            except DataError as error:
                yield NamedInput(str(path), error)
                continue
            yield NamedInput(str(path), pixels)

    def read_values(self, values: Iterable[Any]) -> Iterator[NamedInput]:
        """Read files and folders by name, images of Pillow's, and arrays (H, W) or (H, W, C) of whole numbers."""
        form = pictures.PictureFormat.from_assets(self._assets)
        for number, value in enumerate(flatten(values, is_single=is_image)):
            if isinstance(value, (str, Path)):
                yield from self.read([str(value)], iter(()))
                continue
            self._files += 1
            try:
                opened = pictures.open_image(to_image(value), form)
                pixels: Any = self._note(_prepare(opened, self._assets, self._invert))
            except (pictures.UnreadablePicture, DataError) as error:
                pixels = DataError(f"input {number}: {error}")
            yield NamedInput(f"input {number}", pixels)

    def _note(self, image: ReadImage) -> Tensor:
        """Count what `notes` report of an image; its pixels."""
        pixels, inverted, original, border = image
        self._inverted += inverted
        self._several += original.several
        self._incomplete += original.incomplete
        self._borders.append(1 - border if inverted else border)
        self._largest += [original.largest] if original.bits == 16 and not original.colour else []
        return pixels

    def inputs(self, values: Sequence[Any]) -> tuple[Tensor, ...]:
        """Images (N, C, H, W) float32, normalised as those of training."""
        return (normalize_pixels(self._assets, torch.stack(list(values))),)

    def notes(self) -> Sequence[str]:
        notes = describe_skipped(self._skipped, "image")
        notes += describe_depth(self._largest, self._files, pictures.PictureFormat.from_assets(self._assets).white)
        if self._invert == "auto" and self._inverted:
            notes.append(f"{self._inverted} of {self._files} images were inverted (--invert no leaves them)")
        if self._several:
            some = f"{self._several} of {self._files} images have"
            notes.append(f"{some} several pages or frames: the first one is read")
        if self._incomplete:
            notes.append(f"the end of {self._incomplete} of {self._files} images is missing, and grey in its place")
        if self._invert != "no":
            notes += describe_borders(self._borders, self._assets["background"])
        return notes
