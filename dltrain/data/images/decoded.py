"""Pictures decoded once by all cores, and kept in the cache under the hash of their contents and their format:

pixels.u8       (N, C, H, W) uint8, mapped into memory; zeros for a file that cannot be used
sums.npy        (N, 2 C + 1) int64: sum and sum of squares of each channel, and the sum of the outermost pixels
faults.json     by a picture's index: why it cannot be used
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from PIL import __version__ as pillow_version
from torch import Tensor

from dltrain.data.cache import Cache, CacheEntry
from dltrain.data.images.pictures import PictureFormat, UnreadablePicture, read_picture
from dltrain.data.progress import map_with_progress

_FORMAT = 1  # of the cache's entries; incremented when their content, or the reading of pictures, changes
_PIXELS, _SUMS, _FAULTS = "pixels.u8", "sums.npy", "faults.json"


class PixelStatistics(NamedTuple):
    """Statistics of pixels in 0..1: mean and deviation of each channel, and the mean of the outermost pixels."""

    mean: list[float]
    std: list[float]
    border: float


@dataclass(frozen=True)
class DecodedPictures:
    """Decoded `pixels` (N, C, H, W) uint8, mapped from the cache's `entry`; `faults` say why one is left out."""

    pixels: Tensor
    faults: Mapping[int, str]
    sums: NDArray[numpy.int64]
    entry: CacheEntry

    def statistics(self, chosen: NDArray[numpy.int64]) -> PixelStatistics:
        """Compute the exact statistics of some of the pictures; the deviation of constant pixels is 1."""
        channels, height, width = self.pixels.shape[1:]
        count = len(chosen) * height * width
        sums = [int(total) for total in self.sums[chosen].sum(0)]
        means = [total / (255 * count) for total in sums[:channels]]
        stds = [
            sqrt(count * squares - total**2) / (255 * count) or 1.0
            for total, squares in zip(sums[:channels], sums[channels : 2 * channels], strict=True)
        ]
        outermost = len(chosen) * channels * len(_find_outermost(height, width))
        return PixelStatistics(means, stds, sums[-1] / (255 * outermost))


def load_pictures(
    paths: Sequence[Path], hashes: Sequence[str], form: PictureFormat, *, title: str, cache: Cache
) -> DecodedPictures:
    """Load the pictures in one format, from the cache if files of the same `hashes` were decoded before."""
    content = hashlib.sha256("\n".join(hashes).encode())
    key = {"format": _FORMAT, "pictures": content.hexdigest(), "form": form._asdict(), "pillow": pillow_version}
    entry = cache.entry("pictures", key, partial(_decode_pictures, paths, form, title))
    sums = numpy.load(entry.path / _SUMS)
    faults = json.loads((entry.path / _FAULTS).read_text(encoding="utf-8"))
    shape = (len(sums), form.channels, form.height, form.width)
    # Not shared, since torch warns about read-only memory; nothing is written.
    size = int(numpy.prod(shape))
    pixels = torch.from_file(str(entry.path / _PIXELS), shared=False, size=size, dtype=torch.uint8).view(shape)
    return DecodedPictures(pixels, {int(index): reason for index, reason in faults.items()}, sums, entry)


def _decode_pictures(paths: Sequence[Path], form: PictureFormat, title: str, folder: Path) -> None:
    sums = numpy.zeros((len(paths), 2 * form.channels + 1), numpy.int64)
    faults = {}
    with (folder / _PIXELS).open("wb") as file:
        for index, found in enumerate(map_with_progress(partial(_sum_picture, form), paths, f"decoding {title}")):
            if isinstance(found, str):
                faults[index] = found
                file.write(bytes(form.channels * form.height * form.width))
            else:
                pixels, sums[index] = found
                file.write(pixels.tobytes())
    numpy.save(folder / _SUMS, sums)
    (folder / _FAULTS).write_text(json.dumps(faults), encoding="utf-8")


def _sum_picture(form: PictureFormat, path: Path) -> tuple[NDArray[numpy.uint8], NDArray[numpy.int64]] | str:
    """Read a picture's pixels and their sums, or say why it cannot be used."""
    try:
        pixels = read_picture(path, form)
    except UnreadablePicture as fault:
        return str(fault)
    flat = pixels.reshape(form.channels, -1)
    squares = numpy.square(flat, dtype=numpy.uint16).sum(1, numpy.int64)
    border = flat[:, _find_outermost(form.height, form.width)].sum(dtype=numpy.int64)
    return pixels, numpy.concatenate((flat.sum(1, numpy.int64), squares, border[None]))


@cache
def _find_outermost(height: int, width: int) -> NDArray[numpy.int64]:
    """Find the outermost pixels in a flattened image."""
    outermost = numpy.ones((height, width), bool)
    outermost[1:-1, 1:-1] = False
    return numpy.flatnonzero(outermost)
