"""Pictures decoded once by all cores, and kept in the cache under the hash of their contents and their format:

pixels.u8       (N, C, H, W) uint8, mapped into memory; zeros for a file that cannot be used
sums.npy        (N, 2 C + 1) int64: sum and sum of squares of each channel, and the sum of the outermost pixels
originals.npy   (N, 8) int64: the fields of `OriginalPicture`; zeros for a file that cannot be used
faults.json     by a picture's index: why it cannot be used
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
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
from dltrain.data.images.pictures import (
    FULL,
    OriginalPicture,
    PictureFormat,
    UnreadablePicture,
    convert_picture,
    measure_depth,
    open_picture,
)
from dltrain.data.parts import Parts
from dltrain.data.progress import hash_files, map_with_progress

_FORMAT = 4  # of the cache's entries; incremented when their content, or the reading of pictures, changes
_LARGEST = "largest"
_PIXELS, _SUMS, _ORIGINALS, _FAULTS = "pixels.u8", "sums.npy", "originals.npy", "faults.json"


class PixelStatistics(NamedTuple):
    """Statistics of pixels in 0..1: mean and deviation of each channel, and the mean of the outermost pixels."""

    mean: list[float]
    std: list[float]
    border: float


@dataclass(frozen=True)
class DecodedPictures:
    """Decoded `pixels` (N, C, H, W) uint8, mapped from the cache's `entry`; `faults` say why one is left out.

    `sums` and `originals` are those of the module.
    """

    pixels: Tensor
    faults: Mapping[int, str]
    sums: NDArray[numpy.int64]
    originals: NDArray[numpy.int64]
    entry: CacheEntry

    def find_single_colours(self) -> NDArray[numpy.bool_]:
        """Find the pictures whose pixels all have the same colour, (N,) bool."""
        channels, height, width = self.pixels.shape[1:]
        totals, squares = self.sums[:, :channels], self.sums[:, channels : 2 * channels]
        single: NDArray[numpy.bool_] = (height * width * squares == totals**2).all(1)
        return single

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
    entry = cache.entry("pictures", key, partial(_decode_pictures, paths, form, title), resumable=True)
    sums, originals = numpy.load(entry.path / _SUMS), numpy.load(entry.path / _ORIGINALS)
    faults = json.loads((entry.path / _FAULTS).read_text(encoding="utf-8"))
    shape = (len(sums), form.channels, form.height, form.width)
    # Not shared, since torch warns about read-only memory; nothing is written.
    size = int(numpy.prod(shape))
    pixels = torch.from_file(str(entry.path / _PIXELS), shared=False, size=size, dtype=torch.uint8).view(shape)
    bad = {int(index): reason for index, reason in faults.items()}
    return DecodedPictures(pixels, bad, sums, originals, entry=entry)


def find_largest(paths: Sequence[Path], cache: Cache) -> int:
    """Find the largest value of all 16-bit grey pictures, the full range without any; cached by the files' contents."""
    hashes = hash_files("picture-files", paths, "pictures", cache)
    content = hashlib.sha256("\n".join(hashes).encode())
    key = {"format": _FORMAT, "pictures": content.hexdigest(), "pillow": pillow_version}

    def make(folder: Path) -> None:
        with Parts(folder) as parts:
            found = parts.state or 0
            parts.describe_with(lambda: found)
            with closing(map_with_progress(measure_depth, paths, "measuring pictures", done=parts.done)) as depths:
                for depth in depths:
                    found = max(found, depth)
                    parts.complete_part()
            (folder / _LARGEST).write_text(str(found), encoding="ascii")

    entry = cache.entry("picture-depth", key, make, resumable=True)
    return int((entry.path / _LARGEST).read_text(encoding="ascii")) or FULL


def _decode_pictures(paths: Sequence[Path], form: PictureFormat, title: str, folder: Path) -> None:
    columns, fields = 2 * form.channels + 1, len(OriginalPicture._fields)
    nothing = bytes(form.channels * form.height * form.width), numpy.zeros(columns, numpy.int64), [0] * fields
    with Parts(folder, [_PIXELS], scratch=["sums", "originals"]) as parts:
        faults: dict[str, str] = parts.state or {}
        parts.describe_with(lambda: faults)
        read = partial(_sum_picture, form)
        with closing(map_with_progress(read, paths, f"decoding {title}", done=parts.done)) as results:
            for index, found in enumerate(results, parts.done):
                if isinstance(found, str):
                    faults[str(index)] = found
                pixels, sums, original = nothing if isinstance(found, str) else found
                parts.write(_PIXELS, pixels if isinstance(pixels, bytes) else pixels.tobytes())
                parts.write("sums", sums.tobytes())
                parts.write("originals", numpy.array(original, numpy.int64).tobytes())
                parts.complete_part()
        numpy.save(folder / _SUMS, parts.read("sums", numpy.int64, columns))
        numpy.save(folder / _ORIGINALS, parts.read("originals", numpy.int64, fields))
        (folder / _FAULTS).write_text(json.dumps(faults), encoding="utf-8")


def _sum_picture(
    form: PictureFormat, path: Path
) -> tuple[NDArray[numpy.uint8], NDArray[numpy.int64], OriginalPicture] | str:
    """Read a picture's pixels, their sums, and what it was in its file; or say why it cannot be used."""
    try:
        image, original = open_picture(path, form)
    except UnreadablePicture as fault:
        return str(fault)
    pixels = convert_picture(image, form)
    flat = pixels.reshape(form.channels, -1)
    squares = numpy.square(flat, dtype=numpy.uint16).sum(1, numpy.int64)
    border = flat[:, _find_outermost(form.height, form.width)].sum(dtype=numpy.int64)
    return pixels, numpy.concatenate((flat.sum(1, numpy.int64), squares, border[None])), original


@cache
def _find_outermost(height: int, width: int) -> NDArray[numpy.int64]:
    """Find the outermost pixels in a flattened image."""
    outermost = numpy.ones((height, width), bool)
    outermost[1:-1, 1:-1] = False
    return numpy.flatnonzero(outermost)
