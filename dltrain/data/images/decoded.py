"""Pictures decoded once by all cores, and kept in the cache under the hash of their contents and the form:

pixels.u8       (N, C, H, W) uint8, mapped into memory; zeros for a file that cannot be used
sums.npy        (N, 2 C + 1) int64: sum and sum of squares of each channel, and the sum of the outermost pixels
faults.json     by a picture's place: why it cannot be used
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import sqrt
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy
import torch
from numpy.typing import NDArray
from PIL import __version__ as pillow_version
from torch import Tensor

from dltrain.data.cache import Cache, Entry
from dltrain.data.images.pictures import PictureFormat, UnreadablePicture, read_picture
from dltrain.data.progress import Progress
from dltrain.runtime.precision import count_cores
from dltrain.stream import map_in_order

Made = TypeVar("Made")

_FORMAT = 1  # of the cache's entries; another one where what they hold, or how pictures are read, changes
_PIXELS, _SUMS, _FAULTS = "pixels.u8", "sums.npy", "faults.json"


class PixelStatistics(NamedTuple):
    """Of pixels in 0..1: mean and standard deviation of each channel, and the mean of the outermost pixels."""

    mean: list[float]
    std: list[float]
    border: float


@dataclass(frozen=True)
class DecodedPictures:
    """`pixels` (N, C, H, W) uint8, mapped from the cache's `entry`; `faults` say why a picture is left out."""

    pixels: Tensor
    faults: Mapping[int, str]
    sums: NDArray[numpy.int64]
    entry: Entry

    def statistics(self, places: NDArray[numpy.int64]) -> PixelStatistics:
        """Of some of the pictures, exact; the deviation of constant pixels is taken as 1."""
        channels, height, width = self.pixels.shape[1:]
        count = len(places) * height * width
        sums = [int(total) for total in self.sums[places].sum(0)]
        means = [total / (255 * count) for total in sums[:channels]]
        stds = [
            sqrt(count * squares - total**2) / (255 * count) or 1.0
            for total, squares in zip(sums[:channels], sums[channels : 2 * channels], strict=True)
        ]
        outermost = len(places) * channels * len(_outermost(height, width))
        return PixelStatistics(means, stds, sums[-1] / (255 * outermost))


def hash_pictures(paths: Sequence[Path], what: str, cache: Cache) -> list[str]:
    """The SHA-256 of each file, "-" where it cannot be read.

    Files are read again only where path, size or time of modification are other than they were.
    """
    known = hashlib.sha256()
    for path in paths:
        known.update(f"{path}\0{_stamp(path)}\n".encode("utf-8", "surrogateescape"))

    def make(folder: Path) -> None:
        (folder / "digests").write_text("\n".join(_told(_digest, paths, f"reading {what}")), encoding="ascii")

    entry = cache.entry("picture-files", {"format": _FORMAT, "files": known.hexdigest()}, make)
    return (entry.path / "digests").read_text(encoding="ascii").split("\n")


def load_pictures(
    paths: Sequence[Path], hashes: Sequence[str], form: PictureFormat, what: str, cache: Cache
) -> DecodedPictures:
    """The pictures in one form, from the cache where files of the same `hashes` were decoded before."""
    content = hashlib.sha256("\n".join(hashes).encode())
    key = {"format": _FORMAT, "pictures": content.hexdigest(), "form": form._asdict(), "pillow": pillow_version}
    entry = cache.entry("pictures", key, partial(_decode, paths, form, what))
    sums = numpy.load(entry.path / _SUMS)
    faults = json.loads((entry.path / _FAULTS).read_text(encoding="utf-8"))
    shape = (len(sums), form.channels, form.height, form.width)
    # Private, since torch warns of memory that it may not write to; nothing is written.
    size = int(numpy.prod(shape))
    pixels = torch.from_file(str(entry.path / _PIXELS), shared=False, size=size, dtype=torch.uint8).view(shape)
    return DecodedPictures(pixels, {int(place): reason for place, reason in faults.items()}, sums, entry)


def _decode(paths: Sequence[Path], form: PictureFormat, what: str, folder: Path) -> None:
    sums = numpy.zeros((len(paths), 2 * form.channels + 1), numpy.int64)
    faults = {}
    with (folder / _PIXELS).open("wb") as file:
        for place, found in enumerate(_told(partial(_summed, form), paths, f"decoding {what}")):
            if isinstance(found, str):
                faults[place] = found
                file.write(bytes(form.channels * form.height * form.width))
            else:
                pixels, sums[place] = found
                file.write(pixels.tobytes())
    numpy.save(folder / _SUMS, sums)
    (folder / _FAULTS).write_text(json.dumps(faults), encoding="utf-8")


def _summed(form: PictureFormat, path: Path) -> tuple[NDArray[numpy.uint8], NDArray[numpy.int64]] | str:
    """The picture's pixels and their sums, or why there are none."""
    try:
        pixels = read_picture(path, form)
    except UnreadablePicture as fault:
        return str(fault)
    flat = pixels.reshape(form.channels, -1)
    squares = numpy.square(flat, dtype=numpy.uint16).sum(1, numpy.int64)
    border = flat[:, _outermost(form.height, form.width)].sum(dtype=numpy.int64)
    return pixels, numpy.concatenate((flat.sum(1, numpy.int64), squares, border[None]))


def _told(function: Callable[[Path], Made], paths: Sequence[Path], what: str) -> Iterator[Made]:
    """What all cores make of the paths, in order, while a progress bar says `what`."""
    with Progress(what, len(paths)) as progress:
        for made in map_in_order(function, paths, count_cores()):
            yield made
            progress.advance()


@cache
def _outermost(height: int, width: int) -> NDArray[numpy.int64]:
    """The places of the outermost pixels in a flattened image."""
    outermost = numpy.ones((height, width), bool)
    outermost[1:-1, 1:-1] = False
    return numpy.flatnonzero(outermost)


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "-"
    return f"{status.st_size} {status.st_mtime_ns}"


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "-"
